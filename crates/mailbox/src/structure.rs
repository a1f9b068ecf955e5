//! What FETCH answers without opening a message: described once, when it comes in.

use letterlock_imap_wire::mime::header;
use letterlock_imap_wire::structure;

/// ENVELOPE, BODYSTRUCTURE and BODY, ready for the wire.
#[derive(Debug, Clone, Default)]
pub(crate) struct Description {
    pub(crate) envelope: Vec<u8>,
    pub(crate) structure: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

/// A header block is kept in one piece, of at most this many octets; what is longer counts as text from there on. No
/// mail of people has such a header, but a message without an empty line may be all header.
pub(crate) const LONGEST_HEADER: usize = 4 << 20;

impl From<structure::Summary> for Description {
    fn from(summary: structure::Summary) -> Self {
        Self { envelope: summary.envelope, structure: summary.body_structure, body: summary.body }
    }
}

/// Describes a message; any octets have a description.
pub(crate) fn describe(message: &[u8]) -> Description {
    structure::summarise(message).into()
}

/// Octets of the header block with its empty line: what BODY[HEADER] is.
pub(crate) fn header_length(message: &[u8]) -> usize {
    header::header_length(message).min(LONGEST_HEADER)
}
