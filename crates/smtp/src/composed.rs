//! A message that gets its fields one after the other, the topmost last, and whose body is copied once.

use bytes::Bytes;

/// Room for what is put in front later: two signatures and the results of checks.
const ROOM: usize = 2048;

/// The message, with room in front.
pub(crate) struct Composed {
    octets: Vec<u8>,
    /// Where the message begins.
    start: usize,
}

impl Composed {
    /// From pieces, in their order.
    pub(crate) fn new(pieces: &[&[u8]]) -> Composed {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut octets = Vec::with_capacity(ROOM + length);
        octets.resize(ROOM, 0);
        pieces.iter().for_each(|piece| octets.extend_from_slice(piece));
        Composed { octets, start: ROOM }
    }

    /// The message as it is now.
    pub(crate) fn message(&self) -> &[u8] {
        &self.octets[self.start..]
    }

    /// Puts whole fields in front.
    pub(crate) fn put_before(&mut self, fields: &str) {
        let fields = fields.as_bytes();
        match self.start.checked_sub(fields.len()) {
            Some(start) => {
                self.octets[start..self.start].copy_from_slice(fields);
                self.start = start;
            }
            None => {
                self.octets.splice(..self.start, fields.iter().copied());
                self.start = 0;
            }
        }
    }

    /// The message.
    pub(crate) fn finish(self) -> Bytes {
        Bytes::from(self.octets).slice(self.start..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_later_stands_in_front_however_long_it_is() {
        for length in [1, ROOM - 3, ROOM - 2, ROOM, 3 * ROOM] {
            let long = "x".repeat(length);
            let mut composed = Composed::new(&[b"head", b"", b"body"]);
            composed.put_before("c:");
            composed.put_before(&long);
            composed.put_before("a:");
            let whole = format!("a:{long}c:headbody");
            assert_eq!(composed.message(), whole.as_bytes());
            assert_eq!(composed.finish(), whole);
        }
    }
}
