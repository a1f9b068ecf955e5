//! MIME, read for exact places: where each part's header and body lie in the raw message.
//!
//! [`header`] walks the fields of a header block, [`value`] reads structured values with their parameters,
//! [`address`] reads address lists, [`tree`] finds the parts, [`encoding`] undoes transfer encodings. Nothing here
//! fails on malformed mail and all of it is linear in the message's size.

pub mod address;
pub mod encoding;
pub mod header;
pub mod tree;
pub mod value;

pub use tree::{Part, PartKind, Tree};
