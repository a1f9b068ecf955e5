//! ENVELOPE, BODY and BODYSTRUCTURE of a message (RFC 9051 §7.5.2), as octets to be stored and sent as they are.
//!
//! They fit sessions of either revision: no quoted string holds 8-bit octets, which come as literals; encoded-words
//! stay as they stand. Malformed mail gives something sane, never an error.
//!
//! A message in memory is described by [`summarise`]; one that is too large for that by an [`Outliner`], which it passes
//! through in pieces. Both end in an [`Outline`], and one text is written from it. A value of more than 64 KiB is cut
//! there, and so is what a message has beyond two megabytes of such values.

mod begun;
mod body;
mod envelope;
mod line;
mod outline;
mod outliner;
mod read;

pub use outline::{Entity, Outline};
pub use outliner::Outliner;
pub use read::{EnvelopeFields, FirstAddress, envelope_fields};

use crate::mime::Tree;

/// All that is computed once, when a message arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// ENVELOPE, with its parentheses.
    pub envelope: Vec<u8>,
    /// BODY, the structure without extension data.
    pub body: Vec<u8>,
    /// BODYSTRUCTURE.
    pub body_structure: Vec<u8>,
    /// The header's length in octets, with its empty line.
    pub header_length: usize,
}

/// Everything, in one pass over the message.
pub fn summarise(message: &[u8]) -> Summary {
    summarise_tree(&Tree::parse(message))
}

/// As [`summarise`], of a message that was taken apart already.
pub fn summarise_tree(tree: &Tree<'_>) -> Summary {
    Outline::of(tree).summarise()
}

impl Outline<'_> {
    /// ENVELOPE, BODY and BODYSTRUCTURE.
    pub fn summarise(&self) -> Summary {
        let mut envelope = Vec::new();
        let message = self.entities.first();
        envelope::write(
            &mut envelope,
            message.map_or([None; 10], |message| message.kept.envelope()),
        );
        Summary {
            envelope,
            body: body::write(self, false),
            body_structure: body::write(self, true),
            header_length: message.map_or(0, |message| message.header.end as usize),
        }
    }
}

/// ENVELOPE of a message; its header block is enough.
pub fn envelope(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    envelope::write(&mut out, outline::envelope_of(message).envelope());
    out
}

/// BODY of a message.
pub fn body(message: &[u8]) -> Vec<u8> {
    body::write(&Outline::of(&Tree::parse(message)), false)
}

/// BODYSTRUCTURE of a message.
pub fn body_structure(message: &[u8]) -> Vec<u8> {
    body::write(&Outline::of(&Tree::parse(message)), true)
}

#[cfg(test)]
mod outliner_tests;
#[cfg(test)]
mod tests;
