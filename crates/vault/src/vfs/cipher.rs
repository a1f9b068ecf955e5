//! How a page or frame is sealed: XChaCha20-Poly1305 and an outer keyed BLAKE3 hash.
//!
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) is HChaCha20, which makes a key of its own
//! from the key and 16 bytes of the nonce, followed by ChaCha20-Poly1305 (RFC 8439). The
//! second step is aws-lc's, twice as fast at these sizes as the portable crate; a test
//! reads everything with the latter.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::key::{FileKeys, random_fill};

use super::plain;

/// Octets of a nonce.
pub(super) const NONCE: usize = 24;
const TAG: usize = 16;
const OUTER: usize = 16;
/// Octets that sealing adds: nonce, tag, outer hash.
pub(super) const TAIL: usize = NONCE + TAG + OUTER;
/// Nothing is sealed at all: see [`plain`].
const PLAIN: bool = cfg!(feature = "bench-plain");

/// Where something sealed stands. It is bound to its place: moved elsewhere, it does not
/// open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A page of the main file, from 1.
    Main { page: u32 },
    /// A frame of the log with these salts in its header, from 1.
    Log { salts: [u8; 8], frame: u32 },
}

impl Place {
    /// The additional data, and how many octets of it count.
    fn aad(self) -> ([u8; OUTER], usize) {
        let mut aad = [0; OUTER];
        match self {
            Self::Main { page } => {
                aad[..4].copy_from_slice(b"main");
                aad[4..8].copy_from_slice(&page.to_be_bytes());
                (aad, 8)
            }
            Self::Log { salts, frame } => {
                aad[..3].copy_from_slice(b"wal");
                aad[3..11].copy_from_slice(&salts);
                aad[11..15].copy_from_slice(&frame.to_be_bytes());
                (aad, 15)
            }
        }
    }
}

/// It did not authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unauthentic;

/// Seals and opens with a file's keys.
pub(super) struct Cipher(FileKeys);

impl Cipher {
    pub(super) fn new(keys: &FileKeys) -> Self {
        Self(keys.clone())
    }

    /// Seals in place: `sealed` begins with the plain text, its last [`TAIL`] octets are
    /// overwritten.
    pub(super) fn seal(&self, place: Place, sealed: &mut [u8]) -> Result<(), Unauthentic> {
        if PLAIN {
            return plain::seal(sealed);
        }
        let mut fresh = [0; NONCE];
        random_fill(&mut fresh);
        self.seal_with(&fresh, place, sealed)
    }

    /// [`Cipher::seal`] with a nonce that is random and was never used before.
    pub(super) fn seal_with(
        &self,
        fresh: &[u8; NONCE],
        place: Place,
        sealed: &mut [u8],
    ) -> Result<(), Unauthentic> {
        if PLAIN {
            return plain::seal(sealed);
        }
        let (aad, aad_len) = place.aad();
        let split = sealed.len().checked_sub(TAIL).ok_or(Unauthentic)?;
        let (text, tail) = sealed.split_at_mut(split);
        let (nonce, rest) = tail.split_at_mut(NONCE);
        nonce.copy_from_slice(fresh);
        let (key, iv) = self.inner_key(nonce)?;
        let made = key
            .seal_in_place_separate_tag(iv, Aad::from(&aad[..aad_len]), text)
            .map_err(|_| Unauthentic)?;
        rest[..TAG].copy_from_slice(made.as_ref());
        // The place stands where the hash will, so that one call hashes all of it.
        rest[TAG..].copy_from_slice(&aad);
        let outer = blake3::keyed_hash(self.0.integrity.expose(), sealed);
        sealed[split + NONCE + TAG..].copy_from_slice(&outer.as_bytes()[..OUTER]);
        Ok(())
    }

