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
//! What an address here passes on to another server becomes an entry of its own, with a return address of ours and
//! our seal. Carrying mail elsewhere is the relay's part; it asks [`Intake::ways`] how a report to one of our people
//! gets there. What reports of other servers say of addresses that are gone is learned here, as they come in.

mod adopt;
mod arrival;
mod bounce;
mod drain;
mod error;
mod filer;
mod filing;
mod forward;
mod incoming;
mod intake;
mod notice;
mod room;
mod route;
mod settle;
mod verdict;
mod work;

pub use arrival::{Arrival, SUBMISSION};
pub use drain::Drainer;
pub use error::AcceptError;
pub use forward::Forwarding;
pub use incoming::{Asked, Folder, Incoming, Recipient};
pub use intake::Intake;
pub use notice::{FiledCopy, Notices, Telling};
pub use room::Rooms;
pub use route::RecipientDecision;
pub use settle::{Settler, settler};
pub use verdict::Judged;
