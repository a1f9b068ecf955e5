//! One try: a message to a next hop, host by host and address by address, until each recipient has its finding.

use std::net::SocketAddr;
use std::sync::Arc;

use letterlock_dns::Resolver;
use letterlock_net::{ClientTls, Shutdown, connect};
use letterlock_vault::DeliveryId;

use crate::client::{
    Conversation, Dialogue, End, Job, Report, Security, Timeouts, Upgrade, converse,
};
use crate::finding::{Fate, Finding};
use crate::route::{self, Host, NextHop};

/// Addresses of one family that are taken of one host, so that other hosts get their turn.
const PER_FAMILY: usize = 3;

/// What a try needs of the world.
pub(crate) struct Carrier {
    pub(crate) dns: Arc<Resolver>,
    pub(crate) tls: ClientTls,
    /// Our name.
    pub(crate) hostname: String,
    /// The port of mail exchangers.
    pub(crate) port: u16,
    pub(crate) timeouts: Timeouts,
    /// Addresses that one try connects to.
    pub(crate) addresses: usize,
}

/// A message on its way.
pub(crate) struct Parcel<'a> {
    pub(crate) id: DeliveryId,
    pub(crate) job: &'a Job,
    pub(crate) message: &'a [u8],
}

/// What became of a try.
pub(crate) struct Carried {
    /// In the order of the job's recipients.
    pub(crate) findings: Vec<Finding>,
    /// No host could be reached now, which says nothing about this message.
    pub(crate) dead: Option<Finding>,
}

impl Carrier {
    /// Tries to carry a message to a next hop. When the server drains, no further host is tried.
    pub(crate) async fn carry(
        &self,
        parcel: &Parcel<'_>,
        hop: &NextHop,
        shutdown: &Shutdown,
    ) -> Carried {
        let mut tally = Tally::new(parcel.job.recipients.len());
        let random = || getrandom::u32().unwrap_or_default();
        let hosts = match route::hosts(&self.dns, hop, self.port, &self.hostname, random).await {
            Ok(hosts) => hosts,
            Err(finding) => {
                tracing::info!(delivery = %parcel.id, hop = %hop, code = %finding.status, "no route");
                tally.note(finding);
                return tally.close();
            }
        };
        let mut left = self.addresses;
        'hosts: for host in &hosts {
            let addresses = match route::addresses(&self.dns, host, PER_FAMILY).await {
                Ok(addresses) => addresses,
                Err(finding) => {
                    tally.note(finding);
                    continue;
                }
            };
            for address in addresses {
                if left == 0 || tally.is_complete() {
                    break 'hosts;
                }
                if left < self.addresses && shutdown.is_draining() {
                    tally.note(Finding::deferred(3, 2, "this server is shutting down"));
                    break 'hosts;
                }
                match self.visit(parcel, host, address, &mut tally).await {
                    Visit::NoNetwork => {}
                    Visit::Tried => left -= 1,
                    Visit::Refused => {
                        left -= 1;
                        continue 'hosts;
                    }
                }
            }
        }
        tally.close()
    }

    /// Tries one address, a second time without TLS if the handshake fails.
    async fn visit(
        &self,
        parcel: &Parcel<'_>,
        host: &Host,
        address: SocketAddr,
        tally: &mut Tally,
    ) -> Visit {
        let id = parcel.id;
        let mut security = Security::Wanted;
        loop {
            tracing::debug!(delivery = %id, host = host.label(), %address, ?security, "connecting");
            let stream = match connect(address, self.timeouts.connect).await {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::info!(delivery = %id, host = host.label(), %error, "no connection");
                    let text = format!("cannot connect to {}: {error}", host.name);
                    tally.note(Finding::deferred(4, 1, text));
                    return if lacks_network(&error) { Visit::NoNetwork } else { Visit::Tried };
                }
            };
            tally.reached = true;
            let (config, verification) = self.tls.opportunistic();
            let upgrade = Upgrade { config, name: host.name.clone() };
            let dialogue = Dialogue::new(parcel.job, tally.open(), &host.name, security);
            match converse(stream, dialogue, upgrade, parcel.message, &self.timeouts).await {
                Conversation::Held { report, tls } => {
                    log(id, host, tls.as_deref(), verification.passed(), &report);
                    return tally.take(report);
                }
                // Opportunistic TLS must not lose mail where without it there would be none to lose.
                Conversation::NoHandshake(reason) if security == Security::Wanted => {
                    tracing::info!(delivery = %id, host = host.label(), %reason, "no TLS handshake, going on in plain text");
                    security = Security::Plain;
                }
                Conversation::NoHandshake(reason) => {
                    tally.note(Finding::deferred(7, 5, format!("{}: {reason}", host.name)));
                    return Visit::Tried;
                }
            }
        }
    }
}

