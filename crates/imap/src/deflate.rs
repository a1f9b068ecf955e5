//! COMPRESS=DEFLATE (RFC 4978): octets in, octets out; no I/O.
//!
//! What the client sends is inflated in pieces of at most the caller's buffer, so that a small packet which stands for very
//! much never becomes it at once. What is sent is deflated from one flush to the next with a dictionary of its own: between
//! answers a session keeps the client's window of 32 KiB and nothing for its own output.
//!
//! After UNAUTHENTICATE a client goes on uncompressed, perhaps in the same packet (RFC 8437 §4.1). So nothing is inflated
//! beyond a flush before what came up to there was run: [`Deflate::rest`] then gives the rest as it came.

use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// How much room is made for output at a time.
const ROOM: usize = 8 * 1024;

/// What a flush of the client's ends with: an empty stored block (RFC 1951 §3.2.4).
const FLUSHED: u32 = 0x0000_ffff;

/// Both directions of a connection that is compressed.
pub(crate) struct Deflate {
    inflate: Decompress,
    /// The last four octets that were inflated.
    tail: u32,
    /// The client ended its stream.
    ended: bool,
    /// What was received and is not inflated yet.
    pending: Vec<u8>,
    /// How much of `pending` is done.
    done: usize,
    /// Up to where it may be done now.
    until: usize,
    /// The last piece filled the buffer: there may be more without more input.
    more: bool,
    /// Present while there is output that was not flushed.
    deflate: Option<Compress>,
}

impl Deflate {
    /// A connection on which nothing compressed was sent yet.
    pub(crate) fn new() -> Self {
        Self {
            inflate: Decompress::new(false),
            tail: 0,
            ended: false,
            pending: Vec::new(),
            done: 0,
            until: 0,
            more: false,
            deflate: None,
        }
    }

    /// Whether [`Self::read`] can give anything without more input.
    pub(crate) fn has_input(&self) -> bool {
        self.ended || self.more || self.done < self.pending.len()
    }

    /// Whether the client's stream may end here: all of it was read, up to a flush or its proper end.
    pub(crate) fn is_at_end(&self) -> bool {
        !self.more && (self.ended || self.tail == FLUSHED)
    }

    /// Takes what the client sent. To be called when there is no input left.
    pub(crate) fn receive(&mut self, octets: &[u8]) {
        self.pending.clear();
        self.pending.extend_from_slice(octets);
        (self.done, self.until) = (0, 0);
    }

    /// Inflates into `space`; answers how many octets. 0 says that more input is needed.
    pub(crate) fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            // There is nothing left to talk with.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
        if self.done >= self.until {
            self.until = self.next_flush();
        }
        let piece = &self.pending[self.done..self.until];
        let status = self
            .inflate
            .decompress(piece, space, FlushDecompress::Sync)
            .map_err(io::Error::other)?;
        let taken = (self.inflate.total_in() - before_in) as usize;
        let given = (self.inflate.total_out() - before_out) as usize;
        if taken == 0 && given == 0 && !piece.is_empty() && status != Status::StreamEnd {
            return Err(io::Error::other("the compressed data is malformed"));
        }
        self.tail = piece[..taken].iter().fold(self.tail, |tail, octet| shifted(tail, *octet));
        self.done += taken;
        self.more = given == space.len();
        if status == Status::StreamEnd {
            (self.ended, self.more) = (true, false);
        }
        if self.done == self.pending.len() && !self.more {
            // An idle session keeps no buffer.
            (self.pending, self.done, self.until) = (Vec::new(), 0, 0);
        }
        Ok(given)
    }

    /// Up to where `pending` may be inflated now: the next flush, or the end.
    fn next_flush(&self) -> usize {
        let mut tail = self.tail;
        let ends = self.pending[self.done..].iter().position(|octet| {
            tail = shifted(tail, *octet);
            tail == FLUSHED
        });
        ends.map_or(self.pending.len(), |at| self.done + at + 1)
    }

    /// What the client sent after its stream, if that [ends here](Self::is_at_end).
    pub(crate) fn rest(&mut self) -> Option<Vec<u8>> {
        if !self.is_at_end() {
            return None;
        }
        let rest = self.pending.split_off(self.done.min(self.pending.len()));
        // A client may end its stream after a flush, which says no more.
        let bare =
            if self.ended { None } else { rest.strip_prefix(&EMPTY_END).map(<[u8]>::to_vec) };
        Some(bare.unwrap_or(rest))
    }

    /// Deflates octets; some of it appears only with [`Self::flush`].
    pub(crate) fn write(&mut self, octets: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let deflate = self.deflate.get_or_insert_with(|| Compress::new(Compression::fast(), false));
        let mut rest = octets;
        while !rest.is_empty() {
            out.reserve(ROOM);
            let before = deflate.total_in();
            deflate.compress_vec(rest, out, FlushCompress::None).map_err(io::Error::other)?;
            rest = &rest[(deflate.total_in() - before) as usize..];
        }
        Ok(())
    }

    /// Whether there is output to be flushed.
    pub(crate) fn is_dirty(&self) -> bool {
        self.deflate.is_some()
    }

    /// Gives out everything that was written. What comes next refers to nothing before it.
    pub(crate) fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let Some(mut deflate) = self.deflate.take() else { return Ok(()) };
        loop {
            out.reserve(ROOM);
            deflate.compress_vec(&[], out, FlushCompress::Full).map_err(io::Error::other)?;
            // Room was left: that was all.
            if out.len() < out.capacity() {
                return Ok(());
            }
        }
    }
}

