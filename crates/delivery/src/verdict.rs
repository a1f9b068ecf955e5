//! What was found about a message's origin, told to its trace and counted for the reports that its author's domain asks
//! for (RFC 9990).

use std::net::IpAddr;

use jiff::Timestamp;
use letterlock_address::{Mailbox, ReversePath};
use letterlock_directory::{KeyMode, Resolution, Snapshot, Target};
use letterlock_sender_auth::{ArcOutcome, DmarcOutcome, Report, Verdict};
use letterlock_state::{
    Check, DkimAuth, DmarcResult, Event, Privacy, PublishedPolicy, SpfAuth, Text,
};
use letterlock_vault::DeliveryId;

use crate::intake::Intake;

/// A message that was judged.
pub struct Judged<'a> {
    /// Its id.
    pub id: DeliveryId,
    /// Who connected.
    pub client: IpAddr,
    /// The envelope's sender.
    pub reverse_path: &'a ReversePath,
    /// What was found.
    pub report: &'a Report,
    /// What follows.
    pub verdict: &'a Verdict,
}

impl Intake {
    /// Who may know the sender of a message for these recipients: not this server, if one of them is an account that
    /// only its owner opens.
    pub fn privacy<'a>(
        &self,
        snapshot: &Snapshot,
        recipients: impl IntoIterator<Item = &'a Mailbox>,
    ) -> Privacy {
        let user_held = |account| {
            snapshot.account(account).is_none_or(|account| account.mode == KeyMode::UserHeld)
        };
        let sealed = |address| match snapshot.resolve(address) {
            Resolution::Account(account) => user_held(account),
            Resolution::Aliased(targets) => targets.into_iter().any(|target| match target {
                Target::Account(account) => user_held(account),
                Target::Remote(_) => false,
            }),
            Resolution::Disabled(_) => true,
            _ => false,
        };
        Privacy::of_recipients(recipients.into_iter().any(sealed))
    }

    /// Traces a verdict and counts the DMARC result. Never waits.
    pub fn judged(&self, privacy: Privacy, judged: &Judged<'_>) {
        let Some(state) = self.state() else { return };
        let now = Timestamp::now();
        state.record(judged.id, now, verified(privacy, judged));
        if let Some(result) = dmarc_result(judged) {
            state.count_dmarc(&result, now);
        }
    }
}

/// The trace's words. Whatever names the sender is shown only to who may know.
fn verified(privacy: Privacy, judged: &Judged<'_>) -> Event {
    let report = judged.report;
    let check = |result: &'static str, domain: String, reason: Text| Check {
        result: result.into(),
        domain: privacy.show(domain),
        reason,
    };
    let signature = report.dkim.iter().find(|dkim| dkim.passed()).or(report.dkim.first());
    let arc = match report.arc.outcome {
        ArcOutcome::None => None,
        ArcOutcome::Pass => Some("pass"),
        ArcOutcome::Fail | ArcOutcome::TempError => Some("fail"),
    };
    let reason: Text = match &report.dmarc.overridden_by {
        Some(_) => "overridden by the ARC chain of a trusted sealer".into(),
        None => "".into(),
    };
    Event::Verified {
        spf: report
            .spf
            .identity()
            .map(|spf| check(spf.outcome.as_str(), spf.domain.clone(), "".into())),
        dkim: signature.map(|dkim| {
            let domain = dkim.domain.clone().unwrap_or_default();
            check(dkim.outcome.as_str(), domain, dkim.reason.unwrap_or_default().into())
        }),
        dmarc: report
            .dmarc
            .domain
            .clone()
            .map(|domain| check(report.dmarc.outcome.as_str(), domain, reason)),
        arc: arc.map(|outcome| {
            let sealer = report.arc.sealers.last().map(|sealer| sealer.domain.clone());
            let reason = report.arc.reason.unwrap_or_default().into();
            check(outcome, sealer.unwrap_or_default(), reason)
        }),
        outcome: match judged.verdict {
            Verdict::Accept => "accepted",
            Verdict::Quarantine { .. } => "to Junk",
            Verdict::Reject { .. } => "refused",
            Verdict::Defer { .. } => "deferred",
        }
        .into(),
    }
}

/// One line of an aggregate report; `None` where no policy was found, or nothing came of it yet.
fn dmarc_result(judged: &Judged<'_>) -> Option<DmarcResult> {
    let (report, dmarc) = (judged.report, &judged.report.dmarc);
    let published = dmarc.published.as_ref()?;
    let disposition = match judged.verdict {
        // It comes again, and is counted then.
        Verdict::Defer { .. } => return None,
        Verdict::Accept => "none",
        Verdict::Quarantine { .. } => "quarantine",
        Verdict::Reject { .. } => "reject",
    };
    if !matches!(dmarc.outcome, DmarcOutcome::Pass | DmarcOutcome::Fail) {
        return None;
    }
    let spf = [(report.spf.mail_from.as_ref(), false), (report.spf.helo.as_ref(), true)];
    Some(DmarcResult {
        published: PublishedPolicy {
            domain: published.domain.clone(),
            policy: published.policy.as_str().to_owned(),
            subdomains: published.subdomains.map(|policy| policy.as_str().to_owned()),
            nonexistent: published.nonexistent.map(|policy| policy.as_str().to_owned()),
            strict_dkim: published.strict_dkim,
            strict_spf: published.strict_spf,
            testing: published.testing,
            report_to: published.report_to.clone(),
        },
        source: judged.client.to_canonical(),
        disposition: disposition.to_owned(),
        dkim_aligned: dmarc.dkim_aligned,
        spf_aligned: dmarc.spf_aligned,
        overridden: dmarc.overridden_by.as_ref().map(|_| "trusted_forwarder".to_owned()),
        header_from: dmarc.domain.clone()?,
        envelope_from: judged.reverse_path.mailbox().map(|mailbox| mailbox.domain.to_string()),
        dkim: report
            .dkim
            .iter()
            .filter_map(|dkim| {
                let (domain, selector) = (dkim.domain.clone()?, dkim.selector.clone()?);
                Some(DkimAuth { domain, selector, result: dkim.outcome.as_str().to_owned() })
            })
            .collect(),
        spf: spf
            .into_iter()
            .filter_map(|(check, helo)| {
                let check = check?;
                let (domain, result) = (check.domain.clone(), check.outcome.as_str().to_owned());
                Some(SpfAuth { domain, helo, result })
            })
            .collect(),
    })
}
