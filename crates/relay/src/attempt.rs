//! One try: a message to a next hop, host by host and address by address, until each recipient has its finding.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use letterlock_dns::Resolver;
use letterlock_net::{ClientTls, Shutdown, Stream, connect};
use letterlock_queue::RequireTls;
use letterlock_state::{Event, State};
use letterlock_transport_policy::Outcome;
use letterlock_vault::DeliveryId;

use crate::client::{
    Conversation, Dialogue, End, Job, Kept, Login, Look, Means, Report, Security, Timeouts,
    converse, converse_again, converse_tls,
};
use crate::destination::Turn;
use crate::finding::{Fate, Finding};
use crate::route::{self, Host, NextHop, NoRoute};
use crate::security::{Decision, Denial, Guard, Verdict, Warden};
use crate::tally::{Tally, Visit};

/// Addresses of one family that are taken of one host, so that other hosts get their turn.
const PER_FAMILY: usize = 3;

/// What a try needs of the world.
pub(crate) struct Carrier {
    pub(crate) dns: Arc<Resolver>,
    pub(crate) warden: Warden,
    pub(crate) tls: ClientTls,
    pub(crate) state: Arc<State>,
    /// Our name.
    pub(crate) hostname: String,
    /// The port of mail exchangers.
    pub(crate) port: u16,
    pub(crate) timeouts: Timeouts,
    /// Addresses that one try connects to.
    pub(crate) addresses: usize,
    /// Logins at smarthosts, by `host:port`.
    pub(crate) logins: BTreeMap<String, Login>,
}

/// A message on its way.
pub(crate) struct Parcel<'a> {
    pub(crate) id: DeliveryId,
    pub(crate) job: &'a Job,
    pub(crate) message: &'a [u8],
    pub(crate) wish: RequireTls,
    /// How long it has been under way.
    pub(crate) age: Duration,
}

/// What became of a try.
pub(crate) struct Carried {
    /// In the order of the job's recipients.
    pub(crate) findings: Vec<Finding>,
    /// No host could be reached now, which says nothing about this message.
    pub(crate) dead: Option<Finding>,
    /// Recipients, by their places, of whose delivery the next hop reports nothing.
    pub(crate) silent: Vec<usize>,
    /// An operator is to decide before there is another try.
    pub(crate) hold: bool,
    /// What was decided about transport security at last, in words.
    pub(crate) security: Option<String>,
}

impl Carried {
    pub(crate) fn none() -> Self {
        let (findings, silent) = (Vec::new(), Vec::new());
        Self { findings, dead: None, silent, hold: false, security: None }
    }

    /// The same for everybody.
    pub(crate) fn all(finding: Finding, recipients: usize) -> Self {
        Self { findings: vec![finding; recipients], ..Self::none() }
    }

    /// With the findings for recipients that were not tried, each at its place.
    pub(crate) fn spread(self, others: Vec<Option<Finding>>) -> Self {
        let places: Vec<usize> = (0..others.len()).filter(|at| others[*at].is_none()).collect();
        let silent = self.silent.iter().filter_map(|at| places.get(*at).copied()).collect();
        let mut tried = self.findings.into_iter();
        let nobody = || Finding::deferred(4, 1, "no host could be tried");
        let findings =
            others.into_iter().map(|other| other.or_else(|| tried.next()).unwrap_or_else(nobody));
        Self { findings: findings.collect(), silent, ..self }
    }
}

/// A connection that may carry another message.
pub(crate) struct Standby {
    kept: Box<Kept>,
    host: Host,
    address: SocketAddr,
    wish: RequireTls,
    decision: Decision,
    /// Messages that it has carried.
    pub(crate) messages: u32,
}

impl Standby {
    pub(crate) fn fits(&self, wish: RequireTls) -> bool {
        self.wish == wish && self.kept.has_room()
    }

    pub(crate) fn quit(self, patience: Duration) {
        self.kept.quit(patience);
    }
}

