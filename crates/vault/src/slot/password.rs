//! The slot of a password that a person chose.
//!
//! One evaluation of Argon2id (RFC 9106) gives 64 octets: the first half is the verifier, of
//! which only a hash is stored, the second half wraps the account key. The halves say nothing of
//! each other. The password's octets are taken as they are: normalising (RFC 8265) is up to the
//! caller, as is how many evaluations run at once.
//!
//! Data, integers big-endian: version (1 octet, 1), method (1 octet: 1, Argon2id 0x13), memory
//! in KiB (4), passes (4), lanes (4), salt (16), SHA-256 of the verifier (32), sealed key (72).

use argon2::{Algorithm, Argon2, Block, Params, Version};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::{Slot, SlotError, SlotKind, body, unwrap, wrap};
use crate::key::random_fill;
use crate::{AccountId, AccountKey, Key};

const VERSION: u8 = 1;
const ARGON2ID: u8 = 1;
const SALT_LEN: usize = 16;
/// Octets before the salt, and before the verifier's hash, and before the sealed key.
const PARAMS_LEN: usize = 2 + 3 * 4;
const VERIFIER_AT: usize = PARAMS_LEN + SALT_LEN;
const HEADER_LEN: usize = VERIFIER_AT + 32;

/// What one evaluation of Argon2id costs.
///
/// A new slot never costs less than [`Argon2Cost::FLOOR`] nor more than [`Argon2Cost::CEILING`]:
/// values outside are drawn to the nearer of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes; they run one after the other, so that more of them make nothing faster here.
    pub lanes: u32,
}

impl Argon2Cost {
    /// The least that protects a password: 19 MiB, two passes.
    pub const FLOOR: Self = Self { memory_kib: 19 * 1024, passes: 2, lanes: 1 };
    /// The most that is evaluated, also when a slot asks for it: 1 GiB, 64 passes, 16 lanes.
    pub const CEILING: Self = Self { memory_kib: 1 << 20, passes: 64, lanes: 16 };

    fn clamped(self) -> Self {
        let (low, high) = (Self::FLOOR, Self::CEILING);
        Self {
            memory_kib: self.memory_kib.clamp(low.memory_kib, high.memory_kib),
            passes: self.passes.clamp(low.passes, high.passes),
            lanes: self.lanes.clamp(low.lanes, high.lanes),
        }
    }
}

impl Default for Argon2Cost {
    fn default() -> Self {
        Self::FLOOR
    }
}

/// Makes a password slot. Takes the time of one evaluation: not for an async worker.
pub fn password(
    account: AccountId,
    id: u32,
    password: &str,
    account_key: &AccountKey,
    cost: Argon2Cost,
) -> Slot {
    let cost = cost.clamped();
    let mut header = vec![VERSION, ARGON2ID];
    for value in [cost.memory_kib, cost.passes, cost.lanes] {
        header.extend_from_slice(&value.to_be_bytes());
    }
    let mut salt = [0; SALT_LEN];
    random_fill(&mut salt);
    header.extend_from_slice(&salt);
    let halves = evaluate(cost, password, &salt)
        .expect("a clamped cost is within Argon2's limits, and so is any password below 4 GiB");
    header.extend_from_slice(&halves.verifier);
    wrap(account, id, SlotKind::Password, &header, &halves.wrapping, account_key)
}

/// Opens a password slot. Takes the time of one evaluation: not for an async worker.
///
/// # Errors
/// [`SlotError::Wrong`] for another password; [`SlotError::Malformed`] before any evaluation if
/// the data has not the shape, or after it if the password is right and the key does not open
/// (another account, another slot id, damage); [`SlotError::Unsupported`].
pub fn open_password(
    account: AccountId,
    slot: &Slot,
    password: &str,
) -> Result<AccountKey, SlotError> {
    let read = read(slot)?;
    let halves = evaluate(read.cost, password, read.salt)?;
    if !bool::from(halves.verifier.ct_eq(read.verifier)) {
        return Err(SlotError::Wrong);
    }
    unwrap(account, slot, HEADER_LEN, &halves.wrapping).map_err(|_| SlotError::Malformed)
}

