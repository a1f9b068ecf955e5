//! App passwords that also log in by SCRAM-SHA-256 (RFC 5802, RFC 7677).
//!
//! SCRAM never shows the password to the server. What the server gets instead, the ClientKey, is as secret: only its
//! hash is stored, and it wraps the account key a second time. The password itself opens the slot as before
//! ([`open_app_password`](super::open_app_password)), without the iterations.
//!
//! Main passwords have no such slot: the stored key would let a thief try guesses at a few thousand hashes each, past
//! Argon2. An app password's 128 random bits cannot be guessed at all.
//!
//! Data, integers big-endian: version (1 octet, 2), method (1 octet: 2, HKDF-SHA256 and SCRAM-SHA-256), iterations (4),
//! salt (16), StoredKey (32), ServerKey (32), the account key sealed under the ClientKey (72), and under the secret (72).

use std::num::NonZeroU32;

use aws_lc_rs::{hmac, pbkdf2};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Slot, SlotError, SlotKind, additional_data};
use crate::key::SEAL_OVERHEAD;
use crate::{AccountId, AccountKey, Key};

pub(super) const VERSION: u8 = 2;
const METHOD: u8 = 2;
/// Octets of the salt. All app passwords of an account have the same one: a client is told it before it says which it
/// has.
pub const SCRAM_SALT: usize = 16;
/// Iterations of PBKDF2: the least that RFC 7677 §4 allows. The password is random, so more would protect nothing.
pub const SCRAM_ITERATIONS: u32 = 4096;
const HASH_LEN: usize = 32;
const STORED_AT: usize = 2 + 4 + SCRAM_SALT;
const SERVER_AT: usize = STORED_AT + HASH_LEN;
/// Octets before the sealed keys.
const HEADER_LEN: usize = SERVER_AT + HASH_LEN;
const SEALED_LEN: usize = 32 + SEAL_OVERHEAD;

/// The salted password's two keys (RFC 5802 §3).
struct Keys {
    client: Zeroizing<[u8; HASH_LEN]>,
    server: Zeroizing<[u8; HASH_LEN]>,
}

impl Keys {
    fn of(password: &str, salt: &[u8], iterations: NonZeroU32) -> Self {
        let mut salted = Zeroizing::new([0; HASH_LEN]);
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, iterations, salt, password.as_bytes(), salted.as_mut_slice());
        let key = |name: &[u8]| Zeroizing::new(sign(salted.as_slice(), name));
        Keys { client: key(b"Client Key"), server: key(b"Server Key") }
    }
}

/// HMAC-SHA-256.
fn sign(key: &[u8], text: &[u8]) -> [u8; HASH_LEN] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    let mut octets = [0; HASH_LEN];
    octets.copy_from_slice(tag.as_ref());
    octets
}

/// The slot of an app password, `text` being what its owner is shown and `secret` the key that its random octets give.
pub(super) fn make(
    account: AccountId,
    id: u32,
    text: &str,
    secret: &Key,
    salt: &[u8; SCRAM_SALT],
    account_key: &AccountKey,
) -> Slot {
    let iterations = const { NonZeroU32::new(SCRAM_ITERATIONS).expect("more than none") };
    let keys = Keys::of(text, salt, iterations);
    let mut data = vec![VERSION, METHOD];
    data.extend_from_slice(&SCRAM_ITERATIONS.to_be_bytes());
    data.extend_from_slice(salt);
    data.extend_from_slice(&Sha256::digest(keys.client.as_slice()));
    data.extend_from_slice(keys.server.as_slice());
    let aad = additional_data(account, id, SlotKind::AppPassword, &data);
    for wrapping in [&wrapping(account, id, keys.client.as_slice()), secret] {
        data.extend_from_slice(&wrapping.seal(&aad, account_key.0.expose()));
    }
    Slot { id, kind: SlotKind::AppPassword, data }
}

/// Opens the slot with the key that the app password's random octets give.
pub(super) fn open_secret(
    account: AccountId,
    slot: &Slot,
    secret: &Key,
) -> Result<AccountKey, SlotError> {
    let parts = Parts::of(slot)?;
    secret
        .open_key(&parts.aad(account, slot), parts.by_secret)
        .map(AccountKey)
        .map_err(|_| SlotError::Wrong)
}

