//! Turns at a destination: how many connections it gets at once, how often it gets a message, and the connections
//! that can carry the next one.
//!
//! A destination that says "not now" (421, 450, or nothing at all) gets half as many connections as before; each round
//! of good answers gives it one more, up to the configured number.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use letterlock_queue::RequireTls;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::attempt::Standby;
use crate::finding::Finding;
use crate::route::NextHop;

/// How long a destination that was strained is remembered while there is nothing for it.
const REMEMBER: Duration = Duration::from_secs(3_600);
/// Destinations that are remembered for that, at most.
const REMEMBERED: usize = 10_000;

/// What a destination may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Connections at once, at most.
    pub(crate) connections: usize,
    /// Messages in a minute; `None`: as many as go.
    pub(crate) rate: Option<u32>,
    /// Messages over one connection.
    pub(crate) messages: u32,
}

/// All destinations for which there is something, or that are strained.
pub(crate) struct Destinations {
    allowance: Allowance,
    everywhere: Arc<Semaphore>,
    known: Mutex<HashMap<NextHop, Arc<Destination>>>,
}

/// A next hop to which something is being sent.
pub(crate) struct Destination {
    allowance: Allowance,
    turns: Arc<Semaphore>,
    state: Mutex<State>,
}

struct State {
    /// Connections that it may have now.
    width: usize,
    /// Turns that are to be taken back when they end.
    debt: usize,
    /// Good answers since the width was last changed.
    good: usize,
    strained: Option<Instant>,
    /// When the next message may begin.
    next: Instant,
    /// Who waits for a turn.
    waiting: usize,
    /// When none of its hosts could be reached, by a message with which wish, and what was found.
    dead: Option<(Instant, RequireTls, Finding)>,
    standby: Vec<Standby>,
}

/// A turn at a destination.
pub(crate) struct Turn {
    destination: Arc<Destination>,
    /// Since when it was waited for.
    since: Instant,
    permit: Option<OwnedSemaphorePermit>,
    _everywhere: OwnedSemaphorePermit,
}

impl Destinations {
    pub(crate) fn new(everywhere: usize, allowance: Allowance) -> Self {
        let everywhere = Arc::new(Semaphore::new(everywhere.max(1)));
        let allowance = Allowance { connections: allowance.connections.max(1), ..allowance };
        Self { allowance, everywhere, known: Mutex::default() }
    }

    /// Waits for a turn: first at the destination, so that a slow one does not keep others waiting.
    pub(crate) async fn turn(&self, hop: &NextHop) -> Option<Turn> {
        let since = Instant::now();
        let destination = {
            let mut known = self.lock();
            let new = || Arc::new(Destination::new(self.allowance));
            Arc::clone(known.entry(hop.clone()).or_insert_with(new))
        };
        let waiting = Waiting::begin(&destination);
        // Neither semaphore is ever closed.
        let permit = Arc::clone(&destination.turns).acquire_owned().await.ok()?;
        let pause = destination.pause(Instant::now());
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let everywhere = Arc::clone(&self.everywhere).acquire_owned().await.ok()?;
        drop(waiting);
        Some(Turn { destination, since, permit: Some(permit), _everywhere: everywhere })
    }

