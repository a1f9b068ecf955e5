//! Who may connect, who may try a password, and who may send how much: caps, rates and bans.
//!
//! A [`Guard`] is asked before any work is done for a stranger. It limits open connections (of all, and of one source),
//! new connections of a source in a minute, and failed logins: by source, and by account *and* network, so that nobody
//! can lock an owner out from afar. A *source* is an IPv4 address or an IPv6 /64, a *network* an IPv4 /24 or an IPv6 /56.
//! How much an account submits in an hour and a day is capped too, and who asks for many recipients that do not exist is
//! put off.
//!
//! Bans double up to a bound, end by themselves and are forgotten after a while. Networks that the operator exempts are
//! never refused, counted or banned.
//!
//! It is synchronous, starts no task and reads no clock: `now` is a parameter of every call. Its memory is bounded, under
//! attack too: each table has a cap, and [`Guard::evict`] drops what has no meaning any more.
//!
//! What it does not do: it knows no passwords and no sessions, and looks at no content.

mod ban;
mod mail;
mod rate;
mod source;
mod table;
mod tally;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use letterlock_config::Limits;

use crate::ban::Bans;
use crate::mail::Mail;
use crate::rate::Rate;
use crate::source::{Network, Source};
use crate::tally::Tallies;

/// Why somebody is turned away. For logs and metrics; what a stranger is told is [`Refusal`]'s text, the same for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// All connections that the server takes are open.
    Full,
    /// The source has as many connections open as it may.
    Connections,
    /// The source connects too often.
    Rate,
    /// The source is banned.
    Banned,
    /// Too many failed logins to this account from this network.
    Account,
    /// The account has submitted as much as it may in an hour or a day.
    Submissions,
}

impl Reason {
    /// A short name for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Connections => "connections",
            Self::Rate => "rate",
            Self::Banned => "banned",
            Self::Account => "account",
            Self::Submissions => "submissions",
        }
    }
}

/// A refusal. Its text may be shown to the client: it does not tell the reason, nor whether an account exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Too many connections or attempts, try again later")]
pub struct Refusal {
    /// Why, for the log.
    pub reason: Reason,
    /// When a next try has a chance.
    pub retry_after: Duration,
}

/// What the guard holds, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Open connections that count (exempt ones do not).
    pub connections: usize,
    /// Sources with an open connection.
    pub sources: usize,
    /// Sources whose rate is remembered.
    pub rates: usize,
    /// Sources, and pairs of account and network, whose failed logins are remembered.
    pub failures: usize,
    /// Remembered bans, ended ones included until they are forgotten.
    pub bans: usize,
}

/// An account as the guard knows it: a keyed hash, so that no address stays in memory here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Account(u64);

#[derive(Debug, Default)]
struct Live {
    total: usize,
    by_source: HashMap<Source, usize>,
}

#[derive(Debug)]
struct Logins {
    sources: Tallies<Source>,
    accounts: Tallies<(Account, Network)>,
    source_bans: Bans<Source>,
    account_bans: Bans<(Account, Network)>,
    /// Attempts under way: of each source, and of each network at each account.
    trying: HashMap<Source, u32>,
    trying_account: HashMap<(Account, Network), u32>,
}

/// The guard of one server. Shared by all listeners and by the login.
#[derive(Debug)]
pub struct Guard {
    exempt: Vec<IpNet>,
    connections: usize,
    per_source: usize,
    rate: Rate,
    live: Mutex<Live>,
    logins: Mutex<Logins>,
    mail: Mutex<Mail>,
    hasher: RandomState,
}

/// How long a client is told to wait when a cap is reached, which may end at any moment.
const SOON: Duration = Duration::from_secs(60);

impl Guard {
    /// A guard with these limits; `now` is the time from which on it is asked.
    pub fn new(limits: &Limits, now: Instant) -> Arc<Guard> {
        let bans = || limits.ban..=limits.ban_max;
        Arc::new(Guard {
            exempt: limits.exempt.iter().copied().map(canonical).collect(),
            connections: limits.connections,
            per_source: limits.connections_per_ip,
            rate: Rate::new(limits.connections_per_ip_rate, now),
            live: Mutex::default(),
            logins: Mutex::new(Logins {
                sources: Tallies::new(limits.logins_failed_per_ip, limits.login_window),
                accounts: Tallies::new(limits.logins_failed_per_account, limits.login_window),
                source_bans: Bans::new(bans()),
                account_bans: Bans::new(bans()),
                trying: HashMap::new(),
                trying_account: HashMap::new(),
            }),
            mail: Mutex::new(Mail::new(limits)),
            hasher: RandomState::new(),
        })
    }

