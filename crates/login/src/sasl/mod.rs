//! SASL exchanges as pure state machines: SCRAM-SHA-256 with and without channel binding (RFC 5802, RFC 7677), PLAIN
//! (RFC 4616) and LOGIN.
//!
//! Lines go in and come out in base64, as SMTP (RFC 4954), IMAP (RFC 9051 §6.2.2) and
//! POP3 (RFC 5034) all carry them. The frontend adds its own framing and decides where
//! a mechanism may be used at all: all of these need TLS.
//!
//! PLAIN and LOGIN end in a [`Credential`], SCRAM in a [`Proof`]. After a right proof the server proves itself in turn:
//! [`Login::prove`](crate::Login::prove) gives a last challenge, which the client acknowledges with an empty response
//! ([`acknowledged`]); only then is it logged in.

mod scram;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use letterlock_net::ChannelBindings;
use zeroize::Zeroizing;

use crate::Credential;
use crate::salts::Salts;

/// Longest decoded response that is looked at: an address, an address and a password.
const MAX_RESPONSE: usize = 4096;

/// Random octets of our part of a SCRAM nonce.
const NONCE: usize = 18;

/// A SASL mechanism that Letterlock offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 7677, bound to the TLS connection. For app passwords.
    ScramSha256Plus,
    /// RFC 7677. For app passwords.
    ScramSha256,
    /// RFC 4616.
    Plain,
    /// The older two-step exchange that Outlook still asks for; never standardised.
    Login,
}

impl Mechanism {
    const ALL: [Mechanism; 4] =
        [Mechanism::ScramSha256Plus, Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login];

    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
        }
    }
}

/// What exchanges over one connection stand on: it decides which mechanisms there are.
///
/// The default offers those that send a password.
#[derive(Clone, Debug, Default)]
pub struct Ground {
    bindings: ChannelBindings,
    salts: Option<Salts>,
}

impl Ground {
    /// Over a connection with these bindings. `salts` comes from
    /// [`Login::offered_salts`](crate::Login::offered_salts); without them there is no SCRAM.
    pub fn new(bindings: ChannelBindings, salts: impl Into<Option<Salts>>) -> Ground {
        Ground { bindings, salts: salts.into() }
    }

    /// The mechanisms in the order in which capabilities list them, the best one first.
    pub fn offers(&self) -> impl Iterator<Item = Mechanism> + '_ {
        Mechanism::ALL.into_iter().filter(|mechanism| match mechanism {
            Mechanism::Plain | Mechanism::Login => true,
            Mechanism::ScramSha256 => self.salts.is_some(),
            Mechanism::ScramSha256Plus => self.salts.is_some() && scram::can_bind(&self.bindings),
        })
    }

    /// Finds a mechanism that is offered by its name, in any case.
    pub fn mechanism(&self, name: &str) -> Option<Mechanism> {
        self.offers().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }

    fn scram_first(
        &self,
        message: &str,
        plus: bool,
    ) -> Result<(scram::Waiting, String), SaslError> {
        let salts = self.salts.as_ref().ok_or(SaslError::Syntax)?;
        let nonce = nonce().ok_or(SaslError::Random)?;
        scram::first(message, plus, &self.bindings, &nonce, |identity| {
            let (salt, iterations) = salts.of(identity);
            scram::Salted { salt, iterations }
        })
    }
}

fn nonce() -> Option<String> {
    let mut octets = [0; NONCE];
    getrandom::fill(&mut octets).ok()?;
    Some(STANDARD.encode(octets))
}

/// What a client claims to be by SCRAM, and its proof, not tried yet.
pub struct Proof {
    /// The authentication identity: an address of ours.
    pub identity: String,
    /// The identity to act as; accepted only when the same.
    pub authzid: Option<String>,
    /// What the proof is over (RFC 5802 §3, AuthMessage).
    pub auth_message: Vec<u8>,
    /// RFC 5802 §3, ClientProof.
    pub proof: [u8; 32],
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proof").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// The challenge by which the server proves itself, in base64.
pub(crate) fn server_final(signature: &[u8; 32]) -> String {
    STANDARD.encode(scram::server_final(signature))
}

/// The client's answer to that challenge, as it stood on the line: it has nothing more to say.
///
/// # Errors
/// `Cancelled`, `Syntax` if it says something.
pub fn acknowledged(line: &str) -> Result<(), SaslError> {
    match line {
        "" | "=" => Ok(()),
        "*" => Err(SaslError::Cancelled),
        _ => Err(SaslError::Syntax),
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
    /// SCRAM: the client is bound to another connection than this one, or was told falsely that it cannot be bound.
    #[error("the channel binding does not fit this connection")]
    Binding,
    /// The system has no random numbers.
    #[error("cannot log in now")]
    Random,
}

/// What an exchange does next.
#[derive(Debug)]
pub enum Step {
    /// Send this challenge (base64, possibly empty) and pass the answer to the exchange.
    Challenge(Exchange, String),
    /// The client said everything.
    Done(Credential),
    /// The client sent a proof: ask [`Login::prove`](crate::Login::prove).
    Prove(Proof),
    /// The exchange is over.
    Failed(SaslError),
}

/// An exchange under way, waiting for the client's next line.
#[derive(Debug)]
pub struct Exchange(State);

enum State {
    ScramFirst { ground: Ground, plus: bool },
    ScramLast(Box<scram::Waiting>),
    Plain,
    LoginName,
    LoginPassword(String),
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            State::ScramFirst { .. } => "ScramFirst",
            State::ScramLast(_) => "ScramLast",
            State::Plain => "Plain",
            State::LoginName => "LoginName",
            State::LoginPassword(_) => "LoginPassword",
        })
    }
}

