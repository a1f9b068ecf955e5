//! New connections of a source in a minute.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use governor::clock::{Clock, Reference};
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::source::Source;
use crate::table::CAP;

/// Time as the guard was last told it. The limiter insists on asking a clock; this one only repeats what came in with the
/// calls.
#[derive(Debug, Clone)]
struct Told {
    start: Instant,
    nanos: Arc<AtomicU64>,
}

impl Told {
    fn tell(&self, now: Instant) -> u64 {
        let nanos =
            u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_max(nanos, Ordering::Relaxed).max(nanos)
    }
}

impl Clock for Told {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.nanos.load(Ordering::Relaxed).into()
    }
}

type Limiter = RateLimiter<
    Source,
    DashMapStateStore<Source>,
    Told,
    governor::middleware::NoOpMiddleware<Nanos>,
>;

/// The rates of all sources.
#[derive(Debug)]
pub(crate) struct Rate {
    clock: Told,
    limiter: Limiter,
    /// When a full table was last swept, in the clock's nanoseconds.
    swept: AtomicU64,
}

/// Least time between two sweeps of a full table.
const SWEEP: u64 = 1_000_000_000;

impl Rate {
    /// `per_minute` connections at once, and as many again spread over each minute.
    pub(crate) fn new(per_minute: u32, now: Instant) -> Rate {
        let clock = Told { start: now, nanos: Arc::default() };
        let quota = Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
        let limiter = RateLimiter::dashmap_with_clock(quota, clock.clone());
        Rate { clock, limiter, swept: AtomicU64::new(0) }
    }

    /// Counts a connection; if it is one too many, how long until the next is not.
    pub(crate) fn check(&self, source: Source, now: Instant) -> Result<(), Duration> {
        let nanos = self.clock.tell(now);
        if self.limiter.len() >= CAP && !self.sweep(nanos) {
            // More sources than can be remembered: the caps of open connections have to do.
            return Ok(());
        }
        self.limiter
            .check_key(&source)
            .map_err(|until| until.earliest_possible().duration_since(nanos.into()).into())
    }

    /// Makes room in a full table, at most once a second; whether there is room now.
    fn sweep(&self, nanos: u64) -> bool {
        let swept = self.swept.load(Ordering::Relaxed);
        if nanos.saturating_sub(swept) >= SWEEP
            && self
                .swept
                .compare_exchange(swept, nanos, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            self.limiter.retain_recent();
        }
        self.limiter.len() < CAP
    }

    pub(crate) fn evict(&self, now: Instant) {
        self.clock.tell(now);
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }

    pub(crate) fn len(&self) -> usize {
        self.limiter.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_steady_rate() {
        let start = Instant::now();
        let rate = Rate::new(60, start);
        let source = Source::V4(1);
        for _ in 0..60 {
            assert_eq!(rate.check(source, start), Ok(()));
        }
        let wait = rate.check(source, start).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!(rate.check(Source::V4(2), start), Ok(()));
        assert_eq!(rate.check(source, start + Duration::from_millis(1001)), Ok(()));
        assert!(rate.check(source, start + Duration::from_millis(1002)).is_err());
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let start = Instant::now();
        let rate = Rate::new(1, start);
        for key in 0..u32::try_from(CAP).unwrap() + 1000 {
            assert_eq!(rate.check(Source::V4(key), start), Ok(()));
        }
        assert!(rate.len() <= CAP);
        let later = start + Duration::from_secs(180);
        assert_eq!(rate.check(Source::V4(7), later), Ok(()));
        assert!(rate.len() < 10, "{}", rate.len());
        rate.evict(later + Duration::from_secs(180));
        assert_eq!(rate.len(), 0);
    }
}
