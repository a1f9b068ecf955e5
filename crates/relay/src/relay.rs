//! Takes what is due, in pages, and has it carried: many messages at once, but only a few to one destination.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use letterlock_address::{Domain, Mailbox};
use letterlock_config::Outbound;
use letterlock_directory::Directory;
use letterlock_dns::Resolver;
use letterlock_net::{ClientTls, Shutdown};
use letterlock_queue::{NewRecipient, Page, Queue, QueueError, RowId};
use letterlock_state::State;
use letterlock_transport_policy::Policies;
use tokio::sync::Semaphore;

use crate::attempt::Carrier;
use crate::client::Timeouts;
use crate::destination::{Allowance, Destinations};
use crate::errand;
use crate::error::RelayError;
use crate::hands::Hands;
use crate::logins;
use crate::report::Reporter;
use crate::route::NextHop;
use crate::schedule::Schedule;
use crate::security::Warden;

/// How often to look for what is due while all that is known to be due is in hand.
const LOOK: Duration = Duration::from_secs(1);
/// How long to wait when nothing is due at all; the bell rings before.
const IDLE: Duration = Duration::from_secs(3_600);
/// How long to wait after the queue could not be read or written.
pub(crate) const RECOVER: Duration = Duration::from_secs(10);
/// Addresses that one try of a message connects to.
const ADDRESSES: usize = 10;
/// Units in which memory is handed out.
pub(crate) const KIB: u64 = 1024;

/// What [`Addressing`] answers with.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Knows how a message that is made here gets to an address. The binary wires it to the one who files mail.
pub trait Addressing: Send + Sync {
    /// Whom a report to this address goes to: several if it is an alias, nobody if nothing can be delivered there. What
    /// an alias passes on to another server has its `forward`.
    fn ways<'a>(&'a self, address: &'a Mailbox) -> BoxFuture<'a, Vec<NewRecipient>>;
}

/// What the relay works with.
pub struct Handles {
    /// Where messages wait.
    pub queue: Arc<Queue>,
    /// Which domains are ours: reports come from one of them, and are signed with its keys.
    pub directory: Arc<Directory>,
    /// Looks hosts up.
    pub dns: Arc<Resolver>,
    /// Who is trusted.
    pub tls: ClientTls,
    /// How reports get to their readers.
    pub addressing: Arc<dyn Addressing>,
    /// What is remembered: the trace, and addresses that are gone.
    pub state: Arc<State>,
    /// How well connections must be secured.
    pub policies: Arc<Policies>,
}

/// How the relay works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Our host name, by which other servers are greeted.
    pub hostname: String,
    /// Ports, pauses, routes, limits.
    pub outbound: Outbound,
    /// How long to wait for what.
    pub timeouts: Timeouts,
}

impl Options {
    /// With the usual timeouts.
    pub fn new(hostname: impl Into<String>, outbound: Outbound) -> Self {
        Self { hostname: hostname.into(), outbound, timeouts: Timeouts::default() }
    }
}

/// Carries mail to other servers. One for the whole server.
pub struct Relay {
    pub(crate) queue: Arc<Queue>,
    pub(crate) state: Arc<State>,
    pub(crate) carrier: Carrier,
    pub(crate) reporter: Reporter,
    pub(crate) own: Domain,
    pub(crate) outbound: Arc<Outbound>,
    pub(crate) schedule: Schedule,
    pub(crate) destinations: Destinations,
    /// What bodies may take, in KiB.
    pub(crate) memory: Arc<Semaphore>,
    pub(crate) memory_kib: u32,
}