    /// Opens `sealed` into `plain`, which is [`TAIL`] octets shorter. On failure, `plain`
    /// is all zero.
    pub(super) fn open(
        &self,
        place: Place,
        sealed: &[u8],
        plain: &mut [u8],
    ) -> Result<(), Unauthentic> {
        if PLAIN {
            return plain::open(sealed, plain);
        }
        let (aad, aad_len) = place.aad();
        let (text, tail) = sealed.split_at_checked(plain.len()).ok_or(Unauthentic)?;
        if tail.len() != TAIL {
            return Err(Unauthentic);
        }
        let opened = self.inner_key(&tail[..NONCE]).and_then(|(key, iv)| {
            let tag = &tail[NONCE..NONCE + TAG];
            key.open_separate_gather(iv, Aad::from(&aad[..aad_len]), text, tag, plain)
                .map_err(|_| Unauthentic)
        });
        if opened.is_err() {
            plain.fill(0);
        }
        opened
    }

    /// Whether the outer hash is right: nothing was changed by accident, whether or not
    /// the page key is at hand.
    pub(super) fn is_whole(&self, place: Place, sealed: &[u8]) -> bool {
        if PLAIN {
            return plain::is_marked(sealed);
        }
        match sealed.split_at_checked(sealed.len().wrapping_sub(OUTER)) {
            Some((inner, outer)) => self.outer(place, inner).ct_eq(outer).into(),
            None => false,
        }
    }

    /// Keyed BLAKE3 of cipher text, nonce and tag, and of the place, padded with zeros.
    fn outer(&self, place: Place, inner: &[u8]) -> [u8; OUTER] {
        let mut hasher = blake3::Hasher::new_keyed(self.0.integrity.expose());
        hasher.update(inner).update(&place.aad().0);
        let mut outer = [0; OUTER];
        outer.copy_from_slice(&hasher.finalize().as_bytes()[..OUTER]);
        outer
    }

    /// The key and nonce of the inner ChaCha20-Poly1305 for this outer nonce.
    fn inner_key(&self, nonce: &[u8]) -> Result<(LessSafeKey, Nonce), Unauthentic> {
        let (head, rest) = nonce.split_at_checked(16).ok_or(Unauthentic)?;
        let subkey = hchacha20(self.0.page.expose(), head);
        let key = UnboundKey::new(&CHACHA20_POLY1305, &*subkey).map_err(|_| Unauthentic)?;
        let mut iv = [0; 12];
        iv[4..].copy_from_slice(rest);
        Ok((LessSafeKey::new(key), Nonce::assume_unique_for_key(iv)))
    }
}

/// HChaCha20 (draft-irtf-cfrg-xchacha-03 §2.2): ChaCha's rounds without the final
/// addition; the first and last row are the new key.
fn hchacha20(key: &[u8; 32], nonce: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut state = Zeroizing::new([0_u32; 16]);
    state[..4].copy_from_slice(&[0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]);
    for (word, octets) in
        state[4..].iter_mut().zip(key.chunks_exact(4).chain(nonce.chunks_exact(4)))
    {
        *word = u32::from_le_bytes([octets[0], octets[1], octets[2], octets[3]]);
    }
    for _ in 0..10 {
        for [a, b, c, d] in COLUMNS_THEN_DIAGONALS {
            state[a] = state[a].wrapping_add(state[b]);
            state[d] = (state[d] ^ state[a]).rotate_left(16);
            state[c] = state[c].wrapping_add(state[d]);
            state[b] = (state[b] ^ state[c]).rotate_left(12);
            state[a] = state[a].wrapping_add(state[b]);
            state[d] = (state[d] ^ state[a]).rotate_left(8);
            state[c] = state[c].wrapping_add(state[d]);
            state[b] = (state[b] ^ state[c]).rotate_left(7);
        }
    }
    let mut subkey = Zeroizing::new([0; 32]);
    for (octets, word) in subkey.chunks_exact_mut(4).zip(state[..4].iter().chain(&state[12..])) {
        octets.copy_from_slice(&word.to_le_bytes());
    }
    subkey
}

const COLUMNS_THEN_DIAGONALS: [[usize; 4]; 8] = [
    [0, 4, 8, 12],
    [1, 5, 9, 13],
    [2, 6, 10, 14],
    [3, 7, 11, 15],
    [0, 5, 10, 15],
    [1, 6, 11, 12],
    [2, 7, 8, 13],
    [3, 4, 9, 14],
];