impl Exchange {
    /// Begins an exchange. `initial` is the initial response as it stood on the command
    /// line, where `=` means an empty one (RFC 4954 §4, RFC 4959 §3).
    pub fn start(mechanism: Mechanism, initial: Option<&str>, ground: &Ground) -> Step {
        let scram = |plus| State::ScramFirst { ground: ground.clone(), plus };
        let exchange = Exchange(match mechanism {
            Mechanism::ScramSha256Plus => scram(true),
            Mechanism::ScramSha256 => scram(false),
            Mechanism::Plain => State::Plain,
            Mechanism::Login => State::LoginName,
        });
        match initial {
            None => {
                let challenge = match mechanism {
                    Mechanism::Login => STANDARD.encode("Username:"),
                    _ => String::new(),
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
            State::ScramFirst { ground, plus } => match ground.scram_first(&decoded, plus) {
                Ok((waiting, challenge)) => Step::Challenge(
                    Exchange(State::ScramLast(Box::new(waiting))),
                    STANDARD.encode(challenge),
                ),
                Err(error) => Step::Failed(error),
            },
            State::ScramLast(waiting) => {
                waiting.last(&decoded).map_or_else(Step::Failed, Step::Prove)
            }
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

    fn start(mechanism: Mechanism, initial: Option<&str>) -> Step {
        Exchange::start(mechanism, initial, &Ground::default())
    }

    fn done(step: Step) -> Credential {
        match step {
            Step::Done(credential) => credential,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn plain_with_and_without_initial_response() {
        let line = STANDARD.encode("\0ann@example.test\0secret");
        let credential = done(start(Mechanism::Plain, Some(&line)));
        assert_eq!(
            (credential.identity.as_str(), credential.password.as_str()),
            ("ann@example.test", "secret")
        );
        assert_eq!(credential.authzid, None);
        let Step::Challenge(exchange, challenge) = start(Mechanism::Plain, None) else { panic!() };
        assert_eq!(challenge, "");
        assert_eq!(done(exchange.respond(&line)).identity, "ann@example.test");
    }

    #[test]
    fn plain_keeps_the_authorization_identity() {
        let line = STANDARD.encode("bob@example.test\0ann@example.test\0secret");
        let credential = done(start(Mechanism::Plain, Some(&line)));
        assert_eq!(credential.authzid.as_deref(), Some("bob@example.test"));
    }

    #[test]
    fn login_asks_for_name_then_password() {
        let Step::Challenge(exchange, challenge) = start(Mechanism::Login, None) else { panic!() };
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
        let fails = |initial: &str| match start(Mechanism::Plain, Some(initial)) {
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
    fn without_salts_there_is_no_scram() {
        let ground = Ground::default();
        let names: Vec<_> = ground.offers().map(Mechanism::name).collect();
        assert_eq!(names, ["PLAIN", "LOGIN"]);
        assert_eq!(ground.mechanism("scram-sha-256"), None);
        assert_eq!(ground.mechanism("plain"), Some(Mechanism::Plain));
    }

    #[test]
    fn the_last_word_is_empty() {
        assert_eq!((acknowledged(""), acknowledged("=")), (Ok(()), Ok(())));
        assert_eq!(acknowledged("*"), Err(SaslError::Cancelled));
        assert_eq!(acknowledged("AA=="), Err(SaslError::Syntax));
    }

    #[test]
    fn nothing_secret_in_debug() {
        let step = start(Mechanism::Plain, Some(&STANDARD.encode("\0ann@example.test\0secret")));
        assert!(!format!("{step:?}").contains("secret"));
    }
}
