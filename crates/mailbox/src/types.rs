//! The plain values of a mailbox: ids, flags, dates, rows and the answers of its operations.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::{BitOr, BitOrAssign};
use std::sync::Arc;

use bytes::Bytes;
use letterlock_imap_wire::{InternalDate, SpecialUse};
use letterlock_vault::DeliveryId;

/// A set of UIDs: ascending ranges that do not touch. `*` is resolved by the caller.
pub type UidRanges = letterlock_imap_wire::NumberSet;

/// Every UID there can be.
pub fn all_uids() -> UidRanges {
    UidRanges::from_ranges([(1, u32::MAX)])
}

/// Names a folder within its account, for ever: a renamed folder keeps it, a new one never gets a used one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolderId(pub(crate) i64);

impl fmt::Display for FolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A modification sequence (RFC 7162): counts through the whole account, 63 bits, never 0 for a folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModSeq(pub u64);

impl fmt::Display for ModSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a message's content for ever (RFC 8474 EMAILID): copies share it. Random, so that it is not used twice
/// even when a power cut forgets a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EmailId(pub(crate) i64);

impl fmt::Display for EmailId {
    /// 17 characters: "M" and 16 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "M{:016x}", self.0)
    }
}

impl EmailId {
    /// The id that a client writes; None if it is none of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('M').filter(|digits| digits.len() == 16)?;
        i64::from_str_radix(digits, 16).ok().map(Self)
    }
}

/// A set of the flags that IMAP defines itself. `\Recent` is no flag of a message here, see [`Selected::recent`].
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SystemFlags(u8);

impl SystemFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// `\Seen`
    pub const SEEN: Self = Self(1);
    /// `\Answered`
    pub const ANSWERED: Self = Self(2);
    /// `\Flagged`
    pub const FLAGGED: Self = Self(4);
    /// `\Deleted`
    pub const DELETED: Self = Self(8);
    /// `\Draft`
    pub const DRAFT: Self = Self(16);
    /// Each flag with the name that IMAP gives it.
    pub const NAMES: [(Self, &'static str); 5] = [
        (Self::ANSWERED, "\\Answered"),
        (Self::FLAGGED, "\\Flagged"),
        (Self::DELETED, "\\Deleted"),
        (Self::SEEN, "\\Seen"),
        (Self::DRAFT, "\\Draft"),
    ];

    /// Whether all of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags without those of `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// As the file keeps them.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// From the file's number; bits of later versions are dropped.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 31)
    }
}

impl BitOr for SystemFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for SystemFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Debug for SystemFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(
                Self::NAMES.iter().filter(|(flag, _)| self.contains(*flag)).map(|(_, name)| name),
            )
            .finish()
    }
}

/// The flags of a message. Keywords compare without regard to ASCII case; a folder keeps its first spelling.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// What IMAP defines.
    pub system: SystemFlags,
    /// What clients defined: `$Forwarded`, `NonJunk`; each an atom.
    pub keywords: BTreeSet<String>,
}

impl From<SystemFlags> for Flags {
    fn from(system: SystemFlags) -> Self {
        Self { system, keywords: BTreeSet::new() }
    }
}

/// What STORE does with the flags it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagOperation {
    /// `FLAGS`: these and no others.
    Set,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}

/// One STORE's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagChange {
    /// How the flags are applied.
    pub operation: FlagOperation,
    /// Which they are.
    pub flags: Flags,
}

/// A folder, as LIST shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// The folder; None for a name that is only there because others lie under it (`\NonExistent`).
    pub id: Option<FolderId>,
    /// The full name, normalised.
    pub name: String,
    /// Names this folder and no other of the account, ever; 0 where `id` is None. Also the MAILBOXID.
    pub uid_validity: u32,
    /// What it is for.
    pub special_use: Option<SpecialUse>,
    /// Whether the name is subscribed.
    pub subscribed: bool,
    /// Whether folders lie under it.
    pub has_children: bool,
}

/// A folder's figures (STATUS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The folder.
    pub folder: FolderId,
    /// How many messages it holds.
    pub messages: u32,
    /// How many of them no session has been told of as `\Recent`.
    pub recent: u32,
    /// How many lack `\Seen`.
    pub unseen: u32,
    /// How many have `\Deleted`.
    pub deleted: u32,
    /// Sum of the sizes, in octets.
    pub size: u64,
    /// The UID that the next message gets, at least.
    pub uid_next: u32,
    /// Names this folder and no other.
    pub uid_validity: u32,
    /// The highest modification sequence of the folder.
    pub highest_modseq: ModSeq,
}

/// How a folder is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelectMode {
    /// SELECT: takes the `\Recent` messages.
    ReadWrite,
    /// EXAMINE: leaves them.
    ReadOnly,
}

/// A folder as SELECT found it: a snapshot at `highest_modseq`.
#[derive(Debug, Clone)]
pub struct Selected {
    /// The folder, for all further calls.
    pub folder: FolderId,
    /// Its normalised name.
    pub name: String,
    /// All UIDs, ascending; message number n is element n−1. Shared: change it by `Arc::make_mut`.
    pub uids: Arc<Vec<u32>>,
    /// Names this folder and no other.
    pub uid_validity: u32,
    /// The UID that the next message gets, at least.
    pub uid_next: u32,
    /// The folder's modification sequence; ask [`changes`](crate::Handle::changes) since this one.
    pub highest_modseq: ModSeq,
    /// Messages from this UID on are `\Recent` for this session.
    pub recent: u32,
    /// The first UID without `\Seen`.
    pub unseen: Option<u32>,
    /// How many lack `\Seen`.
    pub unseen_count: u32,
    /// The keywords that the folder knows.
    pub keywords: Vec<String>,
}

