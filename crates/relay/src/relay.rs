//! Takes what is due, in pages, and has it carried: many messages at once, but only a few to one destination.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use letterlock_address::{Domain, Mailbox};
use letterlock_config::Outbound;
use letterlock_directory::Directory;
use letterlock_dns::Resolver;
use letterlock_net::{ClientTls, Shutdown};
use letterlock_queue::{Due, DueRow, Notify, Queue, QueueError, Ret, Route, RowId};
use letterlock_smtp_wire::command;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{Id, JoinError, JoinSet};

use crate::attempt::{Carried, Carrier, Parcel};
use crate::client::{Content, Job, Recipient, Timeouts};
use crate::error::RelayError;
use crate::finding::Finding;
use crate::route::NextHop;
use crate::schedule::{Next, Schedule};

/// Recipients that are taken from the queue at once.
const PAGE: usize = 256;
/// Recipients in hand beyond which no more are taken.
const IN_HAND: usize = 2_048;
/// Recipients of one transaction: every server takes as many (RFC 5321 §4.5.3.1.8).
const TOGETHER: usize = 100;
/// How often to look for what is due while all that is known to be due is in hand.
const LOOK: Duration = Duration::from_secs(1);
/// How long to wait when nothing is due at all; the bell rings before.
const IDLE: Duration = Duration::from_secs(3_600);
/// How long to wait after the queue could not be read or written.
const RECOVER: Duration = Duration::from_secs(10);

/// What [`Addressing`] answers with.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Knows how a message that is made here gets to an address. The binary wires it to the one who files mail.
pub trait Addressing: Send + Sync {
    /// The way to this address; `None` if nothing can be delivered there.
    fn route<'a>(&'a self, address: &'a Mailbox) -> BoxFuture<'a, Option<Route>>;
}

/// What the relay works with.
pub struct Handles {
    /// Where messages wait.
    pub queue: Arc<Queue>,
    /// Which domains are ours: reports come from one of them.
    pub directory: Arc<Directory>,
    /// Looks hosts up.
    pub dns: Arc<Resolver>,
    /// Who is trusted.
    pub tls: ClientTls,
    /// How reports get to their readers.
    pub addressing: Arc<dyn Addressing>,
}

/// How the relay works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Our host name, by which other servers are greeted.
    pub hostname: String,
    /// Ports, pauses, routes.
    pub outbound: Outbound,
    /// How much at once.
    pub limits: Limits,
    /// How long to wait for what.
    pub timeouts: Timeouts,
}

impl Options {
    /// With the usual limits and timeouts.
    pub fn new(hostname: impl Into<String>, outbound: Outbound) -> Self {
        let (limits, timeouts) = (Limits::default(), Timeouts::default());
        Self { hostname: hostname.into(), outbound, limits, timeouts }
    }
}

/// How much is done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages that are being sent at the same time.
    pub concurrency: usize,
    /// The same, to one next hop.
    pub per_destination: usize,
    /// Addresses that one try of a message connects to.
    pub addresses: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { concurrency: 64, per_destination: 4, addresses: 10 }
    }
}

/// Carries mail to other servers. One for the whole server.
pub struct Relay {
    pub(crate) queue: Arc<Queue>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) addressing: Arc<dyn Addressing>,
    pub(crate) carrier: Carrier,
    pub(crate) own: Domain,
    outbound: Outbound,
    pub(crate) schedule: Schedule,
    per_destination: usize,
    everywhere: Arc<Semaphore>,
    destinations: Mutex<HashMap<NextHop, Arc<Destination>>>,
}

/// A next hop to which something is being sent.
struct Destination {
    turns: Arc<Semaphore>,
    /// When none of its hosts could be reached, and what was found.
    dead: Mutex<Option<(Instant, Finding)>>,
}

/// A turn at a destination.
struct Turn {
    destination: Arc<Destination>,
    /// Since when it was waited for.
    since: Instant,
    _permits: [OwnedSemaphorePermit; 2],
}

