//! What the checks found, and the pure verdict on it.

use mail_auth::dmarc;

/// The result of an SPF check (RFC 7208 §2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpfOutcome {
    /// No policy, or nothing to check.
    None,
    /// The policy asserts nothing about the client.
    Neutral,
    /// The client may send for the domain.
    Pass,
    /// The client may not.
    Fail,
    /// The client probably may not.
    SoftFail,
    /// DNS failed for now.
    TempError,
    /// The policy cannot be understood.
    PermError,
}

/// One SPF check of one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpfCheck {
    /// The domain whose policy was asked: A-labels in lower case.
    pub domain: String,
    /// The result.
    pub outcome: SpfOutcome,
}

/// SPF of a client's two identities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spf {
    /// The name in HELO or EHLO; `None` if that was no domain name.
    pub helo: Option<SpfCheck>,
    /// The reverse-path's domain; `None` for the null path.
    pub mail_from: Option<SpfCheck>,
}

impl Spf {
    /// The check that DMARC counts: the reverse-path's, or HELO's if that path is null (RFC 7208 §2.4).
    pub fn identity(&self) -> Option<&SpfCheck> {
        self.mail_from.as_ref().or(self.helo.as_ref())
    }
}

/// The result for one DKIM signature (RFC 8601 §2.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DkimOutcome {
    /// The signature is good and acceptable.
    Pass,
    /// The signature does not match.
    Fail,
    /// The signature cannot be processed, or the body was changed.
    Neutral,
    /// The signature matches, but is of a kind that is not trusted.
    Policy,
    /// It can never be verified.
    PermError,
    /// DNS failed for now.
    TempError,
}

/// What became of one DKIM signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dkim {
    /// The result.
    pub outcome: DkimOutcome,
    /// The signing domain (`d=`), if the signature could be read.
    pub domain: Option<String>,
    /// The selector (`s=`).
    pub selector: Option<String>,
    /// The algorithm (`a=`).
    pub algorithm: Option<&'static str>,
    /// The first eight characters of the signature (`b=`), which tell signatures apart.
    pub signature: Option<String>,
    /// Why it did not pass, in a few words.
    pub reason: Option<&'static str>,
}

impl Dkim {
    /// Whether the signature passed.
    pub fn passed(&self) -> bool {
        self.outcome == DkimOutcome::Pass
    }
}

/// What a domain owner asks receivers to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// Nothing.
    None,
    /// Treat as suspicious.
    Quarantine,
    /// Refuse.
    Reject,
}

impl Policy {
    /// The word in records and results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }
}

impl From<dmarc::Policy> for Policy {
    fn from(policy: dmarc::Policy) -> Self {
        match policy {
            dmarc::Policy::Reject => Self::Reject,
            dmarc::Policy::Quarantine => Self::Quarantine,
            dmarc::Policy::None | dmarc::Policy::Unspecified => Self::None,
        }
    }
}

/// The result of DMARC evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmarcOutcome {
    /// No policy applies.
    None,
    /// An aligned identifier passed.
    Pass,
    /// None did.
    Fail,
    /// DNS failed where it could change the result.
    TempError,
    /// The policy cannot be understood.
    PermError,
}

/// DMARC of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dmarc {
    /// The result.
    pub outcome: DmarcOutcome,
    /// The Author Domain that was judged, in A-labels.
    pub domain: Option<String>,
    /// The policy to apply, after `sp`, `np` and `t`; `None` if no record was found or it could not be fetched.
    pub policy: Option<Policy>,
}

impl Dmarc {
    /// DMARC does not apply.
    pub(crate) fn none(domain: Option<String>) -> Self {
        Self { outcome: DmarcOutcome::None, domain, policy: None }
    }
}

/// Everything that was found about a message's origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// SPF of the client.
    pub spf: Spf,
    /// One entry for each DKIM signature that was looked at, in the order of the message.
    pub dkim: Vec<Dkim>,
    /// DMARC of the Author Domain; with several From fields, the least favourable one.
    pub dmarc: Dmarc,
    /// The Author Domain, in A-labels; `None` if there is no usable From field.
    pub from_domain: Option<String>,
}

/// What to do with a message because of its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take it.
    Accept,
    /// Take it and file it in Junk.
    Quarantine {
        /// Why, for the trace.
        reason: String,
    },
    /// Refuse it with a 5xx reply.
    Reject {
        /// The text of the reply, without its codes (550 5.7.1).
        reason: String,
    },
    /// Refuse it for now with a 4xx reply.
    Defer {
        /// The text of the reply, without its codes (451 4.7.0).
        reason: String,
    },
}

impl Verdict {
    /// How the SMTP reply to a refusal begins: basic and enhanced code (RFC 3463, RFC 7372); `None` if the message
    /// is taken.
    pub fn reply_codes(&self) -> Option<(u16, &'static str)> {
        match self {
            Self::Accept | Self::Quarantine { .. } => None,
            Self::Reject { .. } => Some((550, "5.7.1")),
            Self::Defer { .. } => Some((451, "4.7.0")),
        }
    }
}

impl Report {
    /// Judges the facts. The domain owner's policy is honoured; a temporary error defers only where it hides what
    /// could change the outcome.
    pub fn verdict(&self) -> Verdict {
        let domain = self.dmarc.domain.as_deref().unwrap_or("the author's domain");
        match (self.dmarc.outcome, self.dmarc.policy) {
            (DmarcOutcome::Fail, Some(Policy::Reject)) => Verdict::Reject {
                reason: format!("DMARC policy of {domain} is to reject this message"),
            },
            (DmarcOutcome::Fail, Some(Policy::Quarantine)) => {
                Verdict::Quarantine { reason: format!("DMARC policy of {domain} is quarantine") }
            }
            (DmarcOutcome::TempError, Some(Policy::Reject | Policy::Quarantine)) => {
                Verdict::Defer { reason: format!("cannot authenticate {domain} at the moment") }
            }
            // The policy is unknown. What has passed for the very Author Domain is aligned under any policy.
            (DmarcOutcome::TempError, None) if !self.passed_for_author() => Verdict::Defer {
                reason: format!("cannot look up the DMARC policy of {domain} at the moment"),
            },
            _ => Verdict::Accept,
        }
    }

    fn passed_for_author(&self) -> bool {
        let Some(author) = self.dmarc.domain.as_deref() else {
            return false;
        };
        let spf = self
            .spf
            .identity()
            .is_some_and(|check| check.outcome == SpfOutcome::Pass && check.domain == author);
        spf || self
            .dkim
            .iter()
            .any(|signature| signature.passed() && signature.domain.as_deref() == Some(author))
    }
}
