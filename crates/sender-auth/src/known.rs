//! Keys that have signed lately, ready to sign again.
//!
//! Reading an RSA key checks it, and its first signature prepares it: together that takes longer than three further
//! signatures. So a key is kept for a while under the hash of what it was read from, in the process that signs.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};

use crate::sign::{SignError, SigningKey};

/// Keys that are kept at most; a server signs for its own domains, with one or two keys each.
const MOST: usize = 64;
/// How long a key is kept that nobody signs with, so that one that was retired, or whose domain was removed, goes.
const IDLE: Duration = Duration::from_secs(600);

/// The key that is stored so (PKCS #8), read or remembered.
pub(crate) fn key(private: &[u8]) -> Result<Arc<SigningKey>, SignError> {
    KNOWN.key(private, Instant::now())
}

/// Forgets the keys that nobody has signed with for ten minutes; their memory is zeroed. Signing does so too; to be
/// called now and then all the same, as the only key that there was is not followed by another signature.
pub fn forget_idle_keys(now: Instant) {
    KNOWN.forget_idle(now);
}

static KNOWN: LazyLock<Known> = LazyLock::new(Known::default);

/// The keys.
#[derive(Default)]
struct Known(Mutex<HashMap<Vec<u8>, Kept>>);

struct Kept {
    key: Arc<SigningKey>,
    used: Instant,
}

impl Known {
    fn key(&self, private: &[u8], now: Instant) -> Result<Arc<SigningKey>, SignError> {
        let name = digest(&SHA256, private).as_ref().to_vec();
        self.forget_idle(now);
        if let Some(kept) = self.lock().get_mut(&name) {
            kept.used = now;
            return Ok(Arc::clone(&kept.key));
        }
        // Without the lock: others sign meanwhile. Who comes second reads it in vain.
        let key = Arc::new(SigningKey::from_pkcs8(private)?);
        let mut known = self.lock();
        if known.len() >= MOST
            && let Some(oldest) = known.iter().min_by_key(|(_, kept)| kept.used)
        {
            let oldest = oldest.0.clone();
            known.remove(&oldest);
        }
        known.insert(name, Kept { key: Arc::clone(&key), used: now });
        Ok(key)
    }

    fn forget_idle(&self, now: Instant) {
        self.lock().retain(|_, kept| now.saturating_duration_since(kept.used) < IDLE);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Kept>> {
        // A panic cannot leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::{KeyAlgorithm, generate_key};

    #[test]
    fn a_retired_key_does_not_stay_where_only_one_other_signs() {
        let known = Known::default();
        let private = || generate_key(KeyAlgorithm::Ed25519).unwrap().private;
        let (retired, next, begin) = (private(), private(), Instant::now());
        known.key(&retired, begin).unwrap();
        for minutes in 1..=10 {
            known.key(&next, begin + IDLE * minutes / 10).unwrap();
        }
        assert_eq!(known.lock().len(), 1);
        // Nor does the last one where nobody signs at all.
        known.forget_idle(begin + 2 * IDLE);
        assert!(known.lock().is_empty());
    }

    #[test]
    fn a_key_is_read_once_and_goes_when_nobody_signs_with_it() {
        let known = Known::default();
        let private = || generate_key(KeyAlgorithm::Ed25519).unwrap().private;
        let (one, other, begin) = (private(), private(), Instant::now());
        let first = known.key(&one, begin).unwrap();
        assert!(Arc::ptr_eq(&first, &known.key(&one, begin + IDLE / 2).unwrap()));
        assert!(!Arc::ptr_eq(&first, &known.key(&other, begin + IDLE).unwrap()));
        assert_eq!(known.lock().len(), 2);
        known.key(&private(), begin + IDLE + IDLE / 2).unwrap();
        assert_eq!(known.lock().len(), 2, "the first is forgotten");
        for _ in 0..MOST + 3 {
            known.key(&private(), begin + 2 * IDLE).unwrap();
        }
        assert_eq!(known.lock().len(), MOST);
        assert!(known.key(b"no key", begin).is_err());
    }
}