/// Salt and iterations, if the slot can be used by SCRAM.
pub fn scram_parameters(slot: &Slot) -> Option<([u8; SCRAM_SALT], u32)> {
    let parts = Parts::of(slot).ok()?;
    Some((*parts.salt, parts.iterations))
}

/// What a right proof gives.
pub struct Proven {
    /// The key of the account.
    pub key: AccountKey,
    /// By which the server proves in turn that it knows the password (RFC 5802 §3, ServerSignature).
    pub server_signature: [u8; 32],
}

/// Tries a client's proof over an exchange (RFC 5802 §3: AuthMessage and ClientProof).
///
/// # Errors
/// [`SlotError::Wrong`] for a proof by another password; [`SlotError::Malformed`] if the slot has no SCRAM data, or the
/// proof is right and the key does not open; [`SlotError::Unsupported`].
pub fn open_scram(
    account: AccountId,
    slot: &Slot,
    auth_message: &[u8],
    proof: &[u8; 32],
) -> Result<Proven, SlotError> {
    let parts = Parts::of(slot)?;
    let mut client = Zeroizing::new(sign(parts.stored, auth_message));
    for (octet, proof) in client.iter_mut().zip(proof) {
        *octet ^= proof;
    }
    if !bool::from(Sha256::digest(client.as_slice()).ct_eq(parts.stored)) {
        return Err(SlotError::Wrong);
    }
    let wrapping = wrapping(account, slot.id, client.as_slice());
    let key = wrapping.open_key(&parts.aad(account, slot), parts.by_client);
    let key = key.map(AccountKey).map_err(|_| SlotError::Malformed)?;
    Ok(Proven { key, server_signature: sign(parts.server, auth_message) })
}

/// Does the work of checking a wrong proof, for accounts that have nothing to check it against.
pub fn dummy_scram_work(auth_message: &[u8]) {
    let hash = Sha256::digest(sign(&[0; HASH_LEN], auth_message));
    std::hint::black_box(bool::from(hash.ct_eq(&[0; HASH_LEN])));
}

fn wrapping(account: AccountId, id: u32, client_key: &[u8]) -> Key {
    let context = [&account.to_bytes()[..], &id.to_be_bytes()].concat();
    Key::derive_from(client_key, "scram slot", &context)
}

