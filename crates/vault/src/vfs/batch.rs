//! Frames of the log that wait to be written together.
//!
//! SQLite writes a transaction frame by frame. Here they are collected, sealed with one
//! call for their nonces, and written in one piece: when the frame comes that commits, when
//! anything else is done with the log, or when there are many. So a commit has been written
//! when SQLite hears that it was, and survives a crash of the process like any other write.

use std::cell::Cell;

use zeroize::Zeroize;

use crate::key::random_fill;

use super::cipher::{Cipher, NONCE, Place, Unauthentic};
use super::{FRAME, FRAME_HEADER};

/// Frames in one write at most (264 KB).
const MAX: usize = 64;

thread_local! {
    /// Room for a batch: one a thread, as thousands of logs may be open.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Frames that follow each other, in the clear until they are [sealed](Batch::seal).
#[derive(Default)]
pub(super) struct Batch {
    /// The number of the first frame.
    first: u32,
    octets: Vec<u8>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// The number of the first frame.
    pub(super) fn first(&self) -> u32 {
        self.first
    }

    /// Whether `frame` can be added: it comes next, and there is room.
    pub(super) fn takes(&self, frame: u32) -> bool {
        let frames = self.octets.len() / FRAME;
        frames == 0 || frames < MAX && u32::try_from(frames).is_ok_and(|n| self.first + n == frame)
    }

    /// Adds a frame that it [takes](Batch::takes).
    pub(super) fn add(&mut self, frame: u32, header: &[u8; FRAME_HEADER], page: &[u8]) {
        if self.octets.is_empty() {
            self.first = frame;
            self.octets = SPARE.take();
        }
        if self.octets.capacity() == 0 {
            // Once a thread, so that it never moves with plain text in it.
            self.octets.reserve_exact(MAX * FRAME);
        }
        self.octets.extend_from_slice(header);
        self.octets.extend_from_slice(page);
    }

    /// Seals the frames where they are; the number of the first one, and all of them.
    pub(super) fn seal(
        &mut self,
        cipher: &Cipher,
        salts: [u8; 8],
    ) -> Result<(u32, &[u8]), Unauthentic> {
        let mut nonces = [[0; NONCE]; MAX];
        let nonces = &mut nonces[..(self.octets.len() / FRAME).min(MAX)];
        random_fill(nonces.as_flattened_mut());
        let frames = self.octets.chunks_exact_mut(FRAME);
        for ((frame, number), nonce) in frames.zip(self.first..).zip(nonces) {
            cipher.seal_with(nonce, Place::Log { salts, frame: number }, frame)?;
        }
        Ok((self.first, &self.octets))
    }

    /// Empties it, after its frames were sealed and written, or are given up.
    pub(super) fn clear(&mut self, outcome: Outcome) {
        let mut octets = std::mem::take(&mut self.octets);
        if outcome == Outcome::GivenUp {
            octets.as_mut_slice().zeroize();
        }
        octets.clear();
        SPARE.set(octets);
    }
}

/// What became of a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It holds cipher text only.
    Sealed,
    /// There may be plain text in it.
    GivenUp,
}