impl Turn {
    /// What another found meanwhile, if it could reach no host of this destination. Whoever waited takes that for an
    /// answer: were each to wait for the dead host by itself, those for it would soon be all that the relay has in hand.
    fn found_dead(&self) -> Option<Finding> {
        let dead = self.destination.dead.lock().unwrap_or_else(PoisonError::into_inner);
        dead.as_ref().filter(|(at, _)| *at >= self.since).map(|(_, finding)| finding.clone())
    }

    fn is_dead(&self, finding: Finding) {
        let mut dead = self.destination.dead.lock().unwrap_or_else(PoisonError::into_inner);
        *dead = Some((Instant::now(), finding));
    }
}

/// What is being carried, known to the loop alone: rows leave it when their task has ended.
#[derive(Default)]
struct Hands {
    rows: HashSet<RowId>,
    tasks: HashMap<Id, Vec<RowId>>,
    join: JoinSet<()>,
}

impl Hands {
    fn have_room(&self) -> bool {
        self.rows.len() + PAGE <= IN_HAND
    }

    fn finished(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(%error, "a delivery ended without an outcome; it will be tried again");
                error.id()
            }
        };
        for row in self.tasks.remove(&id).unwrap_or_default() {
            self.rows.remove(&row);
        }
    }
}

impl Relay {
    /// Puts the relay together; it begins with [`Relay::run`].
    ///
    /// # Errors
    /// The host name is none.
    pub fn new(handles: Handles, options: Options) -> Result<Arc<Self>, RelayError> {
        let Handles { queue, directory, dns, tls, addressing } = handles;
        let Options { hostname, outbound, limits, timeouts } = options;
        let own = Domain::parse(&hostname)
            .map_err(|source| RelayError::Hostname { name: hostname.clone(), source })?;
        let (port, addresses) = (outbound.port, limits.addresses.max(1));
        Ok(Arc::new(Self {
            queue,
            directory,
            addressing,
            carrier: Carrier { dns, tls, hostname, port, timeouts, addresses },
            own,
            schedule: Schedule::new(&outbound.retry, outbound.expire),
            outbound,
            per_destination: limits.per_destination.max(1),
            everywhere: Arc::new(Semaphore::new(limits.concurrency.max(1))),
            destinations: Mutex::default(),
        }))
    }

