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

/// Describes a message; any octets have a description.
pub(crate) fn describe(message: &[u8]) -> Description {
    let summary = structure::summarise(message);
    Description {
        envelope: summary.envelope,
        structure: summary.body_structure,
        body: summary.body,
    }
}

/// Octets of the header block with its empty line: what BODY[HEADER] is.
pub(crate) fn header_length(message: &[u8]) -> usize {
    header::header_length(message)
}
