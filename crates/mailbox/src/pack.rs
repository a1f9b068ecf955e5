//! Packing of header blocks and of pieces of bodies: one octet that names the method, then the data.
//!
//! Text of mail shrinks to a third; what does not shrink is kept as it is.

use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};

use crate::error::MailboxError;

/// The data follows as it is.
const PLAIN: u8 = 0;
/// One zstd frame follows.
const ZSTD: u8 = 1;
/// Fast, and nearly as tight as higher levels on pieces this small.
const LEVEL: i32 = 1;

thread_local! {
    // Making a context costs more than packing a small message, so each thread keeps its own.
    static PACKER: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static UNPACKER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Packs the data; never longer than the data and one octet.
pub(crate) fn pack(plain: &[u8]) -> Vec<u8> {
    let mut packed = vec![ZSTD];
    let bound = zstd::zstd_safe::compress_bound(plain.len());
    packed.resize(1 + bound, 0);
    let length = PACKER.with_borrow_mut(|packer| {
        if packer.is_none() {
            *packer = Compressor::new(LEVEL).ok();
        }
        packer.as_mut().and_then(|packer| packer.compress_to_buffer(plain, &mut packed[1..]).ok())
    });
    match length {
        Some(length) if length < plain.len() => packed.truncate(1 + length),
        _ => {
            packed.clear();
            packed.push(PLAIN);
            packed.extend_from_slice(plain);
        }
    }
    packed.shrink_to_fit();
    packed
}

/// Appends to `out` what was packed, which must be `length` octets.
pub(crate) fn unpack(packed: &[u8], length: usize, out: &mut Vec<u8>) -> Result<(), MailboxError> {
    let start = out.len();
    match packed.split_first() {
        Some((&PLAIN, data)) => out.extend_from_slice(data),
        Some((&ZSTD, data)) => {
            out.resize(start + length, 0);
            let written = UNPACKER.with_borrow_mut(|unpacker| {
                if unpacker.is_none() {
                    *unpacker = Decompressor::new().ok();
                }
                unpacker.as_mut()?.decompress_to_buffer(data, &mut out[start..]).ok()
            });
            out.truncate(
                start + written.ok_or_else(|| MailboxError::damaged("a body does not unpack"))?,
            );
        }
        _ => return Err(MailboxError::damaged("a body is packed in an unknown way")),
    }
    if out.len() - start != length {
        return Err(MailboxError::damaged("a body has not the length it should have"));
    }
    Ok(())
}

/// How many octets were packed, where the packed ones tell it.
pub(crate) fn packed_length(packed: &[u8]) -> Option<usize> {
    match packed.split_first()? {
        (&PLAIN, data) => Some(data.len()),
        (&ZSTD, data) => {
            zstd::zstd_safe::get_frame_content_size(data).ok().flatten()?.try_into().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(plain: &[u8]) -> usize {
        let packed = pack(plain);
        let mut out = b"before".to_vec();
        unpack(&packed, plain.len(), &mut out).unwrap();
        assert_eq!(&out[6..], plain);
        assert!(unpack(&packed, plain.len() + 1, &mut Vec::new()).is_err());
        packed.len()
    }

    #[test]
    fn text_shrinks_and_noise_does_not_grow() {
        assert!(turned("All work and no play. ".repeat(100).as_bytes()) < 200);
        let noise: Vec<u8> = (0..200u8).flat_map(|n| *blake3::hash(&[n]).as_bytes()).collect();
        assert_eq!(turned(&noise), noise.len() + 1);
        assert_eq!(turned(b""), 1);
    }

    #[test]
    fn nonsense_is_damage() {
        for packed in [&b""[..], b"\x07abc", b"\x01abc", b"\x00ab"] {
            assert!(matches!(unpack(packed, 3, &mut Vec::new()), Err(MailboxError::Damaged(_))));
        }
    }
}