    /// Carries mail until the server drains; returns when the tries that were under way then have ended. If it is
    /// dropped before, they are cut off, and made again after the next start.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let _tracked = shutdown.track();
        let mut hands = Hands::default();
        let (mut look, mut backlog) = (true, false);
        while !shutdown.is_draining() {
            let pause = self.work(&mut hands, look, &mut backlog, &shutdown).await;
            let pause = pause.unwrap_or_else(|error| {
                tracing::error!(%error, "the queue cannot be read");
                RECOVER
            });
            tokio::select! {
                biased;
                () = shutdown.draining() => break,
                Some(ended) = hands.join.join_next_with_id() => {
                    hands.finished(ended);
                    while let Some(ended) = hands.join.try_join_next_with_id() {
                        hands.finished(ended);
                    }
                    look = backlog && hands.have_room();
                }
                () = self.queue.relay_bell().notified() => look = true,
                () = tokio::time::sleep(pause) => look = true,
            }
        }
        while let Some(ended) = hands.join.join_next_with_id().await {
            hands.finished(ended);
        }
    }

    /// Looks for what is due, if that is asked for; gives the time until it is worth looking again.
    async fn work(
        self: &Arc<Self>,
        hands: &mut Hands,
        look: bool,
        backlog: &mut bool,
        shutdown: &Shutdown,
    ) -> Result<Duration, QueueError> {
        if look {
            *backlog = !hands.have_room() || self.take(hands, shutdown).await?;
        }
        if *backlog && hands.have_room() {
            return Ok(Duration::ZERO);
        }
        let Some(next) = self.queue.next_due().await? else { return Ok(IDLE) };
        let wait = next.duration_since(Timestamp::now());
        Ok(match Duration::try_from(wait) {
            Ok(wait) if !wait.is_zero() => wait.min(IDLE),
            _ if hands.rows.is_empty() => Duration::ZERO,
            _ => LOOK,
        })
    }

    /// Takes a page of what is due and has it carried. Whether there is probably more of it.
    async fn take(
        self: &Arc<Self>,
        hands: &mut Hands,
        shutdown: &Shutdown,
    ) -> Result<bool, QueueError> {
        // What is in hand is due until its try begins, and stands first.
        let limit = u32::try_from(hands.rows.len() + PAGE).unwrap_or(u32::MAX);
        let mut taken = 0;
        for mut due in self.queue.due(Timestamp::now(), limit).await? {
            due.rows.retain(|row| !hands.rows.contains(&row.row));
            taken += due.rows.len();
            for (hop, due) in divide(due, &self.outbound) {
                let rows: Vec<RowId> = due.rows.iter().map(|row| row.row).collect();
                hands.rows.extend(&rows);
                let task = Arc::clone(self).errand(hop, due, shutdown.clone());
                hands.tasks.insert(hands.join.spawn(task).id(), rows);
            }
        }
        Ok(taken >= PAGE)
    }

    /// Carries one message to one next hop.
    async fn errand(self: Arc<Self>, hop: NextHop, mut due: Due, shutdown: Shutdown) {
        let turn = tokio::select! {
            biased;
            () = shutdown.draining() => None,
            turn = self.turn(&hop) => turn,
        };
        if let Some(turn) = turn {
            let outcome = self.attempt(&hop, &mut due, &turn, &shutdown).await;
            drop(turn);
            if let Err(error) = outcome {
                tracing::error!(delivery = %due.id, %error, "an attempt could not be made or stored");
                // The rows may still be due. Until they are let go of, nobody takes them again.
                tokio::select! {
                    () = shutdown.draining() => {}
                    () = tokio::time::sleep(RECOVER) => {}
                }
            }
        }
        self.forget(&hop);
    }

    /// Waits for a turn: first at the destination, so that a slow one does not keep others waiting.
    async fn turn(&self, hop: &NextHop) -> Option<Turn> {
        let since = Instant::now();
        let destination = {
            let mut destinations = self.lock_destinations();
            let destination = destinations.entry(hop.clone()).or_insert_with(|| {
                let turns = Arc::new(Semaphore::new(self.per_destination));
                Arc::new(Destination { turns, dead: Mutex::default() })
            });
            Arc::clone(destination)
        };
        // Neither semaphore is ever closed.
        let there = Arc::clone(&destination.turns).acquire_owned().await.ok()?;
        let everywhere = Arc::clone(&self.everywhere).acquire_owned().await.ok()?;
        Some(Turn { destination, since, _permits: [there, everywhere] })
    }

    /// Forgets a destination for which nobody has or waits for a turn.
    fn forget(&self, hop: &NextHop) {
        let mut destinations = self.lock_destinations();
        if destinations.get(hop).is_some_and(|there| Arc::strong_count(there) == 1) {
            destinations.remove(hop);
        }
    }

    fn lock_destinations(&self) -> MutexGuard<'_, HashMap<NextHop, Arc<Destination>>> {
        // A panic cannot leave the map half changed.
        self.destinations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn attempt(
        &self,
        hop: &NextHop,
        due: &mut Due,
        turn: &Turn,
        shutdown: &Shutdown,
    ) -> Result<(), QueueError> {
        let now = Timestamp::now();
        let tries = due.rows.iter().map(|row| row.attempts).min().unwrap_or_default();
        let next = match self.schedule.next(due.received_at, tries, now, random()) {
            Next::At(next) => next,
            // The last try: should it never end, it is repeated as often as a first one.
            Next::Expired => self.schedule.again(now),
        };
        let rows = due.rows.iter().map(|row| row.row).collect();
        let left: HashSet<RowId> = self.queue.attempt(rows, next).await?.into_iter().collect();
        due.rows.retain(|row| left.contains(&row.row));
        if due.rows.is_empty() {
            return Ok(());
        }
        let (message, findings) = match self.queue.server_body(due.entry).await {
            Ok(message) => {
                let findings = match turn.found_dead() {
                    Some(finding) => vec![finding; due.rows.len()],
                    None => self.carry(hop, due, &message, turn, shutdown).await,
                };
                (message, findings)
            }
            Err(QueueError::Gone) => return Ok(()),
            Err(error @ QueueError::Damaged { .. }) => {
                tracing::error!(delivery = %due.id, %error, "the message is given up");
                let finding = Finding::failed(3, 0, "the message was damaged in this server");
                (Bytes::new(), vec![finding; due.rows.len()])
            }
            Err(error) => return Err(error),
        };
        self.settle(due, &message, &findings).await
    }

    async fn carry(
        &self,
        hop: &NextHop,
        due: &Due,
        message: &[u8],
        turn: &Turn,
        shutdown: &Shutdown,
    ) -> Vec<Finding> {
        let job = self.job(due, message);
        let parcel = Parcel { id: due.id, job: &job, message };
        let Carried { findings, dead } = self.carrier.carry(&parcel, hop, shutdown).await;
        if let Some(finding) = dead {
            turn.is_dead(finding);
        }
        findings
    }

    fn job(&self, due: &Due, message: &[u8]) -> Job {
        Job {
            own: self.own.clone().into(),
            reverse_path: due.reverse_path.clone(),
            ret: due.ret.map(|ret| match ret {
                Ret::Full => command::Ret::Full,
                Ret::Headers => command::Ret::Hdrs,
            }),
            envid: due.envid.clone(),
            recipients: due.rows.iter().map(recipient).collect(),
            content: Content::of(message, due.smtputf8),
        }
    }
}

