//! Message data: what comes behind DATA or in the chunks of BDAT, and what a client sends.
//!
//! Neither reader keeps anything but counters: the message goes to the caller's buffer, who may move it elsewhere
//! between calls. A fault never stops a reader, since the reply must wait for the end of the data; it stops the
//! copying. Lines may have any length (RFC 5321 §4.5.3.1.6 asks for 1,000 octets at least), and 8-bit octets are
//! taken whatever BODY= said.

mod bdat;
mod dot;
mod stuff;

use memchr::{memchr, memchr_iter};
use thiserror::Error;

pub use bdat::{BdatReader, LineRule};
pub use dot::DataReader;
pub use stuff::{dot_stuff, has_bare_newline};

/// Why a message cannot be accepted. If there are both, `BareNewline` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum DataFault {
    /// More octets than the limit (RFC 1870 §6.3).
    #[error("message too big")]
    TooBig,
    /// A CR without LF or a LF without CR: refuse and close. Which came first is not told, as only a slower
    /// search would find that out whatever the division of the stream.
    #[error("CR or LF alone in message data")]
    BareNewline,
}

impl DataFault {
    /// Whether the connection has to be closed behind the refusal, as the two sides do not agree about lines.
    pub fn is_fatal(self) -> bool {
        matches!(self, Self::BareNewline)
    }
}

/// How far a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Octets of the input that belong to the data; what is behind them are commands.
    pub consumed: usize,
    /// Whether there is more to come.
    pub state: DataState,
}

/// Whether there is more to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataState {
    /// All input was consumed.
    More,
    /// The end of the data (DATA), or of the chunk (BDAT), was reached.
    Done,
}

/// What a message was found to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Octets of the message without dot-stuffing, counted on when it is too big; of no use after a fatal fault.
    pub octets: u64,
    /// An octet above 127 occurred.
    pub eight_bit: bool,
    /// A NUL occurred; RFC 5322 §4 calls that obsolete, and IMAP cannot give it out other than as BINARY.
    pub nul: bool,
    /// Why the message cannot be accepted.
    pub fault: Option<DataFault>,
}

/// The summary in the making, and the way into the caller's buffer.
#[derive(Debug)]
struct Sink {
    summary: Summary,
    limit: u64,
}

impl Sink {
    fn new(limit: u64) -> Self {
        Self { summary: Summary::default(), limit }
    }

    fn fault(&mut self, fault: DataFault) {
        let fault_now = &mut self.summary.fault;
        if !fault_now.is_some_and(DataFault::is_fatal) && (fault.is_fatal() || fault_now.is_none())
        {
            *fault_now = Some(fault);
        }
    }

    /// Counts `piece`, and copies it unless something is wrong.
    fn put(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let summary = &mut self.summary;
        summary.octets = summary.octets.saturating_add(piece.len() as u64);
        summary.eight_bit = summary.eight_bit || !piece.is_ascii();
        summary.nul = summary.nul || memchr(0, piece).is_some();
        if summary.octets > self.limit {
            self.fault(DataFault::TooBig);
        }
        if self.summary.fault.is_none() {
            out.extend_from_slice(piece);
        }
    }

    /// Reports CRs in `piece` that are more than the `pairs` that were found to stand before a LF.
    fn check_crs(&mut self, piece: &[u8], pairs: usize) {
        // Counting runs at the speed of memory; that some CR is alone matters, not which.
        if memchr_iter(b'\r', piece).count() != pairs {
            self.fault(DataFault::BareNewline);
        }
    }
}
