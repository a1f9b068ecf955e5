//! SASL exchanges as pure state machines: PLAIN (RFC 4616) and LOGIN.
//!
//! Lines go in and come out in base64, as SMTP (RFC 4954), IMAP (RFC 9051 §6.2.2) and
//! POP3 (RFC 5034) all carry them. The frontend adds its own framing and decides where
//! a mechanism may be used at all: both of these need TLS.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::Credential;

/// Longest decoded response that is looked at: an address, an address and a password.
const MAX_RESPONSE: usize = 4096;

/// A SASL mechanism that Letterlock offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// The older two-step exchange that Outlook still asks for; never standardised.
    Login,
}

impl Mechanism {
    /// Every mechanism, in the order in which capabilities list them.
    pub const ALL: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];

    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
        }
    }

    /// Finds a mechanism by its name, in any case.
    pub fn parse(name: &str) -> Option<Mechanism> {
        Self::ALL.into_iter().find(|m| m.name().eq_ignore_ascii_case(name))
    }
}

/// Why an exchange ended without a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// The client sent `*` (RFC 4954 §4, RFC 9051 §6.2.2).
    #[error("authentication cancelled by the client")]
    Cancelled,
    /// Not base64, or too long.
    #[error("the response is not valid base64")]
    Encoding,
    /// Base64, but not a message of this mechanism.
    #[error("the response is not a message of this mechanism")]
    Syntax,
}

/// What an exchange does next.
#[derive(Debug)]
pub enum Step {
    /// Send this challenge (base64, possibly empty) and pass the answer to the exchange.
    Challenge(Exchange, String),
    /// The client said everything.
    Done(Credential),
    /// The exchange is over.
    Failed(SaslError),
}

/// An exchange under way, waiting for the client's next line.
#[derive(Debug)]
pub struct Exchange(State);

enum State {
    Plain,
    LoginName,
    LoginPassword(String),
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            State::Plain => "Plain",
            State::LoginName => "LoginName",
            State::LoginPassword(_) => "LoginPassword",
        })
    }
}

impl Exchange {
    /// Begins an exchange. `initial` is the initial response as it stood on the command
    /// line, where `=` means an empty one (RFC 4954 §4, RFC 4959 §3).
    pub fn start(mechanism: Mechanism, initial: Option<&str>) -> Step {
        let exchange = Exchange(match mechanism {
            Mechanism::Plain => State::Plain,
            Mechanism::Login => State::LoginName,
        });
        match initial {
            None => {
                let challenge = match mechanism {
                    Mechanism::Plain => String::new(),
                    Mechanism::Login => STANDARD.encode("Username:"),
                };
                Step::Challenge(exchange, challenge)
            }
            Some("=") => exchange.respond(""),
            Some(line) => exchange.respond(line),
        }
    }

    /// Takes the client's next line, without its line end.
    pub fn respond(self, line: &str) -> Step {
        if line == "*" {
            return Step::Failed(SaslError::Cancelled);
        }
        let decoded = match decode(line) {
            Ok(decoded) => decoded,
            Err(error) => return Step::Failed(error),
        };
        match self.0 {
            State::Plain => plain(&decoded).map_or(Step::Failed(SaslError::Syntax), Step::Done),
            State::LoginName if decoded.is_empty() => Step::Failed(SaslError::Syntax),
            State::LoginName => Step::Challenge(
                Exchange(State::LoginPassword(decoded.to_string())),
                STANDARD.encode("Password:"),
            ),
            State::LoginPassword(identity) => {
                Step::Done(Credential { identity, authzid: None, password: decoded })
            }
        }
    }
}

fn decode(line: &str) -> Result<Zeroizing<String>, SaslError> {
    if line.len() > MAX_RESPONSE * 4 / 3 + 4 {
        return Err(SaslError::Encoding);
    }
    let mut bytes = Zeroizing::new(STANDARD.decode(line).map_err(|_| SaslError::Encoding)?);
    String::from_utf8(std::mem::take(&mut *bytes)).map(Zeroizing::new).map_err(|error| {
        drop(Zeroizing::new(error.into_bytes()));
        SaslError::Syntax
    })
}

/// `[authzid] NUL authcid NUL passwd` (RFC 4616 §2).
fn plain(message: &str) -> Option<Credential> {
    let mut parts = message.split('\0');
    let (authzid, identity, password) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || identity.is_empty() {
        return None;
    }
    Some(Credential {
        identity: identity.to_owned(),
        authzid: (!authzid.is_empty()).then(|| authzid.to_owned()),
        password: Zeroizing::new(password.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(step: Step) -> Credential {
        match step {
            Step::Done(credential) => credential,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn plain_with_and_without_initial_response() {
        let line = STANDARD.encode("\0ann@example.test\0secret");
        let credential = done(Exchange::start(Mechanism::Plain, Some(&line)));
        assert_eq!(
            (credential.identity.as_str(), credential.password.as_str()),
            ("ann@example.test", "secret")
        );
        assert_eq!(credential.authzid, None);
        let Step::Challenge(exchange, challenge) = Exchange::start(Mechanism::Plain, None) else {
            panic!()
        };
        assert_eq!(challenge, "");
        assert_eq!(done(exchange.respond(&line)).identity, "ann@example.test");
    }

    #[test]
    fn plain_keeps_the_authorization_identity() {
        let line = STANDARD.encode("bob@example.test\0ann@example.test\0secret");
        let credential = done(Exchange::start(Mechanism::Plain, Some(&line)));
        assert_eq!(credential.authzid.as_deref(), Some("bob@example.test"));
    }

    #[test]
    fn login_asks_for_name_then_password() {
        let Step::Challenge(exchange, challenge) = Exchange::start(Mechanism::Login, None) else {
            panic!()
        };
        assert_eq!(challenge, "VXNlcm5hbWU6");
        let Step::Challenge(exchange, challenge) =
            exchange.respond(&STANDARD.encode("ann@example.test"))
        else {
            panic!()
        };
        assert_eq!(challenge, "UGFzc3dvcmQ6");
        assert_eq!(done(exchange.respond(&STANDARD.encode("pw"))).password.as_str(), "pw");
    }

    #[test]
    fn bad_responses_end_the_exchange() {
        let fails = |initial: &str| match Exchange::start(Mechanism::Plain, Some(initial)) {
            Step::Failed(error) => error,
            other => panic!("{other:?}"),
        };
        assert_eq!(fails("*"), SaslError::Cancelled);
        assert_eq!(fails("@@@"), SaslError::Encoding);
        assert_eq!(fails("="), SaslError::Syntax);
        assert_eq!(fails(&STANDARD.encode("\0a\0b\0c")), SaslError::Syntax);
        assert_eq!(fails(&STANDARD.encode("\0\0b")), SaslError::Syntax);
        assert_eq!(fails(&STANDARD.encode([0xff, 0, 0x61, 0, 0x62])), SaslError::Syntax);
        assert_eq!(fails(&"A".repeat(10_000)), SaslError::Encoding);
    }

    #[test]
    fn nothing_secret_in_debug() {
        let step =
            Exchange::start(Mechanism::Plain, Some(&STANDARD.encode("\0ann@example.test\0secret")));
        assert!(!format!("{step:?}").contains("secret"));
    }
}
