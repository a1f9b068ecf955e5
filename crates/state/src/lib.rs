//! What a mail server remembers beside its mail, in `state.db`: traces of messages, MTA-STS policies, which domains
//! had TLS, addresses that are gone, replies that may not have arrived, and the counts that reports are made from.
//!
//! Nothing here is needed to keep a promise: a power cut may take the last second of it. So what is only noted
//! ([`State::record`], [`State::remember_tls`], [`State::count_tls`], [`State::count_dmarc`]) costs its caller a lock
//! and a push; a task writes it in batches, unsynced. Each kind has its own [`Retention`].
//!
//! The file opens with the server's key, which a thief of the disk may hold. What a user-held account's owner alone
//! may read must not be in it: no sender, subject or folder of their mail. Events therefore have no place for
//! subjects and folders at all, and take a sender only as [`Shown`], which only [`Privacy`] makes.
//!
//! Not here: who decides what is remembered (`transport-policy`, `relay`, `smtp`), and the reports themselves.

mod buffer;
mod dmarc;
mod error;
mod event;
mod explain;
mod policy;
mod privacy;
mod schema;
mod state;
mod suppression;
mod tls;
mod trace;
mod unconfirmed;
mod verify;

pub use dmarc::{DkimAuth, DmarcCount, DmarcResult, PublishedPolicy, SpfAuth};
pub use error::StateError;
pub use event::{Check, Decision, DsnKind, Event, Policy, Text};
pub use letterlock_config::Retention;
pub use policy::{StoredPolicy, TlsLevel, TlsMemory};
pub use privacy::{Privacy, Shown};
pub use state::State;
pub use suppression::Suppression;
pub use tls::{PolicyType, TlsCount, TlsFailure, TlsResult};
