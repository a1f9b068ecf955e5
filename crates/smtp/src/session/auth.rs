//! AUTH (RFC 4954): the exchange, and what came of it.

use letterlock_login::LoginError;
use letterlock_login::sasl::{self, Exchange, Ground, SaslError, Step};
use letterlock_smtp_wire::standard;

use super::{Access, Action, Session, State};

impl Session {
    /// Which SASL mechanisms there are on this connection; without it, those that send a password.
    pub fn set_ground(&mut self, ground: Ground) {
        self.ground = ground;
    }

    /// `login` accepted the proof; `challenge` proves the server in turn (RFC 5802 §5).
    pub fn proven(&mut self, challenge: &str) -> Action {
        self.state = State::Proven;
        Action::Send(standard::auth_challenge(challenge))
    }

    /// `login` accepted.
    pub fn logged_in(&mut self) -> Action {
        self.logged_in = true;
        Action::Send(standard::authenticated())
    }

    /// `login` refused (RFC 4954 §6).
    pub fn login_failed(&mut self, error: &LoginError) -> Action {
        let reply = match error {
            LoginError::Rejected | LoginError::Disabled => standard::auth_failed(),
            LoginError::Throttled { .. }
            | LoginError::TooManySessions
            | LoginError::Temporary(_) => standard::auth_temporary(),
        };
        // Also when the reason is on our side: nobody tries credentials without end.
        self.strike(Action::Send(reply))
    }

    pub(super) fn auth(&mut self, mechanism: &str, initial: Option<&str>) -> Action {
        let reply = match self.rules.access {
            Access::Anybody => standard::not_implemented(),
            Access::LoggedIn { .. } if !self.may_auth() && !self.logged_in => {
                standard::auth_needs_tls()
            }
            _ if self.hello.is_none() => standard::hello_first(),
            // Once only, and not within a transaction (RFC 4954 §4).
            _ if self.logged_in || !matches!(self.state, State::Ready) => standard::bad_sequence(),
            _ => match self.ground.mechanism(mechanism) {
                Some(mechanism) => {
                    return self.sasl(Exchange::start(mechanism, initial, &self.ground));
                }
                None => standard::auth_mechanism_unknown(),
            },
        };
        Action::Send(reply)
    }

    pub(super) fn acknowledge(&self, line: &[u8]) -> Action {
        match sasl::acknowledged(std::str::from_utf8(line).unwrap_or("?")) {
            Ok(()) => Action::Enter,
            Err(SaslError::Cancelled) => Action::Send(standard::auth_cancelled()),
            Err(_) => Action::Send(standard::auth_malformed()),
        }
    }

    pub(super) fn sasl(&mut self, step: Step) -> Action {
        match step {
            Step::Challenge(exchange, challenge) => {
                self.state = State::Sasl(exchange);
                Action::Send(standard::auth_challenge(&challenge))
            }
            Step::Done(credential) => Action::Authenticate(credential),
            Step::Prove(proof) => Action::Prove(proof),
            Step::Failed(SaslError::Cancelled) => Action::Send(standard::auth_cancelled()),
            Step::Failed(_) => Action::Send(standard::auth_malformed()),
        }
    }
}
