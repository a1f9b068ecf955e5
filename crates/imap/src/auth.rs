//! STARTTLS, AUTHENTICATE and LOGIN (RFC 9051 §6.2).

use letterlock_imap_wire::response::continuation;
use letterlock_imap_wire::{Code, Command, Event, Secret};
use letterlock_login::sasl::{Exchange, Mechanism, SaslError, Step};
use letterlock_login::{Credential, LoginError, Peer, Protocol};
use zeroize::Zeroizing;

use crate::capability::{Security, after_login};
use crate::connection::Connection;
use crate::outcome::{Ended, Reply, Stop};
use crate::session::{State, User};

impl Connection<'_> {
    /// The commands that belong before login.
    pub(crate) async fn before_login(&mut self, command: Command) -> Result<(State, Reply), Ended> {
        let credential = match command {
            Command::StartTls if self.security() == Security::Tls => {
                return Ok((State::NotAuthenticated, Reply::bad("TLS is active already")));
            }
            // The handshake begins with a new reader: what came in the same packet is not run, since it may be somebody
            // else's (RFC 9051 §6.2.1).
            Command::StartTls => return Ok((State::Handshake, Reply::ok("Begin TLS now"))),
            _ if self.security() == Security::Plain => {
                let reply = Reply::no("No passwords in clear text: use STARTTLS first");
                return Ok((State::NotAuthenticated, reply.with(Code::PrivacyRequired)));
            }
            Command::Login { user, password } => plain_credential(user, &password),
            Command::Authenticate { mechanism, initial } => {
                self.exchange(&mechanism, initial).await
            }
            _ => Err(Reply::bad("Log in first").into()),
        };
        match credential {
            Ok(credential) => self.log_in(credential).await,
            Err(Stop::Refuse(reply)) => Ok((State::NotAuthenticated, reply)),
            Err(Stop::End(ended)) => Err(ended),
        }
    }

    /// The dialogue of AUTHENTICATE, up to a credential.
    async fn exchange(
        &mut self,
        mechanism: &str,
        initial: Option<Secret>,
    ) -> Result<Credential, Stop> {
        let Some(mechanism) = Mechanism::parse(mechanism) else {
            return Err(Reply::no("This mechanism is not offered").with(Code::Cannot).into());
        };
        let initial = initial.as_ref().map(|initial| initial.expose_str().unwrap_or("?"));
        let mut step = Exchange::start(mechanism, initial);
        loop {
            step = match step {
                Step::Done(credential) => return Ok(credential),
                Step::Failed(SaslError::Cancelled) => return Err(Reply::bad("Cancelled").into()),
                Step::Failed(error) => return Err(Reply::bad(error.to_string()).into()),
                Step::Challenge(exchange, challenge) => {
                    self.wire.reader().expect_continuation();
                    continuation(&mut self.wire.out, &challenge);
                    match self.next(None).await? {
                        Event::Line(line) => exchange.respond(line.expose_str().unwrap_or("?")),
                        Event::Fatal { text } => return Err(Ended::Bye(text.into()).into()),
                        _ => return Err(Reply::bad("The response is malformed").into()),
                    }
                }
            };
        }
    }

    async fn log_in(&mut self, credential: Credential) -> Result<(State, Reply), Ended> {
        let peer = Peer { ip: self.peer, protocol: Protocol::Imap };
        match self.imap.login.authenticate(&credential, peer).await {
            Ok(session) => {
                self.wire.reader().set_limits(self.imap.later_limits());
                let reply = Reply::ok("Logged in").with(Code::Capability(after_login()));
                Ok((State::Authenticated(User::new(session)), reply))
            }
            Err(error) => Ok((State::NotAuthenticated, refused(&error))),
        }
    }
}

fn plain_credential(identity: String, password: &Secret) -> Result<Credential, Stop> {
    let Some(password) = password.expose_str() else {
        return Err(Reply::no("The password is not UTF-8").with(Code::AuthenticationFailed).into());
    };
    Ok(Credential { identity, authzid: None, password: Zeroizing::new(password.to_owned()) })
}

/// RFC 5530 §3 has the codes.
fn refused(error: &LoginError) -> Reply {
    match error {
        LoginError::Rejected => Reply::no("Authentication failed").with(Code::AuthenticationFailed),
        LoginError::Disabled => Reply::no("This account is disabled").with(Code::ContactAdmin),
        LoginError::Throttled { .. } => {
            Reply::no("Too many failed logins, try again later").with(Code::Unavailable)
        }
        LoginError::TooManySessions => {
            Reply::no("Too many sessions of this account").with(Code::Limit)
        }
        LoginError::Temporary(_) => {
            Reply::no("Cannot log in now, try again later").with(Code::Unavailable)
        }
    }
}