/// What the slot was made with. Where it differs from the configured cost, its answer takes another
/// time than [`dummy_password_work`], until the password is changed.
///
/// # Errors
/// As [`open_password`] by the data's shape.
pub fn password_cost(slot: &Slot) -> Result<Argon2Cost, SlotError> {
    read(slot).map(|read| read.cost)
}

/// Does the work of checking a wrong password of that cost, so that an unknown name answers no
/// sooner than a known one. Not for an async worker.
pub fn dummy_password_work(cost: Argon2Cost) {
    let halves = evaluate(cost.clamped(), "no one's password", &[0; SALT_LEN]);
    let matches = halves.map(|halves| bool::from(halves.verifier.ct_eq(&[0; 32])));
    // Keeps the evaluation from being optimised away.
    std::hint::black_box(matches.is_ok());
}

struct Read<'a> {
    cost: Argon2Cost,
    salt: &'a [u8; SALT_LEN],
    verifier: &'a [u8],
}

fn read(slot: &Slot) -> Result<Read<'_>, SlotError> {
    fn number(bytes: &[u8]) -> Result<(u32, &[u8]), SlotError> {
        let (number, rest) = bytes.split_first_chunk::<4>().ok_or(SlotError::Malformed)?;
        Ok((u32::from_be_bytes(*number), rest))
    }
    let (&method, rest) =
        body(slot, SlotKind::Password, VERSION)?.split_first().ok_or(SlotError::Malformed)?;
    let (memory_kib, rest) = number(rest)?;
    let (passes, rest) = number(rest)?;
    let (lanes, rest) = number(rest)?;
    let (salt, rest) = rest.split_first_chunk().ok_or(SlotError::Malformed)?;
    let (verifier, _) = rest.split_at_checked(32).ok_or(SlotError::Malformed)?;
    let cost = Argon2Cost { memory_kib, passes, lanes };
    // Damaged data must not ask for terabytes. Slots of an earlier, lower floor still open.
    let high = Argon2Cost::CEILING;
    if method != ARGON2ID
        || memory_kib > high.memory_kib
        || passes > high.passes
        || lanes > high.lanes
    {
        return Err(SlotError::Malformed);
    }
    Ok(Read { cost, salt, verifier })
}

struct Halves {
    /// SHA-256 of the first half: what is stored.
    verifier: [u8; 32],
    wrapping: Key,
}

/// Argon2's working memory, wiped after use.
///
/// Its capacity is above the largest size that glibc serves from its heaps (32 MiB): so the
/// whole block is given back to the system when it is dropped, where otherwise every thread
/// that ever tried a password would keep one. What is not used of it is never touched.
struct Memory(Vec<Block>);

impl Memory {
    const BEYOND_HEAPS: usize = (33 << 20) / size_of::<Block>();

    fn of(blocks: usize) -> Memory {
        let mut memory = Vec::with_capacity(blocks.max(Self::BEYOND_HEAPS));
        memory.resize(blocks, Block::new());
        Memory(memory)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(Zeroize::zeroize);
    }
}

fn evaluate(cost: Argon2Cost, password: &str, salt: &[u8; SALT_LEN]) -> Result<Halves, SlotError> {
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(64))
        .map_err(|_| SlotError::Malformed)?;
    let mut memory = Memory::of(params.block_count());
    let mut output = Zeroizing::new([0; 64]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(
            password.as_bytes(),
            salt,
            output.as_mut_slice(),
            memory.0.as_mut_slice(),
        )
        .map_err(|_| SlotError::Malformed)?;
    let (first, second) = output.split_at(32);
    let wrapping = Key::from_slice(second).ok_or(SlotError::Malformed)?;
    Ok(Halves { verifier: Sha256::digest(first).into(), wrapping })
}
