//! STARTTLS, AUTHENTICATE and LOGIN (RFC 9051 §6.2), and UNAUTHENTICATE (RFC 8437).

use letterlock_imap_wire::response::continuation;
use letterlock_imap_wire::{Code, Command, Event, Secret};
use letterlock_login::sasl::{self, Exchange, Proof, SaslError, Step};
use letterlock_login::{Credential, LoginError, Peer, Protocol, Session};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::capability::Security;
use crate::connection::Connection;
use crate::outcome::{Ended, Reply, Stop};
use crate::select::Selected;
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
            Command::Login { user, password } => {
                plain_credential(user, &password).map(Claim::Password)
            }
            Command::Authenticate { mechanism, initial } => {
                self.exchange(&mechanism, initial).await
            }
            _ => Err(Reply::bad("Log in first").into()),
        };
        match credential {
            Ok(claim) => self.log_in(claim).await,
            Err(Stop::Refuse(reply)) => Ok((State::NotAuthenticated, reply)),
            Err(Stop::End(ended)) => Err(ended),
        }
    }

    /// The dialogue of AUTHENTICATE, up to a credential or proof.
    async fn exchange(&mut self, mechanism: &str, initial: Option<Secret>) -> Result<Claim, Stop> {
        let ground = self.ground();
        let Some(mechanism) = ground.mechanism(mechanism) else {
            return Err(Reply::no("This mechanism is not offered").with(Code::Cannot).into());
        };
        let initial = initial.as_ref().map(|initial| initial.expose_str().unwrap_or("?"));
        let mut step = Exchange::start(mechanism, initial, &ground);
        loop {
            step = match step {
                Step::Done(credential) => return Ok(Claim::Password(credential)),
                Step::Prove(proof) => return Ok(Claim::Proof(proof)),
                Step::Failed(SaslError::Cancelled) => return Err(Reply::bad("Cancelled").into()),
                Step::Failed(error) => return Err(Reply::bad(error.to_string()).into()),
                Step::Challenge(exchange, challenge) => {
                    let line = self.ask(&challenge).await?;
                    exchange.respond(line.expose_str().unwrap_or("?"))
                }
            };
        }
    }

    /// Sends a challenge and reads the response.
    async fn ask(&mut self, challenge: &str) -> Result<Secret, Stop> {
        self.wire.reader().expect_continuation();
        continuation(&mut self.wire.out, challenge);
        match self.next(None).await? {
            Event::Line(line) => Ok(line),
            Event::Fatal { text } => Err(Ended::Bye(text.into()).into()),
            _ => Err(Reply::bad("The response is malformed").into()),
        }
    }

    /// The session that a credential or proof gives. After a proof, the client hears the server's first.
    async fn session(&mut self, claim: Claim) -> Result<Session, Stop> {
        let peer = Peer { ip: self.peer, protocol: Protocol::Imap };
        let proof = match claim {
            Claim::Password(credential) => {
                let session = self.imap.login.authenticate(&credential, peer).await;
                return session.map_err(|error| refused(&error).into());
            }
            Claim::Proof(proof) => proof,
        };
        let proven = self.imap.login.prove(&proof, peer).await;
        let proven = proven.map_err(|error| refused(&error))?;
        let line = self.ask(&proven.challenge).await?;
        match sasl::acknowledged(line.expose_str().unwrap_or("?")) {
            Ok(()) => Ok(proven.session),
            Err(SaslError::Cancelled) => Err(Reply::bad("Cancelled").into()),
            Err(error) => Err(Reply::bad(error.to_string()).into()),
        }
    }

    async fn log_in(&mut self, claim: Claim) -> Result<(State, Reply), Ended> {
        match self.session(claim).await {
            Ok(session) => {
                self.wire.reader().set_limits(self.imap.later_limits());
                let capabilities =
                    self.imap.capabilities_without(&session.account.disabled_capabilities);
                let reply =
                    Reply::ok("Logged in").with(Code::Capability(capabilities.after_login()));
                let user = User::new(session, self.imap.limits.message_size, capabilities);
                Ok((State::Authenticated(user), reply))
            }
            Err(Stop::Refuse(reply)) => Ok((State::NotAuthenticated, reply)),
            Err(Stop::End(ended)) => Err(ended),
        }
    }

    /// UNAUTHENTICATE (RFC 8437 §3): all that the login brought goes, and what was selected, without expunging; TLS stays.
    /// Compression ends after the answer: what one user's mail left in it must not serve the next one.
    pub(crate) fn unauthenticate(
        &mut self,
        user: User,
        selected: Option<Box<Selected>>,
    ) -> (State, Reply) {
        drop((user, selected));
        self.wire.reader().set_limits(self.imap.first_limits());
        self.login_by = Instant::now() + self.imap.limits.login_timeout;
        let names = self.capabilities(&State::NotAuthenticated);
        let reply = Reply::ok("Nobody is logged in now").with(Code::Capability(names));
        (State::NotAuthenticated, reply)
    }
}

/// What a client claims, by a password or without showing it.
enum Claim {
    Password(Credential),
    Proof(Proof),
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
