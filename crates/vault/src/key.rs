//! A key of 32 bytes, and what one does with it: derive others, seal, open.
//!
//! Keys live on the heap in one shared copy that is zeroised when the last holder lets go. This
//! module does not lock pages one by one (that takes `unsafe`); the binary locks the whole
//! process instead, see [`lock_process_memory`](crate::lock_process_memory).

use std::fmt;
use std::sync::Arc;

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Octets of a key.
pub(crate) const KEY_LEN: usize = 32;
/// Octets of the random nonce that stands before a sealed text.
const NONCE_LEN: usize = 24;
/// Octets of the tag that stands after it.
const TAG_LEN: usize = 16;
/// By how many octets [`Key::seal`] makes a text longer.
pub const SEAL_OVERHEAD: usize = NONCE_LEN + TAG_LEN;

/// Why something sealed did not open. Says nothing of what is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The wrong key, other additional data, or changed bytes: which of them cannot be told.
    #[error("does not authenticate: wrong key, or damaged or exchanged data")]
    Unauthentic,
    /// The bytes don't have the shape of what they should be (too short, too long, odd inside).
    #[error("malformed")]
    Malformed,
    /// Written by another version of the format.
    #[error("format version {0} is not known")]
    Version(u8),
    /// Made by a method that this build has not.
    #[error("method {0:#06x} is not known")]
    Method(u16),
    /// Made for an epoch whose secret is not held.
    #[error("no key of epoch {0} is held")]
    Epoch(u32),
    /// The public sealing key on record is not that of the secret one: somebody put another in
    /// its place, and mail sealed since then may be readable by them.
    #[error("the public sealing key does not belong to the account's secret one")]
    Exchanged,
}

#[derive(Zeroize, ZeroizeOnDrop)]
struct Secret([u8; KEY_LEN]);

/// 32 secret bytes. Clones share one copy in memory, which is zeroised when the last is dropped.
///
/// `Debug` prints nothing of it; `==` takes the same time wherever two keys differ.
#[derive(Clone)]
pub struct Key(Arc<Secret>);

impl Key {
    /// A new key from the operating system's generator.
    pub fn random() -> Self {
        Self::filled(random_fill)
    }

    /// A key that is none, to stand in the place of one.
    pub(crate) fn zero() -> Self {
        Self::filled(|_| ())
    }

    /// Takes over `bytes` and wipes this copy of them; other copies are the caller's to wipe.
    pub fn from_bytes(mut bytes: [u8; KEY_LEN]) -> Self {
        let key = Self::filled(|place| place.copy_from_slice(&bytes));
        bytes.zeroize();
        key
    }

    /// A key of exactly 32 octets, copied from `bytes`; `None` for another length.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == KEY_LEN).then(|| Self::filled(|place| place.copy_from_slice(bytes)))
    }

    /// The bytes themselves, for a cipher. Whoever copies them wipes the copy.
    pub fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0.0
    }

    /// Another key from this one by HKDF-SHA256 (RFC 5869): for each pair of `label` (what for)
    /// and `context` (of whom) an independent one, from which this one cannot be found.
    pub fn derive(&self, label: &str, context: &[u8]) -> Key {
        Self::derive_from(self.expose(), label, context)
    }

    /// As [`Key::derive`], from other key material: at least 128 random bits.
    pub(crate) fn derive_from(material: &[u8], label: &str, context: &[u8]) -> Key {
        // The label's length stands before it, so that no two pairs run together.
        let length = (label.len() as u64).to_be_bytes();
        let info = [&b"letterlock/1/"[..], &length, label.as_bytes(), context];
        Self::filled(|place| {
            Hkdf::<Sha256>::new(None, material)
                .expand_multi_info(&info, place)
                .expect("one hash of output is within the 255 that RFC 5869 section 2.3 allows");
        })
    }

    /// Seals `plain` under a random nonce: nonce (24) ‖ cipher text ‖ tag (16), XChaCha20-Poly1305.
    /// `aad` is bound to it and has to be the same at opening.
    pub fn seal(&self, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut sealed = vec![0; plain.len() + SEAL_OVERHEAD];
        let (nonce, rest) = sealed.split_at_mut(NONCE_LEN);
        let (text, tag) = rest.split_at_mut(plain.len());
        random_fill(nonce);
        text.copy_from_slice(plain);
        let nonce = XNonce::try_from(&*nonce).expect("split off at the nonce's length");
        let made = self
            .cipher()
            .encrypt_inout_detached(&nonce, aad, text.into())
            .expect("XChaCha20 takes texts up to 256 GiB, and memory ends before");
        tag.copy_from_slice(&made);
        sealed
    }

    /// Opens what [`Key::seal`] made with the same `aad`.
    ///
    /// # Errors
    /// [`OpenError::Malformed`] if it is too short to be sealed at all, else [`OpenError::Unauthentic`].
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or(OpenError::Malformed)?;
        let (text, tag) =
            rest.split_at_checked(rest.len().wrapping_sub(TAG_LEN)).ok_or(OpenError::Malformed)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| OpenError::Malformed)?;
        let tag = chacha20poly1305::Tag::try_from(tag).map_err(|_| OpenError::Malformed)?;
        let mut plain = Zeroizing::new(text.to_vec());
        self.cipher()
            .decrypt_inout_detached(&nonce, aad, plain.as_mut_slice().into(), &tag)
            .map_err(|_| OpenError::Unauthentic)?;
        Ok(plain)
    }

    /// Opens a sealed key.
    ///
    /// # Errors
    /// As [`Key::open`]; [`OpenError::Malformed`] too if what opens is not 32 octets long.
    pub fn open_key(&self, aad: &[u8], sealed: &[u8]) -> Result<Key, OpenError> {
        let plain = self.open(aad, sealed)?;
        Key::from_slice(&plain).ok_or(OpenError::Malformed)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.expose().into())
    }

    /// Fills a key in its place, so that no copy of it passes over the stack.
    fn filled(fill: impl FnOnce(&mut [u8])) -> Self {
        let mut secret = Arc::new(Secret([0; KEY_LEN]));
        fill(
            &mut Arc::get_mut(&mut secret).expect("made on the line above, nobody shares it yet").0,
        );
        Self(secret)
    }
}

