//! What the checks found, and the pure verdict on it.

use letterlock_address::Domain;
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

impl SpfOutcome {
    /// The word in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Neutral => "neutral",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
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

impl DkimOutcome {
    /// The word in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Neutral => "neutral",
            Self::Policy => "policy",
            Self::PermError => "permerror",
            Self::TempError => "temperror",
        }
    }
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

/// The state of a message's ARC chain (RFC 8617 §4.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArcOutcome {
    /// There is no chain.
    #[default]
    None,
    /// The chain is whole, and the message is as its last member sealed it.
    Pass,
    /// It is not.
    Fail,
    /// DNS failed for now; to others this is a failure.
    TempError,
}

/// One member of an ARC chain that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealer {
    /// The domain that sealed (`d=`), in lower case.
    pub domain: String,
    /// The Author Domains for which it says that DMARC passed when the message came to it.
    pub dmarc_passed: Vec<String>,
}

/// ARC of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arc {
    /// The state of the chain.
    pub outcome: ArcOutcome,
    /// Its members, the first one first; empty unless it passed.
    pub sealers: Vec<Sealer>,
    /// Why it did not pass, in a few words.
    pub reason: Option<&'static str>,
    /// DNS failed, and the chain claims to be of trusted sealers: later it may override DMARC.
    pub undecided: bool,
}

impl Arc {
    /// Who vouches for the author: the earliest member that saw DMARC pass for the Author Domain, if it and all that
    /// came after it are trusted. What an untrusted one changed, a later seal would cover up.
    pub fn vouching(&self, author: &str, trusted: &[Domain]) -> Option<&Sealer> {
        let is_trusted =
            |sealer: &&Sealer| trusted.iter().any(|domain| domain.as_str() == sealer.domain);
        let last = self.sealers.iter().rev().take_while(is_trusted);
        last.filter(|sealer| sealer.dmarc_passed.iter().any(|passed| passed == author)).last()
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

impl DmarcOutcome {
    /// The word in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

/// A DMARC record as it was found, for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The domain at which it was found.
    pub domain: String,
    /// `p`.
    pub policy: Policy,
    /// `sp`, where it says something else than `p`.
    pub subdomains: Option<Policy>,
    /// `np`, where it says something else than `sp`.
    pub nonexistent: Option<Policy>,
    /// `adkim=s`.
    pub strict_dkim: bool,
    /// `aspf=s`.
    pub strict_spf: bool,
    /// `t=y`.
    pub testing: bool,
    /// `rua`.
    pub report_to: Vec<String>,
}

impl Published {
    pub(crate) fn new(domain: String, record: &dmarc::Dmarc) -> Self {
        let strict = |alignment| alignment == dmarc::Alignment::Strict;
        let other = |policy, than| (policy != than).then(|| Policy::from(policy));
        Self {
            domain,
            policy: record.p.into(),
            subdomains: other(record.sp, record.p),
            nonexistent: other(record.np, record.sp),
            strict_dkim: strict(record.adkim),
            strict_spf: strict(record.aspf),
            testing: record.t,
            report_to: record.rua.iter().map(|uri| uri.uri.clone()).collect(),
        }
    }
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
    /// The record that the policy is from.
    pub published: Option<Published>,
    /// Alignment of SPF: an aligned identity passed.
    pub spf_aligned: bool,
    /// Alignment of DKIM: an aligned signature passed.
    pub dkim_aligned: bool,
    /// The trusted ARC sealer because of whom a failure has no consequences.
    pub overridden_by: Option<String>,
}

impl Dmarc {
    /// DMARC does not apply.
    pub(crate) fn none(domain: Option<String>) -> Self {
        Self {
            outcome: DmarcOutcome::None,
            domain,
            policy: None,
            published: None,
            spf_aligned: false,
            dkim_aligned: false,
            overridden_by: None,
        }
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
    /// ARC of the message.
    pub arc: Arc,
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
        /// The text of the reply, without its codes.
        reason: String,
    },
    /// Refuse it for now with a 4xx reply.
    Defer {
        /// The text of the reply, without its codes.
        reason: String,
    },
}

impl Report {
    /// Judges the facts. The domain owner's policy is honoured; a temporary error defers only where it hides what
    /// could change the outcome.
    pub fn verdict(&self) -> Verdict {
        // It goes into replies and a field: nothing of what the sender wrote may end a line.
        let shown =
            |domain: &str| domain.chars().filter(char::is_ascii_graphic).take(253).collect();
        let domain: String =
            self.dmarc.domain.as_deref().map_or_else(|| "the author's domain".to_owned(), shown);
        if self.dmarc.overridden_by.is_some() {
            return Verdict::Accept;
        }
        let harsh = matches!(self.dmarc.policy, Some(Policy::Reject | Policy::Quarantine));
        if self.arc.undecided && harsh && self.dmarc.outcome == DmarcOutcome::Fail {
            let reason = "cannot verify the message's ARC chain at the moment".to_owned();
            return Verdict::Defer { reason };
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn vouching(chain: &[(&str, &[&str])], trusted: &[&str]) -> Option<String> {
        let sealers = chain.iter().map(|(domain, passed)| Sealer {
            domain: (*domain).to_owned(),
            dmarc_passed: passed.iter().map(|domain| (*domain).to_owned()).collect(),
        });
        let arc = Arc { outcome: ArcOutcome::Pass, sealers: sealers.collect(), ..Arc::default() };
        let trusted: Vec<Domain> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        arc.vouching("a.test", &trusted).map(|sealer| sealer.domain.clone())
    }

    #[test]
    fn an_authors_domain_cannot_end_a_reply() {
        let dmarc = Dmarc {
            outcome: DmarcOutcome::Fail,
            policy: Some(Policy::Reject),
            ..Dmarc::none(Some("a.test\r\n250 OK\u{1b}".to_owned()))
        };
        let (spf, arc) = (Spf::default(), Arc::default());
        let report = Report { spf, dkim: Vec::new(), dmarc, arc, from_domain: None };
        let Verdict::Reject { reason } = report.verdict() else { panic!("it is refused") };
        assert_eq!(reason, "DMARC policy of a.test250OK is to reject this message");
    }

    #[test]
    fn only_trusted_sealers_vouch() {
        let list: (&str, &[&str]) = ("list.test", &["a.test"]);
        let next: (&str, &[&str]) = ("next.test", &[]);
        assert_eq!(vouching(&[list], &["list.test"]).as_deref(), Some("list.test"));
        assert_eq!(vouching(&[list], &["other.test"]), None);
        assert_eq!(vouching(&[list], &[]), None);
        assert_eq!(vouching(&[], &["list.test"]), None);
        // Who came later could have changed the message.
        assert_eq!(vouching(&[list, next], &["list.test"]), None);
        assert_eq!(vouching(&[list, next], &["next.test"]), None);
        assert_eq!(
            vouching(&[list, next], &["list.test", "next.test"]).as_deref(),
            Some("list.test")
        );
        assert_eq!(vouching(&[next, list], &["list.test"]).as_deref(), Some("list.test"));
        assert_eq!(vouching(&[("list.test", &["b.test"])], &["list.test"]), None);
        assert_eq!(vouching(&[("sub.list.test", &["a.test"])], &["list.test"]), None);
    }
}