    /// Forgets a destination for which nobody has or waits for a turn, unless it is strained.
    pub(crate) fn forget(&self, hop: &NextHop) {
        let mut known = self.lock();
        let unused = |there: &Arc<Destination>| Arc::strong_count(there) == 1;
        if known.get(hop).is_some_and(|there| unused(there) && !there.is_strained()) {
            known.remove(hop);
        }
        if known.len() > REMEMBERED {
            known.retain(|_, there| !unused(there));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NextHop, Arc<Destination>>> {
        // A panic cannot leave the map half changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Destination {
    fn new(allowance: Allowance) -> Self {
        let state = State {
            width: allowance.connections,
            debt: 0,
            good: 0,
            strained: None,
            next: Instant::now(),
            waiting: 0,
            dead: None,
            standby: Vec::new(),
        };
        let turns = Arc::new(Semaphore::new(allowance.connections));
        Self { allowance, turns, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_strained(&self) -> bool {
        self.lock().strained.is_some_and(|at| at.elapsed() < REMEMBER)
    }

    /// Takes the next place in line, and tells how long it is until then.
    fn pause(&self, now: Instant) -> Duration {
        let Some(rate) = self.allowance.rate else { return Duration::ZERO };
        let mut state = self.lock();
        let begin = state.next.max(now);
        state.next = begin + Duration::from_secs(60) / rate.max(1);
        begin - now
    }
}

impl Turn {
    /// What another found meanwhile, if it could reach no host of this destination. Whoever waited takes that for an
    /// answer: were each to wait for the dead host by itself, those for it would soon be all that the relay has in hand.
    /// It holds for messages with the same wish only: a host that is not secure enough for one may do for the next.
    pub(crate) fn found_dead(&self, wish: RequireTls) -> Option<Finding> {
        let state = self.destination.lock();
        let (at, of, finding) = state.dead.as_ref()?;
        (*at >= self.since && *of == wish).then(|| finding.clone())
    }

    /// None of its hosts could be reached.
    pub(crate) fn is_dead(&self, wish: RequireTls, finding: Finding) {
        self.destination.lock().dead = Some((Instant::now(), wish, finding));
        self.strained();
    }

    /// The destination has enough to do: it gets half as many connections.
    pub(crate) fn strained(&self) {
        let mut state = self.destination.lock();
        let width = (state.width / 2).max(1);
        state.debt += state.width - width;
        (state.width, state.good, state.strained) = (width, 0, Some(Instant::now()));
    }

    /// A message was taken.
    pub(crate) fn went_well(&self) {
        let there = &self.destination;
        let mut state = there.lock();
        state.good += 1;
        if state.width >= there.allowance.connections || state.good < state.width {
            return;
        }
        (state.width, state.good) = (state.width + 1, 0);
        match state.debt.checked_sub(1) {
            Some(debt) => state.debt = debt,
            None => there.turns.add_permits(1),
        }
    }

    /// A connection that is kept for a message of this kind.
    pub(crate) fn standby(&self, fits: impl Fn(&Standby) -> bool) -> Option<Standby> {
        let mut state = self.destination.lock();
        let place = state.standby.iter().rposition(fits)?;
        Some(state.standby.swap_remove(place))
    }

    /// Keeps a connection if somebody waits who may use it; otherwise it is given back, to be closed: a connection
    /// that nobody uses is a place taken from others.
    pub(crate) fn keep(&self, standby: Standby) -> Option<Standby> {
        let mut state = self.destination.lock();
        let wanted = state.waiting > state.standby.len();
        if !wanted || standby.messages >= self.destination.allowance.messages {
            return Some(standby);
        }
        state.standby.push(standby);
        None
    }

    /// Connections for which nobody waits any more.
    pub(crate) fn surplus(&self) -> Vec<Standby> {
        let mut state = self.destination.lock();
        let waiting = state.waiting;
        let kept = state.standby.len().min(waiting);
        state.standby.split_off(kept)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.destination.lock();
        if let (Some(debt), Some(permit)) = (state.debt.checked_sub(1), self.permit.take()) {
            state.debt = debt;
            permit.forget();
        }
    }
}

/// Somebody who waits for a turn, also if the waiting is broken off.
struct Waiting<'a>(&'a Destination);

impl<'a> Waiting<'a> {
    fn begin(destination: &'a Destination) -> Self {
        destination.lock().waiting += 1;
        Self(destination)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop() -> NextHop {
        NextHop::Smarthost { host: "h.test".to_owned(), port: 25 }
    }

    fn destinations(connections: usize, rate: Option<u32>) -> Destinations {
        Destinations::new(100, Allowance { connections, rate, messages: 3 })
    }

    #[tokio::test]
    async fn whoever_waited_for_a_dead_host_does_not_try_it_too() {
        let there = destinations(4, None);
        let (first, waiting) =
            (there.turn(&hop()).await.unwrap(), there.turn(&hop()).await.unwrap());
        let wish = RequireTls::Unspecified;
        assert_eq!(waiting.found_dead(wish), None);
        let finding = Finding::deferred(4, 1, "cannot connect");
        first.is_dead(wish, finding.clone());
        drop(first);
        assert_eq!(waiting.found_dead(wish), Some(finding));
        let (more, less) = (RequireTls::Required, RequireTls::Lifted);
        assert_eq!(
            (waiting.found_dead(more), waiting.found_dead(less)),
            (None, None),
            "they may have a way"
        );
        drop(waiting);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let later = there.turn(&hop()).await.unwrap();
        assert_eq!(later.found_dead(wish), None, "a later one looks for itself");
    }

    /// How many turns there are at once.
    async fn width(there: &Destinations) -> usize {
        let mut turns = Vec::new();
        let wait = Duration::from_millis(20);
        while let Ok(turn) = tokio::time::timeout(wait, there.turn(&hop())).await {
            turns.push(turn.unwrap());
        }
        turns.len()
    }

    #[tokio::test]
    async fn strain_halves_and_success_widens_again() {
        let there = destinations(8, None);
        let turn = there.turn(&hop()).await.unwrap();
        for (expected, width_then) in [(4, 4), (2, 2), (1, 1), (1, 1)] {
            turn.strained();
            assert_eq!(turn.destination.lock().width, expected);
            assert_eq!(turn.destination.lock().debt, 8 - width_then);
        }
        // Turns that are out are taken back as they end.
        let more: Vec<Turn> = futures(&there, 7).await;
        drop((turn, more));
        assert_eq!(width(&there).await, 1);
        let turn = there.turn(&hop()).await.unwrap();
        for _ in 0..(1 + 2 + 3) {
            turn.went_well();
        }
        drop(turn);
        assert_eq!(width(&there).await, 4);
        there.forget(&hop());
        assert_eq!(width(&there).await, 4, "what is strained is not forgotten");
    }

    async fn futures(there: &Destinations, count: usize) -> Vec<Turn> {
        let mut turns = Vec::new();
        for _ in 0..count {
            turns.push(there.turn(&hop()).await.unwrap());
        }
        turns
    }

    #[tokio::test]
    async fn a_rate_spreads_messages() {
        let there = destinations(8, Some(60));
        let now = Instant::now();
        let turn = there.turn(&hop()).await.unwrap();
        let pauses: Vec<u64> = (0..3).map(|_| turn.destination.pause(now).as_secs()).collect();
        // The turn itself took the first place.
        assert!(pauses == [1, 2, 3] || pauses == [0, 1, 2], "{pauses:?}");
    }
}