/// A slot's data taken apart.
struct Parts<'a> {
    header: &'a [u8],
    iterations: u32,
    salt: &'a [u8; SCRAM_SALT],
    stored: &'a [u8],
    server: &'a [u8],
    by_client: &'a [u8],
    by_secret: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(slot: &'a Slot) -> Result<Self, SlotError> {
        let data = slot.data.as_slice();
        if slot.kind != SlotKind::AppPassword {
            return Err(SlotError::Malformed);
        }
        let (&[version, method, a, b, c, d], rest) =
            data.split_first_chunk::<6>().ok_or(SlotError::Malformed)?;
        match (version, method) {
            (VERSION, METHOD) => {}
            // Of before, without SCRAM.
            (1, _) | (VERSION, _) => return Err(SlotError::Malformed),
            (other, _) => return Err(SlotError::Unsupported(other)),
        }
        let (salt, _) = rest.split_first_chunk().ok_or(SlotError::Malformed)?;
        let (header, sealed) = data.split_at_checked(HEADER_LEN).ok_or(SlotError::Malformed)?;
        if sealed.len() != 2 * SEALED_LEN {
            return Err(SlotError::Malformed);
        }
        let (by_client, by_secret) = sealed.split_at(SEALED_LEN);
        let (stored, server) = header[STORED_AT..].split_at(HASH_LEN);
        let iterations = u32::from_be_bytes([a, b, c, d]);
        Ok(Self { header, iterations, salt, stored, server, by_client, by_secret })
    }

    fn aad(&self, account: AccountId, slot: &Slot) -> Vec<u8> {
        additional_data(account, slot.id, slot.kind, self.header)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::slot;

    const SALT: [u8; SCRAM_SALT] = [7; SCRAM_SALT];

    /// What a client that knows the password sends.
    fn proof(password: &str, salt: &[u8], message: &[u8]) -> [u8; 32] {
        let keys = Keys::of(password, salt, NonZeroU32::new(SCRAM_ITERATIONS).unwrap());
        let mut proof = sign(&Sha256::digest(keys.client.as_slice()), message);
        for (octet, key) in proof.iter_mut().zip(keys.client.iter()) {
            *octet ^= key;
        }
        proof
    }

    #[test]
    fn the_example_of_rfc_7677() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let message = format!(
            "n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={nonce}"
        );
        assert_eq!(
            STANDARD.encode(proof("pencil", &salt, message.as_bytes())),
            "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        let keys = Keys::of("pencil", &salt, NonZeroU32::new(4096).unwrap());
        assert_eq!(
            STANDARD.encode(sign(keys.server.as_slice(), message.as_bytes())),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
    }

    #[test]
    fn text_and_proof_open_the_same_slot() {
        let (account, key) = (AccountId::generate(), AccountKey::random());
        let (text, slot) = slot::app_password_with_scram(account, 3, &key, &SALT);
        assert_eq!(scram_parameters(&slot), Some((SALT, SCRAM_ITERATIONS)));
        assert_eq!(slot::open_app_password(account, &slot, &text).unwrap().0, key.0);
        let upper = text.to_uppercase();
        assert_eq!(slot::open_app_password(account, &slot, &upper).unwrap().0, key.0);

        let right = proof(&text, &SALT, b"message");
        let proven = open_scram(account, &slot, b"message", &right).unwrap();
        assert_eq!(proven.key.0, key.0);
        let keys = Keys::of(&text, &SALT, NonZeroU32::new(SCRAM_ITERATIONS).unwrap());
        assert_eq!(proven.server_signature, sign(keys.server.as_slice(), b"message"));

        let wrong =
            |message: &[u8], proof: &[u8; 32]| open_scram(account, &slot, message, proof).err();
        assert_eq!(wrong(b"massage", &right), Some(SlotError::Wrong));
        assert_eq!(wrong(b"message", &[0; 32]), Some(SlotError::Wrong));
        // What a thief of the directory knows is not enough.
        let stored: [u8; 32] = slot.data[STORED_AT..SERVER_AT].try_into().unwrap();
        assert_eq!(wrong(b"message", &stored), Some(SlotError::Wrong));
        let (other, _) = slot::app_password_with_scram(account, 3, &key, &SALT);
        assert_eq!(wrong(b"message", &proof(&other, &SALT, b"message")), Some(SlotError::Wrong));
        assert_eq!(slot::open_app_password(account, &slot, &other).unwrap_err(), SlotError::Wrong);
    }

    #[test]
    fn a_slot_opens_nowhere_else_and_no_other_data_does() {
        let (account, key) = (AccountId::generate(), AccountKey::random());
        let (text, slot) = slot::app_password_with_scram(account, 3, &key, &SALT);
        let right = proof(&text, &SALT, b"m");
        let elsewhere = AccountId::generate();
        assert_eq!(open_scram(elsewhere, &slot, b"m", &right).err(), Some(SlotError::Malformed));
        let moved = Slot { id: 4, ..slot.clone() };
        assert_eq!(open_scram(account, &moved, b"m", &right).err(), Some(SlotError::Malformed));
        for at in 0..slot.data.len() {
            let mut damaged = slot.clone();
            damaged.data[at] ^= 1;
            let by_text = slot::open_app_password(account, &damaged, &text);
            let by_proof = open_scram(account, &damaged, b"m", &right);
            assert!(by_text.is_err() || by_proof.is_err(), "{at}");
            damaged.data.truncate(at);
            assert!(slot::open_app_password(account, &damaged, &text).is_err(), "{at}");
            assert!(open_scram(account, &damaged, b"m", &right).is_err(), "{at}");
        }
        let (_, old) = slot::app_password(account, 3, &key);
        assert_eq!(scram_parameters(&old), None);
        assert_eq!(open_scram(account, &old, b"m", &right).err(), Some(SlotError::Malformed));
    }
}