#[cfg(all(test, not(feature = "bench-plain")))]
mod tests {
    use chacha20poly1305::aead::{AeadInOut, KeyInit};
    use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};

    use super::*;
    use crate::key::Key;

    fn keys() -> FileKeys {
        FileKeys { page: Key::from_bytes([7; 32]), integrity: Key::from_bytes([8; 32]) }
    }

    #[test]
    fn hchacha20_makes_the_drafts_example() {
        // draft-irtf-cfrg-xchacha-03 §2.2.1
        let key: Vec<u8> = (0..32).collect();
        let nonce = [0, 0, 0, 9, 0, 0, 0, 0x4a, 0, 0, 0, 0, 0x31, 0x41, 0x59, 0x27];
        let subkey = hchacha20(&key.try_into().unwrap(), &nonce);
        assert_eq!(
            *subkey,
            [
                0x82, 0x41, 0x3b, 0x42, 0x27, 0xb2, 0x7b, 0xfe, 0xd3, 0x0e, 0x42, 0x50, 0x8a, 0x87,
                0x7d, 0x73, 0xa0, 0xf9, 0xe4, 0xd5, 0x8a, 0x74, 0xa8, 0x53, 0xc1, 0x2e, 0xc4, 0x13,
                0x26, 0xd3, 0xec, 0xdc,
            ]
        );
    }

    #[test]
    fn the_reference_crate_reads_what_is_sealed() {
        let cipher = Cipher::new(&keys());
        for (place, aad) in [
            (Place::Main { page: 3 }, b"main\0\0\0\x03".to_vec()),
            (Place::Log { salts: *b"saltsalt", frame: 258 }, b"walsaltsalt\0\0\x01\x02".to_vec()),
        ] {
            let mut sealed = vec![0x5a; 4096];
            cipher.seal(place, &mut sealed).unwrap();
            let (text, tail) = sealed.split_at(4040);
            let mut plain = text.to_vec();
            XChaCha20Poly1305::new(keys().page.expose().into())
                .decrypt_inout_detached(
                    &XNonce::try_from(&tail[..24]).unwrap(),
                    &aad,
                    plain.as_mut_slice().into(),
                    &Tag::try_from(&tail[24..40]).unwrap(),
                )
                .unwrap();
            assert!(plain.iter().all(|octet| *octet == 0x5a));
            assert!(cipher.is_whole(place, &sealed));
        }
    }

    #[test]
    fn nothing_opens_elsewhere_or_changed() {
        let cipher = Cipher::new(&keys());
        let place = Place::Main { page: 9 };
        let mut sealed = vec![1; 4096];
        cipher.seal(place, &mut sealed).unwrap();
        let mut plain = vec![0; 4040];
        assert_eq!(cipher.open(place, &sealed, &mut plain), Ok(()));
        assert_eq!(plain, vec![1; 4040]);
        for elsewhere in [Place::Main { page: 10 }, Place::Log { salts: [0; 8], frame: 9 }] {
            assert_eq!(cipher.open(elsewhere, &sealed, &mut plain), Err(Unauthentic));
            assert!(!cipher.is_whole(elsewhere, &sealed));
        }
        for at in [0, 2000, 4039, 4040, 4063, 4064, 4079] {
            sealed[at] ^= 1;
            assert_eq!(cipher.open(place, &sealed, &mut plain), Err(Unauthentic), "{at}");
            assert_eq!(plain, vec![0; 4040]);
            assert!(!cipher.is_whole(place, &sealed), "{at}");
            sealed[at] ^= 1;
        }
        sealed[4095] ^= 1;
        assert!(!cipher.is_whole(place, &sealed));
    }

    #[test]
    fn the_same_page_never_looks_the_same() {
        let cipher = Cipher::new(&keys());
        let (mut one, mut two) = (vec![0; 4096], vec![0; 4096]);
        cipher.seal(Place::Main { page: 1 }, &mut one).unwrap();
        cipher.seal(Place::Main { page: 1 }, &mut two).unwrap();
        assert_ne!(one[..4040], two[..4040]);
        assert_ne!(one[4040..4064], two[4040..4064]);
    }
}