/// A host of the next hop, and what a connection to it must be like.
struct Stop<'a> {
    host: &'a Host,
    guard: &'a Guard,
    login: Option<&'a Login>,
}

impl Carrier {
    /// Tries to carry a message to a next hop. When the server drains, no further host is tried.
    pub(crate) async fn carry(
        &self,
        parcel: &Parcel<'_>,
        hop: &NextHop,
        turn: &Turn,
        shutdown: &Shutdown,
    ) -> Carried {
        let mut tally = Tally::new(parcel.job.recipients.len());
        if let Some(standby) = turn.standby(|standby| standby.fits(parcel.wish)) {
            self.go_on(parcel, standby, turn, &mut tally).await;
        }
        if !tally.is_complete() {
            self.search(parcel, hop, turn, &mut tally, shutdown).await;
        }
        tally.close()
    }

    /// Closes connections for which nobody waits any more.
    pub(crate) fn part(&self, turn: &Turn) {
        for surplus in turn.surplus() {
            surplus.quit(self.timeouts.quit);
        }
    }

    /// Looks for hosts, and tries them.
    async fn search(
        &self,
        parcel: &Parcel<'_>,
        hop: &NextHop,
        turn: &Turn,
        tally: &mut Tally,
        shutdown: &Shutdown,
    ) {
        let random = || getrandom::u32().unwrap_or_default();
        let route = route::hosts(&self.dns, hop, self.port, &self.hostname, random).await;
        let route = match route {
            Ok(route) => route,
            Err(NoRoute { finding, error }) => {
                self.warden.no_route(hop, error.as_ref());
                tracing::info!(delivery = %parcel.id, hop = %hop, code = %finding.status, "no route");
                return tally.note(finding);
            }
        };
        let policy = match self.warden.policy(hop, &route, parcel.wish).await {
            Ok(policy) => policy,
            Err(denial) => return self.denied(parcel, &hop.to_string(), None, denial, tally),
        };
        let login = self.logins.get(&hop.to_string());
        let mut left = self.addresses;
        'hosts: for host in &route.hosts {
            let (guard, addresses) = match self.warden.host(&policy, host, login, PER_FAMILY).await
            {
                Ok(found) => found,
                Err(denial) => {
                    self.denied(parcel, &host.name, None, denial, tally);
                    continue;
                }
            };
            let stop = Stop { host, guard: &guard, login };
            for address in addresses {
                if left == 0 || tally.is_complete() {
                    break 'hosts;
                }
                if left < self.addresses && shutdown.is_draining() {
                    tally.note(Finding::deferred(3, 2, "this server is shutting down"));
                    break 'hosts;
                }
                match self.visit(parcel, &stop, address, turn, tally).await {
                    Visit::NoNetwork => {}
                    Visit::Tried | Visit::Again => left -= 1,
                    Visit::Refused => {
                        left -= 1;
                        continue 'hosts;
                    }
                }
            }
        }
    }

    /// Uses a connection that has carried another message. If it has died meanwhile, nothing is lost.
    async fn go_on(&self, parcel: &Parcel<'_>, standby: Standby, turn: &Turn, tally: &mut Tally) {
        let Standby { kept, host, address, wish, decision, messages } = standby;
        let mut judge = |_: Look<'_>| Ok(());
        let (config, _) = self.tls.opportunistic();
        let means = Means {
            upgrade: crate::client::Upgrade { config, name: host.name.clone() },
            judge: &mut judge,
            message: parcel.message,
            timeouts: &self.timeouts,
        };
        let open = tally.open();
        let conversation = converse_again(kept, parcel.job, open, &host.name, means).await;
        let Conversation::Held { report, tls, kept } = conversation else { return };
        tally.reached = true;
        if !report.findings.is_empty() {
            tally.security = Some(decision.to_string());
            self.tell(parcel.id, &host, Some(address), tls.as_deref(), &decision, &report, parcel);
        }
        tally.take(report);
        if let Some(kept) = kept {
            let messages = messages.saturating_add(1);
            self.keep(turn, Standby { kept, host, address, wish, decision, messages });
        }
    }

    fn keep(&self, turn: &Turn, standby: Standby) {
        if let Some(unwanted) = turn.keep(standby) {
            unwanted.quit(self.timeouts.quit);
        }
    }

    /// Tries one address: a second time without TLS if the handshake fails and nothing demands it, and as often as
    /// the server's limits ask for a new connection.
    async fn visit(
        &self,
        parcel: &Parcel<'_>,
        stop: &Stop<'_>,
        address: SocketAddr,
        turn: &Turn,
        tally: &mut Tally,
    ) -> Visit {
        let host = stop.host;
        let mut plain = None;
        loop {
            tracing::debug!(delivery = %parcel.id, host = host.label(), %address, "connecting");
            let stream = match connect(address, self.timeouts.connect).await {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::info!(delivery = %parcel.id, host = host.label(), %error, "no connection");
                    let text = format!("cannot connect to {}: {error}", host.name);
                    tally.note(Finding::deferred(4, 1, text));
                    return if lacks_network(&error) { Visit::NoNetwork } else { Visit::Tried };
                }
            };
            tally.reached = true;
            let before = tally.open().len();
            match self.call(parcel, stop, (stream, address), plain.take(), turn, tally).await {
                Called::Plainly(decision) => plain = Some(decision),
                Called::Done(Visit::Again) if tally.open().len() < before => {}
                Called::Done(visit) => return visit,
            }
        }
    }

    /// One connection.
    async fn call(
        &self,
        parcel: &Parcel<'_>,
        stop: &Stop<'_>,
        (stream, address): (Stream, SocketAddr),
        plain: Option<Decision>,
        turn: &Turn,
        tally: &mut Tally,
    ) -> Called {
        let Stop { host, guard, login } = *stop;
        let security = match (&plain, guard.is_implicit()) {
            (Some(_), _) => Security::Plain,
            (None, true) => Security::Active,
            (None, false) => Security::Wanted,
        };
        let check = guard.check(&self.tls);
        let own = stream.local_addr().ok().map(|own| own.ip());
        let ends = (own, Some(address.ip()));
        let (mut decided, mut hold) = (plain, false);
        let mut judge = |look: Look<'_>| {
            // Without TLS after a handshake that failed: that was judged then.
            if security == Security::Plain {
                return Ok(());
            }
            let outcome = match look.tls {
                Some(_) => Outcome::Established { requiretls_offered: look.requiretls },
                None => Outcome::NoStartTls,
            };
            match self.warden.judge(guard, &check, outcome, parcel.age, ends) {
                Verdict::Go(decision) => {
                    decided = Some(decision);
                    Ok(())
                }
                Verdict::No(denial) => {
                    (decided, hold) = (Some(denial.decision), denial.hold);
                    Err(denial.finding)
                }
            }
        };
        let means = Means {
            upgrade: check.upgrade(),
            judge: &mut judge,
            message: parcel.message,
            timeouts: &self.timeouts,
        };
        let dialogue =
            Dialogue::new(parcel.job, tally.open(), &host.name, security).with_login(login);
        let conversation = match security {
            Security::Active => converse_tls(stream, dialogue, means).await,
            _ => converse(stream, dialogue, means).await,
        };
        tally.hold |= hold;
        match conversation {
            Conversation::Held { report, tls, kept } => {
                let decision = decided.unwrap_or_else(Decision::none);
                tally.security = Some(decision.to_string());
                let tls = tls.as_deref();
                self.tell(parcel.id, host, Some(address), tls, &decision, &report, parcel);
                if let Some(kept) = kept {
                    let (host, wish) = (host.clone(), parcel.wish);
                    self.keep(turn, Standby { kept, host, address, wish, decision, messages: 1 });
                }
                Called::Done(tally.take(report))
            }
            Conversation::NoHandshake(reason) => {
                let outcome = Outcome::HandshakeFailed(&reason);
                tracing::info!(delivery = %parcel.id, host = host.label(), %reason, "no TLS handshake");
                match self.warden.judge(guard, &check, outcome, parcel.age, ends) {
                    // Once without TLS, if nothing speaks against it.
                    Verdict::Go(decision) if security == Security::Wanted => {
                        Called::Plainly(decision)
                    }
                    Verdict::Go(_) => {
                        tally.note(Finding::deferred(7, 5, format!("{}: {reason}", host.name)));
                        Called::Done(Visit::Tried)
                    }
                    Verdict::No(denial) => {
                        self.denied(parcel, &host.name, Some(address), denial, tally);
                        Called::Done(Visit::Tried)
                    }
                }
            }
        }
    }

    /// A host must not have the message, before a word of it was said.
    fn denied(
        &self,
        parcel: &Parcel<'_>,
        host: &str,
        address: Option<SocketAddr>,
        denial: Denial,
        tally: &mut Tally,
    ) {
        let Denial { finding, hold, decision } = denial;
        tracing::info!(delivery = %parcel.id, reason = %decision.reason, code = %finding.status, "refused by policy");
        let event = host_event(host, address, None, &decision);
        self.state.record(parcel.id, jiff::Timestamp::now(), event);
        tally.hold |= hold;
        tally.security = Some(decision.to_string());
        tally.note(finding);
    }

    /// Tells the log and the trace what a host said.
    #[expect(clippy::too_many_arguments, reason = "one line of the log has as many fields")]
    fn tell(
        &self,
        id: DeliveryId,
        host: &Host,
        address: Option<SocketAddr>,
        tls: Option<&str>,
        decision: &Decision,
        report: &Report,
        parcel: &Parcel<'_>,
    ) {
        log(id, host, tls, decision, report);
        let now = jiff::Timestamp::now();
        let mut events = vec![host_event(&host.name, address, tls, decision)];
        for (place, finding) in &report.findings {
            let recipient = parcel.job.recipients.get(*place);
            let recipient = recipient.map(|recipient| recipient.address.to_string().into());
            let (host, text) = (host.name.clone().into(), finding.text.clone().into());
            events.push(Event::Reply { host, recipient, text });
        }
        if let End::Refused(finding) | End::Trouble(finding) = &report.end
            && finding.host().is_some()
        {
            let (host, text) = (host.name.clone().into(), finding.text.clone().into());
            events.push(Event::Reply { host, recipient: None, text });
        }
        self.state.record_all(id, now, events);
    }
}