    /// Whether the operator exempts this address from every limit.
    pub fn is_exempt(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.exempt.iter().any(|net| net.contains(&ip))
    }

    /// Asks for a new connection; `listener` is its name, for the log.
    ///
    /// # Errors
    /// The source is banned or too fast, or a cap is reached.
    pub fn admit(
        self: &Arc<Self>,
        ip: IpAddr,
        listener: &str,
        now: Instant,
    ) -> Result<ConnectionPermit, Refusal> {
        if self.is_exempt(ip) {
            return Ok(ConnectionPermit { counted: None });
        }
        let source = Source::of(ip);
        let verdict = self.take(source, now);
        if let Err(refusal) = verdict {
            tracing::debug!(%ip, listener, reason = refusal.reason.as_str(), "connection refused");
            return Err(refusal);
        }
        Ok(ConnectionPermit { counted: Some((Arc::clone(self), source)) })
    }

    fn take(&self, source: Source, now: Instant) -> Result<(), Refusal> {
        if let Some(retry_after) = self.logins().source_bans.active(&source, now) {
            return Err(Refusal { reason: Reason::Banned, retry_after });
        }
        self.rate
            .check(source, now)
            .map_err(|retry_after| Refusal { reason: Reason::Rate, retry_after })?;
        let mut live = self.live();
        if live.total >= self.connections {
            return Err(Refusal { reason: Reason::Full, retry_after: SOON });
        }
        if live.by_source.get(&source).is_some_and(|open| *open >= self.per_source) {
            return Err(Refusal { reason: Reason::Connections, retry_after: SOON });
        }
        live.total += 1;
        *live.by_source.entry(source).or_default() += 1;
        Ok(())
    }

