//! One account's mail: folders, messages, flags and bodies in an encrypted SQLite file, and what sessions and
//! delivery do with it.
//!
//! [`Mailboxes`] keeps the state of each account (locked, draining, open); a [`Handle`] works on an unlocked
//! one. SQLite runs on the vault's pool, never on an async worker; long work is done in slices between which
//! other jobs run.
//!
//! What it promises:
//! - A UID or modseq that a session saw never names anything else, not even after a power cut.
//! - Deliveries are filed exactly once for each delivery id and recipient.
//! - What its text calls durable is on stable storage when the call returns; flag changes and deliveries
//!   survive a crash of the process, and a power cut after [`Handle::sync`] or a second.
//!
//! It knows no protocol but IMAP's view of a mailbox, and neither people nor the queue.

mod body;
mod change_jobs;
mod changes;
mod error;
mod feed;
mod files;
mod folder_row;
mod folders;
mod handle;
mod handle_bodies;
mod handle_deliver;
mod handle_folders;
mod handle_imap;
mod handle_mail;
mod handle_metadata;
mod handle_search;
mod handle_settle;
mod index;
mod intake;
mod layout;
mod live;
mod messages;
pub mod name;
mod orders;
mod pack;
mod quota;
mod reader;
mod registry;
mod schema;
mod search;
mod structure;
mod sweep;
mod types;
mod verify;
mod work;

pub use error::MailboxError;
pub use feed::{Happened, Incident};
pub use handle::Handle;
pub use handle_imap::Lookup;
pub use handle_metadata::{Annotation, MetadataError};
pub use handle_settle::Delivered;
pub use index::IndexState;
pub use intake::Intake;
pub use letterlock_imap_wire::{InternalDate, SpecialUse};
pub use letterlock_vault::Lease as SessionLease;
pub use messages::MAX_KEYWORDS;
pub use name::NameError;
pub use quota::{Quota, Usage};
pub use reader::BodyReader;
pub use registry::{AccountState, Drained, Event, Filing, Mailboxes, Options, RotateError, Way};
pub use search::{Found, SearchContext};
pub use types::{
    Appended, Changes, Columns, Copied, Delivery, EmailId, Filed, FlagChange, FlagOperation,
    FlagRow, Flags, Folder, FolderId, ModSeq, NewMessage, Row, SelectMode, Selected, Status,
    StoreOutcome, SystemFlags, UidRanges, all_uids,
};
pub use verify::{Expected, Finding, Problem, Progress, Repair, Report, Salvaged};
