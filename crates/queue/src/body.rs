//! Bodies at rest: pieces of 64 KiB, each compressed by itself and then sealed under the content key of its copy.
//!
//! Bound into each piece are the message, the copy, the piece's number and how many there are, so that pieces can
//! neither be exchanged nor left out. Independent pieces keep memory flat for large messages.
//!
//! This is CPU work and runs where the caller is, never in a database job: a message of up to one piece takes tens of
//! microseconds, about what handing it to another thread costs; callers move longer ones to a blocking thread.

use std::cell::RefCell;

use letterlock_vault::{DeliveryId, Key};
use zstd::bulk::{Compressor, Decompressor};

/// Octets of a body in one chunk, before compression.
pub(crate) const CHUNK: usize = 64 * 1024;
/// How many chunks a body can have: they are numbered within the body's own range.
pub(crate) const MAX_CHUNKS: u64 = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 16;
/// zstd's fastest ordinary level: mail is read back once, soon.
const LEVEL: i32 = 1;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

/// Which of an entry's copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Copy {
    /// For owners.
    Sealed = 0,
    /// For the server.
    Server = 1,
}

impl Copy {
    pub(crate) fn from_number(number: u8) -> Self {
        if number == 0 { Self::Sealed } else { Self::Server }
    }
}

/// How many chunks a body of this size has; an empty one has one.
pub(crate) fn chunk_count(size: u64) -> u64 {
    size.div_ceil(CHUNK as u64).max(1)
}

/// The first chunk's number of a body, and the number after its last possible one.
pub(crate) fn chunk_range(body: i64) -> (i64, i64) {
    (body << CHUNK_BITS, (body + 1) << CHUNK_BITS)
}

/// The body that a chunk is of.
pub(crate) fn body_of(chunk: i64) -> i64 {
    chunk >> CHUNK_BITS
}

/// Where a chunk stands, as the cipher binds it.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) id: DeliveryId,
    pub(crate) number: u64,
    pub(crate) count: u64,
}

impl Place {
    fn additional_data(self, copy: Copy) -> Vec<u8> {
        let head = b"letterlock queue body 1 ";
        [
            &head[..],
            &self.id.to_bytes(),
            &[copy as u8],
            &self.number.to_be_bytes(),
            &self.count.to_be_bytes(),
        ]
        .concat()
    }
}

/// A piece with its method in front, ready to be sealed for any number of copies.
pub(crate) fn pack(plain: &[u8]) -> Vec<u8> {
    thread_local! {
        // Making a context costs more than compressing a small mail with it.
        static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    }
    let compressed = COMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Compressor::new(LEVEL).ok();
        }
        slot.as_mut()?.compress(plain).ok()
    });
    let (method, payload) = match &compressed {
        Some(smaller) if smaller.len() < plain.len() => (ZSTD, smaller.as_slice()),
        _ => (PLAIN, plain),
    };
    let mut packed = Vec::with_capacity(payload.len() + 1);
    packed.push(method);
    packed.extend_from_slice(payload);
    packed
}

/// Seals a packed piece for one copy.
pub(crate) fn seal(key: &Key, copy: Copy, place: Place, packed: &[u8]) -> Vec<u8> {
    key.seal(&place.additional_data(copy), packed)
}

/// Opens a piece and adds it to `out`; `None` if it does not authenticate or unpack.
pub(crate) fn open(
    key: &Key,
    copy: Copy,
    place: Place,
    sealed: &[u8],
    out: &mut Vec<u8>,
) -> Option<()> {
    let packed = key.open(&place.additional_data(copy), sealed).ok()?;
    let (&method, payload) = packed.split_first()?;
    match method {
        PLAIN => out.extend_from_slice(payload),
        ZSTD => out.extend_from_slice(&unpack(payload)?),
        _ => return None,
    }
    Some(())
}

fn unpack(payload: &[u8]) -> Option<Vec<u8>> {
    thread_local! {
        static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    }
    DECOMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Decompressor::new().ok();
        }
        slot.as_mut()?.decompress(payload, CHUNK).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(plain: &[u8]) -> Vec<u8> {
        let (key, id) = (Key::random(), DeliveryId::generate());
        let place = Place { id, number: 3, count: 4 };
        let sealed = seal(&key, Copy::Sealed, place, &pack(plain));
        let mut out = Vec::new();
        open(&key, Copy::Sealed, place, &sealed, &mut out).unwrap();
        out
    }

    #[test]
    fn bodies_of_all_kinds_come_back() {
        let noise: Vec<u8> = Key::random().seal(b"", &[0; CHUNK - 40]);
        for plain in [&b""[..], b"x", &vec![b'a'; CHUNK], &noise] {
            assert_eq!(round(plain), plain);
        }
        assert!(pack(&vec![b'a'; CHUNK]).len() < 200, "it is compressed");
        assert_eq!(pack(&noise).len(), noise.len() + 1, "what does not shrink stays as it is");
    }

    #[test]
    fn a_chunk_opens_in_its_place_only() {
        let (key, id) = (Key::random(), DeliveryId::generate());
        let place = Place { id, number: 0, count: 2 };
        let sealed = seal(&key, Copy::Server, place, &pack(b"text"));
        let opens =
            |key: &Key, copy, place| open(key, copy, place, &sealed, &mut Vec::new()).is_some();
        assert!(opens(&key, Copy::Server, place));
        assert!(!opens(&Key::random(), Copy::Server, place));
        assert!(!opens(&key, Copy::Sealed, place));
        assert!(!opens(&key, Copy::Server, Place { number: 1, ..place }));
        assert!(!opens(&key, Copy::Server, Place { count: 1, ..place }));
        assert!(!opens(&key, Copy::Server, Place { id: DeliveryId::generate(), ..place }));
    }

    #[test]
    fn counts() {
        for (size, count) in [(0, 1), (1, 1), (CHUNK as u64, 1), (CHUNK as u64 + 1, 2)] {
            assert_eq!(chunk_count(size), count);
        }
        assert_eq!(chunk_range(2), (2 << 16, 3 << 16));
    }
}
