//! What becomes of an accepted message here: sealed at the door, filed exactly once.
//!
//! [`Intake::accept`] makes a message durable in the queue, each recipient's copy sealed
//! to its owner, and files it at once where the mailbox is unlocked. [`Drainer`] files what
//! was parked when an owner comes back. Both hand what they filed to the settler, which
//! takes the mailboxes' durable points together and only then lets the queue forget.
//!
//! ```text
//! accept ── commit ── 250          login ── drain parked rows ── open
//!    └─ file ── settle (sync, forget row, prune)  ─┘
//! ```
//!
//! Carrying mail elsewhere is the relay's part; it asks [`Intake::route`] where a bounce
//! for one of our people goes.

mod adopt;
mod drain;
mod error;
mod filing;
mod intake;
mod route;
mod settle;

pub use drain::Drainer;
pub use error::AcceptError;
pub use intake::{Folder, Incoming, Intake};
pub use settle::{Settler, settler};
