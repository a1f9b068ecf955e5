//! The wire of IMAP4rev2 (RFC 9051) and IMAP4rev1 (RFC 3501), without I/O.
//!
//! What it does: octets from a client become typed commands ([`reader`], [`command`]), and so do the URLs of messages
//! ([`url`]); typed results become octets ([`response`]); a stored message becomes ENVELOPE, BODY and BODYSTRUCTURE
//! ([`structure`]), exact pieces of itself ([`section`]) and text for SEARCH ([`text`]); facts about messages become orders
//! and threads ([`order`]).
//!
//! What it does not do: no sockets, no clock, no storage, no session state. Which command is allowed when, which
//! capabilities exist and what a mailbox holds is the business of its callers.

pub mod command;
pub mod date;
pub mod flag;
pub mod mailbox_name;
pub mod mime;
pub mod order;
pub mod reader;
pub mod response;
mod scan;
mod secret;
pub mod section;
pub mod sequence;
pub mod structure;
pub mod text;
pub mod url;
pub mod window;

pub use command::fetch::{FetchCommand, FetchItem, FetchModifiers};
pub use command::list::{ListCommand, StatusItem};
pub use command::search::{SearchCommand, SearchKey, SearchProgram, SearchReturn};
pub use command::{Command, Replaced, Tagged};
pub use date::InternalDate;
pub use flag::{Flag, SpecialUse};
pub use mailbox_name::{MailboxName, NameForm};
pub use reader::{AppendBegin, CommandReader, Event, Limits};
pub use response::Code;
pub use scan::SyntaxError;
pub use secret::Secret;
pub use section::{Partial, Section, SectionText};
pub use sequence::{NumberSet, SequenceSet};
pub use window::Window;
