//! What the server offers in its answer to EHLO, which is also what it understands afterwards.

use jiff::Timestamp;
use letterlock_smtp_wire::ehlo::{Capabilities, Extensions, HoldLimits, Limits};

use super::rules::latest_release;
use super::{Access, Session};

impl Session {
    /// The extensions whose parameters are understood now: HELO brings none.
    pub(super) fn offered(&self) -> Extensions {
        match &self.hello {
            Some(hello) if hello.extended => self.extensions(),
            _ => Extensions::NONE,
        }
    }

    pub(super) fn may_auth(&self) -> bool {
        match self.rules.access {
            Access::Anybody => false,
            Access::LoggedIn { cleartext } => self.tls || cleartext,
        }
    }

    fn extensions(&self) -> Extensions {
        let mut extensions = Extensions::PIPELINING
            | Extensions::SIZE
            | Extensions::EIGHT_BIT_MIME
            | Extensions::SMTPUTF8
            | Extensions::CHUNKING
            | Extensions::BINARY_MIME
            | Extensions::DSN
            | Extensions::LIMITS
            | Extensions::ENHANCED_STATUS_CODES;
        if self.tls {
            // RFC 8689 §2: offered over TLS only.
            extensions = extensions | Extensions::REQUIRETLS;
        } else {
            extensions = extensions | Extensions::STARTTLS;
        }
        if self.may_auth() {
            extensions = extensions | Extensions::AUTH;
        }
        if self.rules.future_release.is_some() {
            extensions = extensions | Extensions::FUTURERELEASE;
        }
        extensions
    }

    pub(super) fn capabilities(&self, now: Timestamp) -> Capabilities {
        let hold = self.rules.future_release.map(|most| HoldLimits {
            // HOLDFOR has nine digits.
            interval: u32::try_from(most.as_secs()).unwrap_or(u32::MAX).min(999_999_999),
            until: latest_release(now, most).strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        });
        Capabilities {
            extensions: self.extensions(),
            max_size: Some(self.rules.message_size),
            auth: self.ground.offers().map(|mechanism| mechanism.name().to_owned()).collect(),
            limits: Limits {
                mail_max: Some(self.rules.messages),
                rcpt_max: u32::try_from(self.rules.recipients).ok(),
                rcpt_domain_max: None,
            },
            hold,
        }
    }
}
