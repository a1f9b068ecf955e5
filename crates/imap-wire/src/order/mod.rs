//! Orders of messages (RFC 5256): what SORT compares, and the trees of THREAD. Pure functions over facts that the caller
//! has read.

mod ids;
mod subject;
mod thread;

pub use ids::message_ids;
pub use subject::{BaseSubject, base_subject};
pub use thread::{ThreadMessage, Threads, by_references, by_subject};