pub(crate) fn random() -> u32 {
    getrandom::u32().unwrap_or_default()
}

fn recipient(row: &DueRow) -> Recipient {
    let notify = match row.notify {
        Notify::Unspecified => None,
        Notify::Never => Some(command::Notify { never: true, ..Default::default() }),
        Notify::On { success, failure, delay } => {
            Some(command::Notify { never: false, success, failure, delay })
        }
    };
    let orcpt = row.orcpt.as_deref().and_then(|orcpt| orcpt.parse().ok());
    Recipient { address: row.address.clone(), notify, orcpt }
}

/// Divides the recipients of a message by next hop, and those apart that need SMTPUTF8: they are no reason to refuse
/// the others.
fn divide(due: Due, outbound: &Outbound) -> Vec<(NextHop, Due)> {
    let mut groups: Vec<((NextHop, bool), Vec<DueRow>)> = Vec::new();
    let Due { rows, .. } = &due;
    for row in rows {
        let key = (NextHop::of(&row.address.domain, outbound), row.address.needs_smtputf8());
        match groups.iter_mut().find(|(other, rows)| *other == key && rows.len() < TOGETHER) {
            Some((_, rows)) => rows.push(row.clone()),
            None => groups.push((key, vec![row.clone()])),
        }
    }
    let part = |rows| Due { rows, ..due.clone() };
    groups.into_iter().map(|((hop, _), rows)| (hop, part(rows))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waited_for_a_dead_host_does_not_try_it_too() {
        let turns = Arc::new(Semaphore::new(4));
        let destination = Arc::new(Destination { turns, dead: Mutex::default() });
        let turn = async || {
            let permit = || Arc::clone(&destination.turns).acquire_owned();
            let permits = [permit().await.unwrap(), permit().await.unwrap()];
            let destination = Arc::clone(&destination);
            Turn { destination, since: Instant::now(), _permits: permits }
        };
        let (first, waiting) = (turn().await, turn().await);
        assert_eq!(waiting.found_dead(), None);
        let finding = Finding::deferred(4, 1, "cannot connect");
        first.is_dead(finding.clone());
        drop(first);
        assert_eq!(waiting.found_dead(), Some(finding));
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(turn().await.found_dead(), None, "a later one looks for itself");
    }
}