impl Relay {
    /// Puts the relay together; it begins with [`Relay::run`].
    ///
    /// # Errors
    /// The host name is none, or a file with a login cannot be used.
    pub fn new(handles: Handles, options: Options) -> Result<Arc<Self>, RelayError> {
        let Handles { queue, directory, dns, tls, addressing, state, policies } = handles;
        let Options { hostname, outbound, timeouts } = options;
        let own = Domain::parse(&hostname)
            .map_err(|source| RelayError::Hostname { name: hostname.clone(), source })?;
        let reporter = Reporter {
            queue: Arc::clone(&queue),
            directory,
            addressing,
            state: Arc::clone(&state),
            hostname: hostname.clone(),
            own: own.clone(),
        };
        let carrier = Carrier {
            warden: Warden { dns: Arc::clone(&dns), policies },
            dns,
            tls,
            state: Arc::clone(&state),
            hostname,
            port: outbound.port,
            timeouts,
            addresses: ADDRESSES,
            logins: logins::load(&outbound.credentials)?,
        };
        let allowance = Allowance {
            connections: outbound.connections_per_destination,
            rate: Some(outbound.messages_per_minute).filter(|rate| *rate > 0),
            messages: outbound.messages_per_connection,
        };
        let memory_kib = u32::try_from(outbound.memory / KIB).unwrap_or(u32::MAX).max(1);
        let memory_kib = memory_kib.min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Ok(Arc::new(Self {
            queue,
            state,
            carrier,
            reporter,
            own,
            schedule: Schedule::new(&outbound.retry, outbound.expire),
            destinations: Destinations::new(outbound.connections, allowance),
            outbound: Arc::new(outbound),
            memory: Arc::new(Semaphore::new(memory_kib as usize)),
            memory_kib,
        }))
    }

    /// Who writes to senders, also of what is delivered here.
    pub fn reporter(&self) -> &Reporter {
        &self.reporter
    }

    /// Carries mail until the server drains; returns when the tries that were under way then have ended. If it is
    /// dropped before, they are cut off, and made again after the next start.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let _tracked = shutdown.track();
        let mut hands = Hands::default();
        let (mut look, mut backlog, mut wake) = (true, false, Instant::now());
        while !shutdown.is_draining() {
            // Asking costs a turn of the queue's, so not every message that ends is a reason to.
            if look || hands.are_empty() {
                let pause = self.work(&mut hands, look, &mut backlog, &shutdown).await;
                let pause = pause.unwrap_or_else(|error| {
                    tracing::error!(%error, "the queue cannot be read");
                    RECOVER
                });
                wake = Instant::now() + pause;
            }
            tokio::select! {
                biased;
                () = shutdown.draining() => break,
                Some(ended) = hands.join.join_next_with_id() => {
                    hands.finished(ended);
                    while let Some(ended) = hands.join.try_join_next_with_id() {
                        hands.finished(ended);
                    }
                    look = backlog && hands.want_more();
                    // It may have put its recipients off until a time before that.
                    wake = wake.min(Instant::now() + LOOK);
                }
                () = self.queue.relay_bell().notified() => look = true,
                () = tokio::time::sleep_until(wake.into()) => look = true,
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
            let (taken, more) = self.take(hands, shutdown).await?;
            *backlog = more || !hands.have_room();
            if more && taken && hands.have_room() {
                return Ok(Duration::ZERO);
            }
        }
        // Whoever is passed over for now comes when something in hand has ended.
        let Some(next) = self.queue.next_due().await? else {
            return Ok(if *backlog && hands.are_empty() { LOOK } else { IDLE });
        };
        let wait = next.duration_since(Timestamp::now());
        Ok(match Duration::try_from(wait) {
            Ok(wait) if !wait.is_zero() => wait.min(IDLE),
            _ if hands.are_empty() && !*backlog => Duration::ZERO,
            _ => LOOK,
        })
    }

    /// Takes a page of what is due and has it carried. Whether there was any, and whether there is more of it.
    async fn take(
        self: &Arc<Self>,
        hands: &mut Hands,
        shutdown: &Shutdown,
    ) -> Result<(bool, bool), QueueError> {
        if !hands.have_room() {
            return Ok((false, true));
        }
        let share = hands.share(&self.outbound);
        let Page { due, more, last } = self.queue.due_page(Timestamp::now(), share).await?;
        hands.after = last;
        let taken = !due.is_empty();
        for due in due {
            for (hop, due) in errand::divide(due, &self.outbound) {
                let rows: Vec<RowId> = due.rows.iter().map(|row| row.row).collect();
                let lane = hop.to_string();
                let task = Arc::clone(self).errand(hop, due, shutdown.clone());
                let id = hands.join.spawn(task).id();
                hands.hold(lane, rows, id);
            }
        }
        Ok((taken, more))
    }

    /// Forgets a destination that nothing is for.
    pub(crate) fn forget(&self, hop: &NextHop) {
        self.destinations.forget(hop);
    }
}

pub(crate) fn random() -> u32 {
    getrandom::u32().unwrap_or_default()
}