/// What became of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visit {
    /// This machine has no network of its family, which costs no time and says nothing about the host.
    NoNetwork,
    /// It was tried.
    Tried,
    /// The host will not take the message, by whatever address.
    Refused,
}

fn lacks_network(error: &letterlock_net::NetError) -> bool {
    use std::io::ErrorKind::{AddrNotAvailable, NetworkUnreachable};
    match error {
        letterlock_net::NetError::Io(error) => {
            matches!(error.kind(), NetworkUnreachable | AddrNotAvailable)
        }
        _ => false,
    }
}

fn log(id: DeliveryId, host: &Host, tls: Option<&str>, verified: bool, report: &Report) {
    let count = |fate| report.findings.iter().filter(|(_, finding)| finding.fate == fate).count();
    let code = match &report.end {
        End::Refused(finding) | End::Trouble(finding) => Some(finding.status),
        End::Complete => report.findings.last().map(|(_, finding)| finding.status),
    };
    tracing::info!(
        delivery = %id,
        host = host.label(),
        tls = tls.unwrap_or("none"),
        verified,
        code = code.map(tracing::field::display),
        delivered = count(Fate::Delivered),
        deferred = count(Fate::Deferred),
        failed = count(Fate::Failed),
        "tried"
    );
}

/// What is known of each recipient so far, and why nothing is known of the others.
struct Tally {
    findings: Vec<Option<Finding>>,
    /// Some host may take the message another time.
    trouble: Option<Finding>,
    /// Some host never will.
    refusal: Option<Finding>,
    /// Some host took a connection.
    reached: bool,
}

impl Tally {
    fn new(recipients: usize) -> Self {
        Self { findings: vec![None; recipients], trouble: None, refusal: None, reached: false }
    }

    fn open(&self) -> Vec<usize> {
        (0..self.findings.len()).filter(|place| self.findings[*place].is_none()).collect()
    }

    fn is_complete(&self) -> bool {
        self.findings.iter().all(Option::is_some)
    }

    /// Why a host did not take the message. What a server said tells more than what was found here.
    fn note(&mut self, finding: Finding) {
        let kept = match finding.fate {
            Fate::Failed => &mut self.refusal,
            _ => &mut self.trouble,
        };
        let told = kept.as_ref().is_some_and(|kept| kept.host().is_some());
        if !told || finding.host().is_some() {
            *kept = Some(finding);
        }
    }

    fn take(&mut self, report: Report) -> Visit {
        for (place, finding) in report.findings {
            if let Some(slot) = self.findings.get_mut(place) {
                *slot = Some(finding);
            }
        }
        match report.end {
            End::Complete => Visit::Tried,
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
    fn close(self) -> Carried {
        let rest = self.trouble.or(self.refusal);
        let rest = rest.unwrap_or_else(|| Finding::deferred(4, 1, "no host could be tried"));
        let findings = self.findings.into_iter();
        let findings = findings.map(|finding| finding.unwrap_or_else(|| rest.clone())).collect();
        let dead = (!self.reached && rest.fate == Fate::Deferred).then_some(rest);
        Carried { findings, dead }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: u16) -> Finding {
        let reply = letterlock_smtp_wire::Reply::plain(code, "x");
        Finding::from_reply("mx.test", &reply)
    }

    #[test]
    fn all_hosts_must_refuse_for_a_failure() {
        let mut tally = Tally::new(2);
        let report = Report { findings: vec![(1, said(250))], end: End::Refused(said(554)) };
        assert_eq!(tally.take(report), Visit::Refused);
        assert_eq!(tally.open(), [0]);
        assert_eq!(tally.close().findings, [said(554), said(250)]);

        let mut tally = Tally::new(1);
        tally.take(Report { findings: vec![], end: End::Refused(said(554)) });
        tally.take(Report { findings: vec![], end: End::Trouble(said(421)) });
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
