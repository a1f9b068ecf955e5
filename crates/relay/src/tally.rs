//! What is known of each recipient of a try, gathered host by host.

use crate::attempt::Carried;
use crate::client::{End, Report};
use crate::finding::{Fate, Finding};

/// What became of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// This machine has no network of its family, which costs no time and says nothing about the host.
    NoNetwork,
    /// It was tried.
    Tried,
    /// The host will not take the message, by whatever address.
    Refused,
    /// The connection has served its time; a fresh one to the same host goes on.
    Again,
}

/// What is known of each recipient so far, and why nothing is known of the others.
pub(crate) struct Tally {
    findings: Vec<Option<Finding>>,
    /// Some host may take the message another time.
    trouble: Option<Finding>,
    /// Some host never will.
    refusal: Option<Finding>,
    /// Some host took a connection.
    pub(crate) reached: bool,
    /// Recipients whose next hop reports nothing to senders (RFC 3461 §5.2.2).
    silent: Vec<usize>,
    /// An operator is to decide before there is another try.
    pub(crate) hold: bool,
    /// What was decided about transport security at last.
    pub(crate) security: Option<String>,
}

impl Tally {
    pub(crate) fn new(recipients: usize) -> Self {
        Self {
            findings: vec![None; recipients],
            trouble: None,
            refusal: None,
            reached: false,
            silent: Vec::new(),
            hold: false,
            security: None,
        }
    }

    pub(crate) fn open(&self) -> Vec<usize> {
        (0..self.findings.len()).filter(|place| self.findings[*place].is_none()).collect()
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.findings.iter().all(Option::is_some)
    }

    /// Why a host did not take the message. What a server said tells more than what was found here.
    pub(crate) fn note(&mut self, finding: Finding) {
        let kept = match finding.fate {
            Fate::Failed => &mut self.refusal,
            _ => &mut self.trouble,
        };
        let told = kept.as_ref().is_some_and(|kept| kept.host().is_some());
        if !told || finding.host().is_some() {
            *kept = Some(finding);
        }
    }

    pub(crate) fn take(&mut self, report: Report) -> Visit {
        for (place, finding) in report.findings {
            if finding.fate == Fate::Delivered && !report.dsn {
                self.silent.push(place);
            }
            if let Some(slot) = self.findings.get_mut(place) {
                *slot = Some(finding);
            }
        }
        match report.end {
            End::Complete => Visit::Tried,
            End::Reconnect => Visit::Again,
            End::Trouble(finding) => {
                self.note(finding);
                Visit::Tried
            }
            End::Refused(finding) => {
                self.note(finding);
                Visit::Refused
            }
        }
    }

    /// Recipients that no host decided about fail only if every host refused for good.
    pub(crate) fn close(mut self) -> Carried {
        let rest = self.trouble.take().or(self.refusal.take());
        let rest = rest.unwrap_or_else(|| Finding::deferred(4, 1, "no host could be tried"));
        let findings = std::mem::take(&mut self.findings).into_iter();
        let findings = findings.map(|finding| finding.unwrap_or_else(|| rest.clone())).collect();
        let dead = (!self.reached && rest.fate == Fate::Deferred).then_some(rest);
        let Self { silent, hold, security, .. } = self;
        Carried { findings, dead, silent, hold, security }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: u16) -> Finding {
        let reply = letterlock_smtp_wire::Reply::plain(code, "x");
        Finding::from_reply("mx.test", &reply)
    }

    fn told(findings: Vec<(usize, Finding)>, end: End) -> Report {
        Report { findings, end, dsn: true }
    }

    #[test]
    fn all_hosts_must_refuse_for_a_failure() {
        let mut tally = Tally::new(2);
        let report = told(vec![(1, said(250))], End::Refused(said(554)));
        assert_eq!(tally.take(report), Visit::Refused);
        assert_eq!(tally.open(), [0]);
        assert_eq!(tally.close().findings, [said(554), said(250)]);

        let mut tally = Tally::new(1);
        tally.take(told(vec![], End::Refused(said(554))));
        tally.take(told(vec![], End::Trouble(said(421))));
        tally.note(Finding::deferred(4, 1, "cannot connect"));
        assert_eq!(tally.close().findings, [said(421)], "and what a server said is told");
        assert_eq!(Tally::new(1).close().findings[0].fate, Fate::Deferred);
    }

    #[test]
    fn only_a_host_that_cannot_be_reached_is_dead() {
        let (connect, gone) =
            (Finding::deferred(4, 1, "cannot connect"), Finding::failed(1, 2, "x"));
        let dead = |reached, finding: &Finding| {
            let mut tally = Tally { reached, ..Tally::new(1) };
            tally.note(finding.clone());
            tally.close().dead
        };
        assert_eq!(dead(false, &connect), Some(connect.clone()));
        assert_eq!(dead(true, &said(421)), None);
        assert_eq!(dead(false, &gone), None);
    }
}