/// What came of a connection.
enum Called {
    /// As the visit says.
    Done(Visit),
    /// Another one is to be tried without TLS, as was decided.
    Plainly(Decision),
}

fn host_event(
    host: &str,
    address: Option<SocketAddr>,
    tls: Option<&str>,
    decision: &Decision,
) -> Event {
    Event::Host {
        host: host.to_owned().into(),
        address: address.map(|address| address.ip()),
        policy: decision.policy,
        tls: tls.map(|tls| tls.to_owned().into()),
        reason: decision.reason.clone().into(),
    }
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

fn log(id: DeliveryId, host: &Host, tls: Option<&str>, decision: &Decision, report: &Report) {
    let count = |fate| report.findings.iter().filter(|(_, finding)| finding.fate == fate).count();
    let code = match &report.end {
        End::Refused(finding) | End::Trouble(finding) => Some(finding.status),
        End::Complete | End::Reconnect => report.findings.last().map(|(_, found)| found.status),
    };
    tracing::info!(
        delivery = %id,
        host = host.label(),
        tls = tls.unwrap_or("none"),
        verified = decision.verified,
        policy = decision.policy.as_str(),
        reason = %decision.reason,
        code = code.map(tracing::field::display),
        delivered = count(Fate::Delivered),
        deferred = count(Fate::Deferred),
        failed = count(Fate::Failed),
        "tried"
    );
}