    fn give_back(&self, source: Source) {
        let mut live = self.live();
        live.total = live.total.saturating_sub(1);
        if let Some(open) = live.by_source.get_mut(&source) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                live.by_source.remove(&source);
            }
        }
    }

    /// Asks whether a password may be tried. `account` is what the client calls itself, in canonical form, whether such
    /// an account exists or not.
    ///
    /// # Errors
    /// The source is banned, or its network is kept from this account.
    pub fn check_login(&self, ip: IpAddr, account: &str, now: Instant) -> Result<(), Refusal> {
        if self.is_exempt(ip) {
            return Ok(());
        }
        let key = (self.account(account), Network::of(ip));
        let logins = self.logins();
        if let Some(retry_after) = logins.source_bans.active(&Source::of(ip), now) {
            return Err(Refusal { reason: Reason::Banned, retry_after });
        }
        match logins.account_bans.active(&key, now) {
            Some(retry_after) => Err(Refusal { reason: Reason::Account, retry_after }),
            None => Ok(()),
        }
    }

    /// Asks for an attempt to log in, as [`Guard::check_login`] does, and reserves it: there are never more under way
    /// than may fail before somebody is banned, so that guesses made side by side gain nothing. `None` if that many are
    /// under way; one of them has to end first, and it makes sense to wait for it.
    ///
    /// # Errors
    /// As [`Guard::check_login`].
    pub fn try_login(
        self: &Arc<Self>,
        ip: IpAddr,
        account: &str,
        now: Instant,
    ) -> Result<Option<LoginAttempt>, Refusal> {
        if self.is_exempt(ip) {
            return Ok(Some(LoginAttempt { counted: None }));
        }
        self.check_login(ip, account, now)?;
        let (source, key) = (Source::of(ip), (self.account(account), Network::of(ip)));
        let mut logins = self.logins();
        let tried = |count: Option<&u32>| count.copied().unwrap_or(0);
        if tried(logins.trying.get(&source)) >= logins.sources.left(&source, now)
            || tried(logins.trying_account.get(&key)) >= logins.accounts.left(&key, now)
        {
            return Ok(None);
        }
        *logins.trying.entry(source).or_default() += 1;
        *logins.trying_account.entry(key).or_default() += 1;
        Ok(Some(LoginAttempt { counted: Some((Arc::clone(self), source, key)) }))
    }

    fn end_attempt(&self, source: Source, key: (Account, Network)) {
        let mut logins = self.logins();
        count_down(&mut logins.trying, source);
        count_down(&mut logins.trying_account, key);
    }

    /// Counts a failed login; what reaches a limit is banned from now on.
    pub fn login_failed(&self, ip: IpAddr, account: &str, now: Instant) {
        if self.is_exempt(ip) {
            return;
        }
        let source = Source::of(ip);
        let key = (self.account(account), Network::of(ip));
        let mut logins = self.logins();
        if logins.sources.add(source, now) {
            let length = logins.source_bans.add(source, now);
            tracing::info!(seconds = length.as_secs(), "address banned after failed logins");
            tracing::debug!(%ip, "this address was banned");
        }
        if logins.accounts.add(key, now) {
            let length = logins.account_bans.add(key, now);
            tracing::info!(
                seconds = length.as_secs(),
                "network kept from an account after failed logins"
            );
        }
    }

    /// Forgets the failures of this network with this account. Those of the source stay: who has an account here must
    /// not be able to wash off attempts at others.
    pub fn login_succeeded(&self, ip: IpAddr, account: &str) {
        let key = (self.account(account), Network::of(ip));
        let mut logins = self.logins();
        logins.accounts.forget(&key);
    }

    /// The bans of sources in force, and what is left of each.
    pub fn bans(&self, now: Instant) -> Vec<(IpNet, Duration)> {
        let logins = self.logins();
        let list = logins.source_bans.all(now).map(|(source, left)| (source.net(), left));
        list.collect()
    }

    /// Lifts the ban of the source that this address belongs to, and forgets its failures; whether there was a ban.
    pub fn lift(&self, ip: IpAddr) -> bool {
        let source = Source::of(ip);
        let mut logins = self.logins();
        logins.sources.forget(&source);
        logins.source_bans.forget(&source)
    }

    /// Drops what has no meaning any more. To be called every minute or so.
    pub fn evict(&self, now: Instant) {
        self.rate.evict(now);
        self.live().by_source.shrink_to_fit();
        self.mail().evict(now);
        let mut logins = self.logins();
        logins.sources.evict(now);
        logins.accounts.evict(now);
        logins.source_bans.evict(now);
        logins.account_bans.evict(now);
    }

    /// What is held at the moment.
    pub fn counts(&self) -> Counts {
        let (connections, sources) = {
            let live = self.live();
            (live.total, live.by_source.len())
        };
        let logins = self.logins();
        Counts {
            connections,
            sources,
            rates: self.rate.len(),
            failures: logins.sources.len() + logins.accounts.len(),
            bans: logins.source_bans.len() + logins.account_bans.len(),
        }
    }

    fn account(&self, name: &str) -> Account {
        Account(self.hasher.hash_one(name))
    }

    // Each critical section leaves its tables in order at every step, so that a panic elsewhere does not spoil them.
    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn logins(&self) -> MutexGuard<'_, Logins> {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A network of IPv4 addresses as such, also where it is written as one of IPv6 (`::ffff:192.0.2.0/120`): addresses are
/// compared in their IPv4 form.
fn canonical(net: IpNet) -> IpNet {
    const MAPPED: u8 = 96;
    match net {
        IpNet::V6(v6) if v6.prefix_len() >= MAPPED => match v6.addr().to_ipv4_mapped() {
            Some(v4) => ipnet::Ipv4Net::new(v4, v6.prefix_len() - MAPPED).map_or(net, IpNet::V4),
            None => net,
        },
        _ => net,
    }
}

fn count_down<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

/// An attempt to log in that is under way. What came of it is told to the guard before it is dropped.
#[derive(Debug)]
#[must_use = "the attempt counts only as long as it lives"]
pub struct LoginAttempt {
    /// `None` for exempt networks.
    counted: Option<(Arc<Guard>, Source, (Account, Network))>,
}

impl Drop for LoginAttempt {
    fn drop(&mut self) {
        if let Some((guard, source, key)) = self.counted.take() {
            guard.end_attempt(source, key);
        }
    }
}

/// An open connection's place; dropping it gives the place back.
#[derive(Debug)]
#[must_use = "the connection counts only as long as its permit lives"]
pub struct ConnectionPermit {
    /// `None` for exempt networks.
    counted: Option<(Arc<Guard>, Source)>,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if let Some((guard, source)) = self.counted.take() {
            guard.give_back(source);
        }
    }
}
