//! Verifying a mailbox, and repairing what can be repaired.
//!
//! Of a locked mailbox only the outer hashes of its file can be checked. Of an unlocked one everything is: the
//! file's pages, SQLite's own structure, the counters and numbers of each folder, every body with its pieces, the
//! word index, and what the file says of itself. It runs beside sessions, in slices; what changes meanwhile is
//! looked at again.
//!
//! A repair never drops a message that can be read. Counters, references and descriptions are computed anew;
//! pieces of a body that do not read back become blanks of the same length, so that the rest stays where it was;
//! a message without any body gets one that says so. Damaged pages are another matter: the file is then written
//! anew from all that can still be read ([`Mailboxes::salvage`](crate::Mailboxes::salvage)).

mod bodies;
mod cells;
mod folders;
mod recover;
mod repair;
mod rows;
mod salvage;
#[cfg(test)]
mod salvage_tests;
mod scan;
mod small;
#[cfg(test)]
mod tests;
mod whole;

use std::fmt;

use letterlock_vault::SealingPublic;

use crate::types::FolderId;

pub(crate) use self::salvage::Points;
pub use self::salvage::Salvaged;

/// What a mailbox should agree with; what is None is not compared.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// The sealing key that the directory has.
    pub sealing: Option<SealingPublic>,
    /// The mark that the directory has: the file counts at least so many durable points.
    pub mark: Option<u64>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// All that is wrong.
    pub findings: Vec<Finding>,
    /// Whether only the outer hashes were checked, because the mailbox is locked.
    pub locked: bool,
    /// Pages of the file that are whole.
    pub pages: u32,
    /// Messages that were checked.
    pub messages: u64,
    /// Bodies that were read and compared with their hash.
    pub bodies: u64,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    fn add(&mut self, problem: Problem) {
        self.findings.push(Finding { repair: problem.repair(), problem });
    }
}

/// Something that is wrong, and what mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong, and where.
    pub problem: Problem,
    /// What a repair does about it.
    pub repair: Repair,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; repair: {}", self.problem, self.repair)
    }
}

/// What a repair does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// The figure is computed anew from the messages.
    Recount,
    /// The numbers that come next are set behind all that are there.
    Renumber,
    /// The folder learns the keyword.
    LearnKeyword,
    /// The row takes over what the body says.
    FollowBody,
    /// The messages get a folder of their own.
    AdoptMessages,
    /// What nobody needs is removed.
    RemoveOrphan,
    /// What does not read back becomes blanks of the same length; the rest is kept.
    Blank,
    /// The message is kept, with a body that says that its own is lost.
    Placeholder,
    /// The text is kept, and its hash computed anew.
    Rehash,
    /// ENVELOPE and BODYSTRUCTURE are computed anew.
    Describe,
    /// The word index is built anew.
    Reindex,
    /// SQLite's indexes are built anew.
    RebuildIndexes,
    /// The file is written anew from all that can be read: a step of its own.
    Salvage,
    /// An operator has to decide.
    Operator,
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Recount => "count again",
            Self::Renumber => "set the next number behind all others",
            Self::LearnKeyword => "make the keyword known",
            Self::FollowBody => "take it over from the body",
            Self::AdoptMessages => "put the messages into a folder of their own",
            Self::RemoveOrphan => "remove it",
            Self::Blank => "replace what does not read back by blanks",
            Self::Placeholder => "keep the message with a note in place of its text",
            Self::Rehash => "keep the text and hash it anew",
            Self::Describe => "describe the message anew",
            Self::Reindex => "build the search index anew",
            Self::RebuildIndexes => "build the table's indexes anew",
            Self::Salvage => "write the file anew from what can be read",
            Self::Operator => "none; an operator has to decide",
        })
    }
}

