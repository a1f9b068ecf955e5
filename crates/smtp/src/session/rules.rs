//! What a listener allows, and what is known of a client and of a message before its content.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use letterlock_address::{Mailbox, ReversePath};
use letterlock_smtp_wire::command::{Body, Hold, MailParams, RcptParams};

/// What a listener allows.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Our name in greetings and replies.
    pub hostname: String,
    /// Whether clients log in here.
    pub access: Access,
    /// Largest message, in octets.
    pub message_size: u64,
    /// Most recipients of one message.
    pub recipients: usize,
    /// Most messages of one session.
    pub messages: u32,
    /// Errors (5xx replies and failed logins) after which the session is ended.
    pub errors: u32,
    /// How the answers to errors are held back.
    pub tarpit: Tarpit,
    /// How far ahead a message may be released (FUTURERELEASE, RFC 4865), to the second; `None` does not offer it.
    pub future_release: Option<Duration>,
}

/// Who may do what on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Port 25: anybody, to local recipients, and nobody logs in.
    Anybody,
    /// Submission: after AUTH, which needs TLS unless `cleartext` allows it without.
    LoggedIn {
        /// Passwords may be sent without TLS (loopback only; the configuration sees to it).
        cleartext: bool,
    },
}

/// Late answers for who makes many errors: they cost a prober time and us next to nothing. `Default` is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tarpit {
    /// Errors that are answered at once.
    pub after: u32,
    /// By how much the first late answer is late; each one that follows by as much more.
    pub step: Duration,
    /// Longest delay.
    pub most: Duration,
}

impl Tarpit {
    /// How long the answer to the `errors`th error is held back.
    pub(crate) fn delay(&self, errors: u32) -> Duration {
        self.step.saturating_mul(errors.saturating_sub(self.after)).min(self.most)
    }
}

/// What is known about a message before its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Where bounces go.
    pub reverse_path: ReversePath,
    /// BODY=, SMTPUTF8 and the like.
    pub params: MailParams,
    /// When the message is to be released, if it is not to go at once (RFC 4865).
    pub hold_until: Option<Timestamp>,
    /// Who gets it, as accepted.
    pub recipients: Vec<Recipient>,
}

impl Envelope {
    /// Whether the client announced BODY=BINARYMIME: then any octets may come, and by BDAT only (RFC 3030 §3).
    pub fn is_binary(&self) -> bool {
        self.params.body == Body::BinaryMime
    }
}

/// A recipient that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The address as it is to be used.
    pub address: Mailbox,
    /// NOTIFY and ORCPT.
    pub params: RcptParams,
}

/// How the client introduced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Its name, as it gave it.
    pub name: String,
    /// EHLO, and not HELO.
    pub extended: bool,
}

/// When a message is released that is held so; `None` if that is in the past, further ahead than `most`, or no time.
pub(crate) fn release(hold: &Hold, now: Timestamp, most: Duration) -> Option<Timestamp> {
    let latest = latest_release(now, most);
    let at = match hold {
        Hold::For(seconds) => {
            now.checked_add(SignedDuration::from_secs(i64::from(*seconds))).ok()?
        }
        Hold::Until(text) => text.parse().ok()?,
    };
    (at > now && at <= latest).then_some(at)
}

/// The latest time of release that is accepted now.
pub(crate) fn latest_release(now: Timestamp, most: Duration) -> Timestamp {
    let most = SignedDuration::try_from(most).unwrap_or(SignedDuration::MAX);
    now.checked_add(most).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn answers_are_held_back_longer_and_longer() {
        let tarpit =
            Tarpit { after: 2, step: Duration::from_secs(1), most: Duration::from_secs(3) };
        let delays: Vec<u64> = (0..8).map(|errors| tarpit.delay(errors).as_secs()).collect();
        assert_eq!(delays, [0, 0, 0, 1, 2, 3, 3, 3]);
        assert_eq!(Tarpit::default().delay(u32::MAX), Duration::ZERO);
    }

    #[test]
    fn a_message_is_released_within_bounds() {
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let after = |text: &str| release(&Hold::Until(text.into()), now, HOUR);
        assert_eq!(
            release(&Hold::For(3600), now, HOUR).unwrap().to_string(),
            "2030-01-01T01:00:00Z"
        );
        assert_eq!(release(&Hold::For(3601), now, HOUR), None);
        assert_eq!(release(&Hold::For(1), Timestamp::MAX, HOUR), None);
        assert_eq!(after("2030-01-01T00:00:00Z"), None, "not in the future");
        assert_eq!(after("2030-01-01T01:00:01Z"), None, "too far ahead");
        assert_eq!(after("2030-01-01T02:30:00+02:00").unwrap().to_string(), "2030-01-01T00:30:00Z");
        assert_eq!(after("2030-13-01T00:30:00Z"), None);
        assert_eq!(after("--------------------"), None);
    }
}
