//! When a message is tried again, and when it is given up (RFC 5321 §4.5.4.1).

use std::time::Duration;

use jiff::Timestamp;

/// What follows a try that delivered nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another try, then.
    At(Timestamp),
    /// The message is too old.
    Expired,
}

/// The pauses between tries, and the age at which a message goes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pauses: Vec<Duration>,
    expire: Duration,
}

impl Schedule {
    /// A schedule of pauses, the last of which repeats. Without any it is the five minutes that are the least of
    /// good manners.
    pub fn new(pauses: &[Duration], expire: Duration) -> Self {
        const LEAST: Duration = Duration::from_secs(300);
        let pauses = if pauses.is_empty() { vec![LEAST] } else { pauses.to_vec() };
        Self { pauses, expire }
    }

    /// The age at which a message goes back.
    pub fn expire(&self) -> Duration {
        self.expire
    }

    /// What follows a try at `now` that came after `tries` others. The pause differs by up to a tenth in either
    /// direction, as `random` (any number) says, so that messages which failed together do not come back together.
    /// The last try is made when the message expires.
    pub fn next(&self, received_at: Timestamp, tries: u32, now: Timestamp, random: u32) -> Next {
        let end = later(received_at, self.expire);
        if now >= end {
            return Next::Expired;
        }
        Next::At(later(now, self.pause(tries, random)).min(end))
    }

    /// When a try that should be the last is repeated, if what came of it could not be stored: after the first pause.
    pub fn again(&self, now: Timestamp) -> Timestamp {
        later(now, self.pauses[0]) // `new` puts at least one in
    }

    fn pause(&self, tries: u32, random: u32) -> Duration {
        let last = self.pauses.len() - 1; // `new` puts at least one in
        let pause = self.pauses[usize::try_from(tries).unwrap_or(last).min(last)];
        pause.mul_f64(0.9 + 0.2 * f64::from(random) / f64::from(u32::MAX))
    }
}

/// A time after another.
pub(crate) fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    /// No deviation, nearly.
    const MIDDLE: u32 = u32::MAX / 2;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + minutes * 60).unwrap()
    }

    fn schedule() -> Schedule {
        Schedule::new(&[5 * MINUTE, 15 * MINUTE, 60 * MINUTE], 300 * MINUTE)
    }

    /// Minutes after `at(0)`, rounded.
    fn minutes(next: Next) -> i64 {
        match next {
            Next::At(time) => (time.duration_since(at(0)).as_secs() + 30) / 60,
            Next::Expired => panic!("expired"),
        }
    }

    #[test]
    fn pauses_follow_the_table_and_the_last_repeats() {
        for (tries, pause) in [(0, 5), (1, 15), (2, 60), (3, 60), (u32::MAX, 60)] {
            assert_eq!(minutes(schedule().next(at(0), tries, at(0), MIDDLE)), pause, "{tries}");
        }
        assert_eq!(minutes(Schedule::new(&[], MINUTE * 60).next(at(0), 9, at(0), MIDDLE)), 5);
    }

    #[test]
    fn pauses_deviate_by_a_tenth() {
        assert_eq!(minutes(schedule().next(at(0), 2, at(0), 0)), 54);
        assert_eq!(minutes(schedule().next(at(0), 2, at(0), u32::MAX)), 66);
    }

    #[test]
    fn the_last_try_is_at_the_end() {
        assert_eq!(schedule().next(at(0), 8, at(270), MIDDLE), Next::At(at(300)));
        assert_eq!(schedule().next(at(0), 8, at(300), MIDDLE), Next::Expired);
        assert_eq!(schedule().next(at(0), 0, at(9_000), MIDDLE), Next::Expired);
        assert_eq!(
            schedule().again(at(300)),
            at(305),
            "what cannot be stored is no reason to hurry"
        );
        let endless = Schedule::new(&[Duration::MAX], Duration::MAX);
        assert_eq!(endless.next(at(0), 0, at(0), 0), Next::At(Timestamp::MAX));
    }
}