fn shifted(tail: u32, octet: u8) -> u32 {
    tail << 8 | u32::from(octet)
}

/// The end of a stream that has nothing more: a final block of fixed codes that is empty.
const EMPTY_END: [u8; 2] = [3, 0];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a receiver makes of a stream, line by line, until one that is `end`, and what is left then.
    fn rest_after(octets: &[u8], packet: usize, end: &[u8]) -> Option<Vec<u8>> {
        let mut receiver = Deflate::new();
        let (mut text, mut space) = (Vec::new(), vec![0; 4096]);
        for packet in octets.chunks(packet) {
            receiver.receive(packet);
            while receiver.has_input() {
                let count = receiver.read(&mut space).unwrap();
                text.extend_from_slice(&space[..count]);
                if text.ends_with(end) && receiver.is_at_end() {
                    return receiver.rest();
                }
            }
        }
        receiver.rest()
    }

    #[test]
    fn what_follows_a_stream_is_left_as_it_came() {
        let packed = |flush| {
            let mut deflate = Compress::new(Compression::default(), false);
            let mut out = Vec::with_capacity(4096);
            let text = b"a NOOP\r\nb UNAUTHENTICATE\r\n";
            deflate.compress_vec(text, &mut out, flush).unwrap();
            out
        };
        let end = b"UNAUTHENTICATE\r\n";
        for flush in [FlushCompress::Sync, FlushCompress::Full, FlushCompress::Finish] {
            let mut octets = packed(flush);
            assert_eq!(rest_after(&octets, 4096, end).unwrap(), b"");
            octets.extend_from_slice(b"c LOGIN ann x\r\n");
            assert_eq!(rest_after(&octets, 4096, end).unwrap(), b"c LOGIN ann x\r\n");
            assert!(rest_after(&octets, 1, end).is_some());
        }
        let mut ended = packed(FlushCompress::Sync);
        ended.extend_from_slice(&EMPTY_END);
        ended.extend_from_slice(b"c");
        assert_eq!(rest_after(&ended, 4096, end).unwrap(), b"c");
        // The flush itself is still to come.
        let cut = packed(FlushCompress::Sync);
        assert_eq!(rest_after(&cut[..cut.len() - 2], 4096, end), None);
    }

    /// All that a receiver with such a buffer makes of the octets.
    fn inflated(octets: &[u8], packet: usize, buffer: usize) -> io::Result<Vec<u8>> {
        let mut receiver = Deflate::new();
        let mut text = Vec::new();
        let mut space = vec![0; buffer];
        for packet in octets.chunks(packet) {
            receiver.receive(packet);
            while receiver.has_input() {
                let count = receiver.read(&mut space)?;
                text.extend_from_slice(&space[..count]);
            }
        }
        Ok(text)
    }

    #[test]
    fn a_bomb_comes_in_pieces() {
        let mut sender = Deflate::new();
        let mut out = Vec::new();
        sender.write(&vec![b'a'; 50 << 20], &mut out).unwrap();
        sender.flush(&mut out).unwrap();
        assert!(out.len() < 400_000);
        let mut receiver = Deflate::new();
        receiver.receive(&out);
        let (mut total, mut space) = (0, vec![0; 16 * 1024]);
        while receiver.has_input() {
            total += receiver.read(&mut space).unwrap();
        }
        assert_eq!(total, 50 << 20);
        assert!(receiver.pending.capacity() == 0 && !sender.is_dirty());
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(inflated(&[0xff; 40], 40, 100).is_err());
        // The end of a stream is the end of the session.
        assert!(inflated(&[3, 0], 2, 100).is_err());
        assert!(inflated(&[3, 0, b'a'], 3, 100).is_err());
    }

    proptest! {
        #[test]
        fn what_is_flushed_arrives_whole(
            pieces in proptest::collection::vec(("[ab]{0,30}|.{0,30}", any::<bool>()), 0..40),
            packet in 1usize..200,
            buffer in 1usize..100,
        ) {
            let mut sender = Deflate::new();
            let (mut out, mut sent) = (Vec::new(), Vec::new());
            for (text, flush) in &pieces {
                sender.write(text.as_bytes(), &mut out).unwrap();
                sent.extend_from_slice(text.as_bytes());
                if *flush {
                    sender.flush(&mut out).unwrap();
                    prop_assert_eq!(&inflated(&out, packet, buffer).unwrap(), &sent);
                }
            }
            sender.flush(&mut out).unwrap();
            prop_assert_eq!(inflated(&out, packet, buffer).unwrap(), sent);
        }
    }
}
