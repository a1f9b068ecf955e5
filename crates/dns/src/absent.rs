//! Texts that are known not to be there.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Absent;
use crate::setup::LONGEST_NEGATIVE;

/// Names that are remembered at most, a few hundred KiB.
const MOST: usize = 4_096;

/// Names without texts, each until its time is over.
#[derive(Debug, Default)]
pub(crate) struct AbsentTexts {
    held: Mutex<HashMap<String, (Absent, Instant)>>,
}

impl AbsentTexts {
    /// What is known not to be there.
    pub(crate) fn get(&self, name: &str, now: Instant) -> Option<Absent> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(&key(name)).filter(|(_, until)| *until > now).map(|(what, _)| *what)
    }

    /// Remembers for so many seconds, or not at all if that is none.
    pub(crate) fn put(&self, name: &str, what: Absent, ttl: u32, now: Instant) {
        if ttl == 0 {
            return;
        }
        let until = now + Duration::from_secs(ttl.into()).min(LONGEST_NEGATIVE);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MOST {
            held.retain(|_, (_, until)| *until > now);
        }
        // Whoever fills it with names of his own makes others be asked for again, no more.
        if held.len() >= MOST {
            held.clear();
        }
        held.insert(key(name), (what, until));
    }
}

fn key(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_for_the_zones_time_and_bounded() {
        let (texts, now) = (AbsentTexts::default(), Instant::now());
        let second = Duration::from_secs(1);
        texts.put("_dmarc.Test.", Absent::Name, 60, now);
        texts.put("long.test", Absent::Type, 86_400, now);
        texts.put("zero.test", Absent::Type, 0, now);
        assert_eq!(texts.get("_dmarc.test", now + 59 * second), Some(Absent::Name));
        assert_eq!(texts.get("_dmarc.test", now + 60 * second), None);
        assert_eq!(texts.get("LONG.test.", now + 899 * second), Some(Absent::Type));
        assert_eq!(texts.get("long.test", now + 900 * second), None);
        assert_eq!(texts.get("zero.test", now), None);
        for number in 0..3 * MOST {
            texts.put(&format!("{number}.test"), Absent::Name, 60, now);
        }
        assert!(texts.held.lock().unwrap().len() <= MOST);
        assert_eq!(texts.get(&format!("{}.test", 3 * MOST - 1), now), Some(Absent::Name));
    }
}