impl ConstantTimeEq for Key {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.expose().ct_eq(other.expose())
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The two keys of a database file. Two files never have the same ones.
#[derive(Clone, Debug)]
pub struct FileKeys {
    /// Seals pages and WAL frames.
    pub page: Key,
    /// Keys the outer hash over cipher text, which finds damage without being able to read.
    ///
    /// It is always the server's, of mailboxes too ([`ServerKey::integrity_key`](crate::ServerKey::integrity_key)),
    /// which holds it whether they are locked or not. So it is no loss that BLAKE3 leaves copies of it on the
    /// stacks of the threads that write: they open nothing.
    pub integrity: Key,
}

/// Fills `place` with random bytes from the operating system.
pub(crate) fn random_fill(place: &mut [u8]) {
    getrandom::fill(place)
        .expect("the kernel's generator does not fail once it is seeded, getrandom(2)");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sealed_opens_with_the_same_key_and_data_only() {
        let key = Key::random();
        let sealed = key.seal(b"account 1", b"content");
        assert_eq!(sealed.len(), 7 + SEAL_OVERHEAD);
        assert_eq!(&*key.open(b"account 1", &sealed).unwrap(), b"content");
        assert_eq!(key.open(b"account 2", &sealed), Err(OpenError::Unauthentic));
        assert_eq!(Key::random().open(b"account 1", &sealed), Err(OpenError::Unauthentic));
        assert_ne!(sealed, key.seal(b"account 1", b"content"), "nonces are fresh");
        assert!(!sealed.windows(7).any(|part| part == b"content"));
    }

    #[test]
    fn every_bit_is_authenticated() {
        let key = Key::random();
        let sealed = key.seal(b"", b"xy");
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(b"", &changed), Err(OpenError::Unauthentic));
        }
        for length in 0..sealed.len() {
            let expected =
                if length < SEAL_OVERHEAD { OpenError::Malformed } else { OpenError::Unauthentic };
            assert_eq!(key.open(b"", &sealed[..length]), Err(expected));
        }
    }

    #[test]
    fn xchacha_vector() {
        // draft-irtf-cfrg-xchacha-03, appendix A.3.1.
        let bytes: Vec<u8> = (0x80..0xa0).collect();
        let aad = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
        let plain = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                      sunscreen would be it.";
        let key = Key::from_slice(&bytes).unwrap();
        let mut sealed: Vec<u8> = (0x40..0x58).collect();
        let cipher = "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39\
                      ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9\
                      21f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49";
        sealed.extend(
            (0..cipher.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&cipher[at..at + 2], 16).unwrap()),
        );
        assert_eq!(key.open(&aad, &sealed).unwrap().as_slice(), plain);
    }

    #[test]
    fn keys_wrap_keys() {
        let (outer, inner) = (Key::random(), Key::random());
        let sealed = outer.seal(b"x", inner.expose());
        assert_eq!(outer.open_key(b"x", &sealed).unwrap(), inner);
        let short = outer.seal(b"x", &[1; 31]);
        assert_eq!(outer.open_key(b"x", &short).unwrap_err(), OpenError::Malformed);
    }

    #[test]
    fn derived_keys_are_stable_and_apart() {
        let key = Key::from_bytes([7; 32]);
        let one = key.derive("label", b"context");
        assert_eq!(one, Key::from_bytes([7; 32]).derive("label", b"context"));
        for other in [
            key.derive("label", b""),
            key.derive("labelc", b"ontext"),
            key.derive("", b"labelcontext"),
            Key::from_bytes([8; 32]).derive("label", b"context"),
            key.clone(),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn debug_says_nothing() {
        let keys =
            FileKeys { page: Key::from_bytes([0xab; 32]), integrity: Key::from_bytes([0xcd; 32]) };
        assert_eq!(format!("{keys:?}"), "FileKeys { page: Key(..), integrity: Key(..) }");
    }

    #[test]
    fn lengths_are_checked() {
        assert!(Key::from_slice(&[0; 31]).is_none() && Key::from_slice(&[0; 33]).is_none());
        assert_eq!(Key::from_slice(&[3; 32]).unwrap(), Key::from_bytes([3; 32]));
        assert_ne!(Key::random(), Key::random());
    }

    proptest! {
        #[test]
        fn anything_sealed_opens(aad: Vec<u8>, plain: Vec<u8>) {
            let key = Key::from_bytes([1; 32]);
            prop_assert_eq!(&*key.open(&aad, &key.seal(&aad, &plain)).unwrap(), &plain);
        }

        #[test]
        fn noise_never_opens(aad: Vec<u8>, noise: Vec<u8>) {
            prop_assert!(Key::from_bytes([1; 32]).open(&aad, &noise).is_err());
        }
    }
}
