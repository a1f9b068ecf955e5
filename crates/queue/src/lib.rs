//! Messages under way, in `queue.db`: from the commit that stands behind a 250 until each recipient has its outcome.
//!
//! [`Queue::accept`] makes a message durable, many of them with one fsync. A recipient is then *parked* (for an
//! account here, until the mail is filed), *due* (to be carried elsewhere), *waiting* (a role address that nobody has
//! yet) or *held* by an operator. Who files and who carries asks here what there is to do and tells the outcome; this
//! crate neither opens mailboxes nor sockets.
//!
//! What is for owners of accounts is sealed at the door: the body stands there once under a random content key, and
//! that key only in an envelope for each owner; the sender's address and the folder are sealed with it. A second copy,
//! which the server can read, exists only while a recipient needs it who is remote, waiting or server-held.

mod adopt;
mod attempt;
mod body;
mod counts;
mod due;
mod error;
mod filed;
mod lanes;
mod list;
mod model;
mod operate;
mod parked;
mod prepare;
mod queue;
mod schema;
mod settle;
mod sql;
mod verify;

pub use adopt::Adoption;
pub use attempt::Attempt;
pub use counts::{Counts, Usage};
pub use due::{Due, DueRow, Outcome, Verdict};
pub use error::QueueError;
pub use lanes::{Page, Share};
pub use list::{Filter, Shown, ShownRow, Summary};
pub use model::{
    BodyType, EntryId, Filing, Forward, NewEntry, NewRecipient, Notify, Origin, RequireTls, Ret,
    Route, RowId, RowKind, RowState, Seal,
};
pub use operate::Subject;
pub use parked::Parked;
pub use queue::{Accepted, Queue};
