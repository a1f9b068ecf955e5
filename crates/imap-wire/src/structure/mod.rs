//! ENVELOPE, BODY and BODYSTRUCTURE of a message (RFC 9051 §7.5.2), as octets to be stored and sent as they are.
//!
//! They fit sessions of either revision: no quoted string holds 8-bit octets, which come as literals; encoded-words
//! stay as they stand. Malformed mail gives something sane, never an error.

mod body;
mod envelope;
mod read;

pub use read::{EnvelopeFields, FirstAddress, envelope_fields};

use crate::mime::Tree;
use crate::mime::header::header_length;

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
    let header_length = header_length(tree.message());
    let mut envelope = Vec::new();
    envelope::write(&mut envelope, &tree.message()[..header_length]);
    Summary {
        envelope,
        body: body::write(tree, false),
        body_structure: body::write(tree, true),
        header_length,
    }
}

/// ENVELOPE of a message; its header block is enough.
pub fn envelope(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    envelope::write(&mut out, message);
    out
}

/// BODY of a message.
pub fn body(message: &[u8]) -> Vec<u8> {
    body::write(&Tree::parse(message), false)
}

/// BODYSTRUCTURE of a message.
pub fn body_structure(message: &[u8]) -> Vec<u8> {
    body::write(&Tree::parse(message), true)
}

#[cfg(test)]
mod tests;