/// What is wrong, and where. The texts hold no mail and no folder names: they may be logged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum Problem {
    #[error("page {page} of the file is damaged")]
    Page { page: u32 },
    #[error("frame {frame} of the log is damaged")]
    Frame { frame: u32 },
    #[error("table {table}: {text}")]
    Structure { table: String, text: String },
    #[error("folder {folder}: {counter} is {kept}, and should be {counted}")]
    Counter { folder: FolderId, counter: &'static str, kept: u64, counted: u64 },
    #[error("folder {folder}: UID {uid} is not below UIDNEXT")]
    UidNext { folder: FolderId, uid: u32 },
    #[error("folder {folder}: UIDNEXT lies beyond the reserved range")]
    UidRange { folder: FolderId },
    #[error("folder {folder}: UID {uid} is there and counts as expunged")]
    Expunged { folder: FolderId, uid: u32 },
    #[error("folder {folder}: a modification sequence lies beyond the folder's or the next one")]
    ModSeq { folder: FolderId },
    #[error("folder {folder}, UID {uid}: a keyword that the folder does not know")]
    Keyword { folder: FolderId, uid: u32 },
    #[error("folder {folder}, UID {uid}: {what} is not that of the body")]
    Disagrees { folder: FolderId, uid: u32, what: &'static str },
    #[error("folder {folder}, UID {uid}: the body is missing")]
    NoBody { folder: FolderId, uid: u32 },
    #[error("messages of folder {folder}, which is missing")]
    NoFolder { folder: FolderId },
    #[error("UIDVALIDITY {uid_validity} would be given out again")]
    UidValidity { uid_validity: u32 },
    #[error("body {body}: {kept} references, and should be {counted}")]
    Refs { body: i64, kept: i64, counted: i64 },
    #[error("body {body}: the header is missing or does not read back")]
    Header { body: i64 },
    #[error("body {body}: piece {number} is missing or does not read back")]
    Piece { body: i64, number: u32 },
    #[error("body {body}: piece {number} is beyond its end")]
    ExtraPiece { body: i64, number: u32 },
    #[error("body {body}: the text is not that of its hash")]
    Hash { body: i64 },
    #[error("body {body}: its description is not what the text gives")]
    Description { body: i64 },
    #[error("{table}: {body} belongs to no body")]
    Orphan { table: &'static str, body: i64 },
    #[error("search index: {text}")]
    Index { text: String },
    #[error("the file is another account's")]
    Account,
    #[error("the sealing key is not the one that the directory has")]
    Sealing,
    #[error("the file counts {points} durable points, and its mark is {mark}: it is an older copy")]
    Mark { points: u64, mark: u64 },
}

impl Problem {
    /// What mends it.
    pub fn repair(&self) -> Repair {
        match self {
            Self::Page { .. } | Self::Frame { .. } => Repair::Salvage,
            Self::Structure { text, .. } if text.contains("index") => Repair::RebuildIndexes,
            Self::Structure { .. } => Repair::Salvage,
            Self::Counter { .. } | Self::Refs { .. } => Repair::Recount,
            Self::UidNext { .. }
            | Self::UidRange { .. }
            | Self::ModSeq { .. }
            | Self::UidValidity { .. } => Repair::Renumber,
            Self::Expunged { .. } | Self::ExtraPiece { .. } | Self::Orphan { .. } => {
                Repair::RemoveOrphan
            }
            Self::Keyword { .. } => Repair::LearnKeyword,
            Self::Disagrees { .. } => Repair::FollowBody,
            Self::NoBody { .. } => Repair::Placeholder,
            Self::NoFolder { .. } => Repair::AdoptMessages,
            Self::Header { .. } | Self::Piece { .. } => Repair::Blank,
            Self::Hash { .. } => Repair::Rehash,
            Self::Description { .. } => Repair::Describe,
            Self::Index { .. } => Repair::Reindex,
            Self::Account | Self::Sealing | Self::Mark { .. } => Repair::Operator,
        }
    }
}

/// Tells how far the work has come: so much of so much. Both may grow.
pub type Progress = Box<dyn FnMut(u64, u64) + Send>;
