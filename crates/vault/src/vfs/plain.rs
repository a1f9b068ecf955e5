//! For measuring alone: what pages and frames become when the cipher is off.
//!
//! **Nothing is encrypted then.** The feature `bench-plain` exists so that the same code can
//! be timed with and without its cipher, and for nothing else: it is not a setting of the
//! server, and no build that anybody uses has it. A build with it does not compile unless
//! `LETTERLOCK_BENCH_PLAIN` is set in its environment, it warns at its first database, and
//! what it writes is marked, so that it reads no sealed file and no other build reads its
//! files: to those, every page of them is damaged.

use super::cipher::{TAIL, Unauthentic};

#[cfg(feature = "bench-plain")]
const _: () = assert!(
    option_env!("LETTERLOCK_BENCH_PLAIN").is_some(),
    "bench-plain turns encryption off; it is for benchmarks alone (set LETTERLOCK_BENCH_PLAIN)"
);

/// Stands where nonce, tag and hash would.
const MARK: &[u8; TAIL] = b"NOT ENCRYPTED: written by a benchmark build, bench-plain";

/// Marks a page or frame, and leaves it as it is.
pub(super) fn seal(sealed: &mut [u8]) -> Result<(), Unauthentic> {
    let split = sealed.len().checked_sub(TAIL).ok_or(Unauthentic)?;
    sealed[split..].copy_from_slice(MARK);
    Ok(())
}

/// Copies what was marked; on failure, `plain` is all zero.
pub(super) fn open(sealed: &[u8], plain: &mut [u8]) -> Result<(), Unauthentic> {
    match sealed.split_at_checked(plain.len()) {
        Some((text, tail)) if tail == MARK => {
            plain.copy_from_slice(text);
            Ok(())
        }
        _ => {
            plain.fill(0);
            Err(Unauthentic)
        }
    }
}

/// Whether the mark is there.
pub(super) fn is_marked(sealed: &[u8]) -> bool {
    sealed.ends_with(MARK)
}