/// What of each message [`rows`](crate::Handle::rows) is to read besides the row itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Columns {
    /// The ENVELOPE, ready for the wire.
    pub envelope: bool,
    /// The BODYSTRUCTURE, ready for the wire.
    pub bodystructure: bool,
    /// The BODY (without extension data), ready for the wire.
    pub body: bool,
    /// The header block with its empty line, as it came.
    pub header: bool,
}

/// A message's row.
#[derive(Debug, Clone)]
pub struct Row {
    /// The UID.
    pub uid: u32,
    /// When it was last changed.
    pub modseq: ModSeq,
    /// Its flags.
    pub flags: Flags,
    /// When it came in.
    pub internal_date: InternalDate,
    /// When it came into this folder (RFC 8514), seconds since the Unix epoch.
    pub saved: i64,
    /// Octets of the whole message.
    pub size: u64,
    /// Names its content.
    pub email_id: EmailId,
    /// If asked for.
    pub envelope: Option<Bytes>,
    /// If asked for.
    pub bodystructure: Option<Bytes>,
    /// If asked for.
    pub body: Option<Bytes>,
    /// If asked for.
    pub header: Option<Bytes>,
}

impl Row {
    /// Octets of the columns that were asked for.
    pub(crate) fn column_bytes(&self) -> usize {
        [&self.envelope, &self.bodystructure, &self.body, &self.header]
            .into_iter()
            .flatten()
            .map(Bytes::len)
            .sum()
    }
}

/// A message's flags and when they were last changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagRow {
    /// The UID.
    pub uid: u32,
    /// When it was last changed.
    pub modseq: ModSeq,
    /// Its flags now.
    pub flags: Flags,
}

/// What became of a STORE.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreOutcome {
    /// Every message that now has what was asked for, also where nothing had to change; ascending by UID.
    pub changed: Vec<FlagRow>,
    /// When each of `changed` had last been changed before this, in the same order.
    pub before: Vec<ModSeq>,
    /// Those left alone because they changed after UNCHANGEDSINCE (RFC 7162 §3.1.3); ascending.
    pub modified: Vec<u32>,
}

/// A message to be appended.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// The message, kept octet by octet.
    pub bytes: Bytes,
    /// Its flags.
    pub flags: Flags,
    /// When it came in.
    pub internal_date: InternalDate,
}

/// What APPEND answers (RFC 4315).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The folder.
    pub folder: FolderId,
    /// Names the folder.
    pub uid_validity: u32,
    /// The new UIDs, ascending, in the order of the messages.
    pub uids: Vec<u32>,
}

/// What COPY and MOVE answer (RFC 4315, RFC 6851).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Names the target folder.
    pub uid_validity: u32,
    /// Old UID and new UID, both ascending. After MOVE the old ones are gone.
    pub pairs: Vec<(u32, u32)>,
}

/// What changed in a folder since a modification sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The folder's modification sequence of which this speaks: ask since this one next time.
    pub to: ModSeq,
    /// UIDs that are gone. If `full`, every UID below UIDNEXT that is not there.
    pub vanished: UidRanges,
    /// Messages that were there at the old sequence and have changed since; ascending by UID.
    pub changed: Vec<FlagRow>,
    /// Messages that came since, with their flags; ascending by UID.
    pub arrived: Vec<FlagRow>,
    /// The old sequence lies in a range that a crash has lost, or too far back: all messages are listed.
    pub full: bool,
}

/// A message for the delivery of accepted mail.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The accepted message.
    pub id: DeliveryId,
    /// The recipient, canonical: filed once for each pair of id and recipient.
    pub recipient: String,
    /// Where it goes; INBOX if there is no such folder any more.
    pub folder: String,
    /// The flags it gets.
    pub flags: Flags,
    /// When it was accepted.
    pub internal_date: InternalDate,
    /// The message.
    pub bytes: Bytes,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filed {
    /// It is in the folder now.
    New {
        /// The folder.
        folder: FolderId,
        /// Its UID there.
        uid: u32,
    },
    /// It had been filed before; nothing was done.
    Already,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_sets() {
        let both = SystemFlags::SEEN | SystemFlags::DRAFT;
        assert!(both.contains(SystemFlags::SEEN) && !both.contains(SystemFlags::DELETED));
        assert_eq!(both.without(SystemFlags::SEEN), SystemFlags::DRAFT);
        assert_eq!(SystemFlags::from_bits(0xff).bits(), 31);
        assert_eq!(format!("{both:?}"), r#"{"\\Seen", "\\Draft"}"#);
    }

    #[test]
    fn email_ids_read_back() {
        let id = EmailId(0x7fff_0000_0000_0001);
        assert_eq!(EmailId::parse(&id.to_string()), Some(id));
        for text in
            ["", "M", "M7fff", "X7fff000000000001", "M7fff00000000000g", "Mffffffffffffffff"]
        {
            assert_eq!(EmailId::parse(text), None, "{text}");
        }
    }
}
