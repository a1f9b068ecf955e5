//! Commands about the account around the mail: QUOTA (RFC 9208), ACL (RFC 4314) and METADATA (RFC 5464).

use super::{Command, scan_mailbox, utf8};
use crate::mailbox_name::MailboxName;
use crate::scan::{Scanned, Scanner, syntax};

/// The most entries that one command may name.
const MAX_ENTRIES: usize = 256;

/// SETQUOTA, GETQUOTA and GETQUOTAROOT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuotaCommand {
    /// GETQUOTA of a root.
    Get(String),
    /// GETQUOTAROOT of a mailbox.
    GetRoot(MailboxName),
    /// SETQUOTA; nobody may, so that the limits are not kept.
    Set(String),
}

/// The commands on access rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AclCommand {
    /// GETACL
    Get(MailboxName),
    /// SETACL
    Set {
        /// Of which mailbox.
        mailbox: MailboxName,
        /// Whose.
        identifier: String,
        /// The rights, perhaps after `+` or `-`.
        rights: String,
    },
    /// DELETEACL
    Delete {
        /// Of which mailbox.
        mailbox: MailboxName,
        /// Whose.
        identifier: String,
    },
    /// LISTRIGHTS
    List {
        /// Of which mailbox.
        mailbox: MailboxName,
        /// Whose.
        identifier: String,
    },
    /// MYRIGHTS
    Mine(MailboxName),
}

/// GETMETADATA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetMetadata {
    /// The mailbox; empty for the server.
    pub mailbox: MailboxName,
    /// Larger values are left out.
    pub max_size: Option<u64>,
    /// How far below the entries.
    pub depth: MetadataDepth,
    /// The names of entries, as sent; at least one. They match in any case.
    pub entries: Vec<String>,
}

/// DEPTH of GETMETADATA.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MetadataDepth {
    /// The entry itself.
    #[default]
    Zero,
    /// And what stands right below it.
    One,
    /// And all that stands below it.
    Infinity,
}

/// SETMETADATA: entries and their new values; none takes the entry away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetMetadata {
    /// The mailbox; empty for the server.
    pub mailbox: MailboxName,
    /// At least one.
    pub values: Vec<(String, Option<Vec<u8>>)>,
}

pub(super) fn scan(scanner: &mut Scanner<'_>, name: &str) -> Scanned<Command> {
    Ok(match name {
        "GETQUOTA" => Command::Quota(QuotaCommand::Get(utf8(scanner.astring()?)?)),
        "GETQUOTAROOT" => Command::Quota(QuotaCommand::GetRoot(scan_mailbox(scanner)?)),
        "SETQUOTA" => Command::Quota(QuotaCommand::Set(scan_limits(scanner)?)),
        "GETMETADATA" => Command::GetMetadata(scan_get_metadata(scanner)?),
        "SETMETADATA" => Command::SetMetadata(scan_set_metadata(scanner)?),
        _ => Command::Acl(scan_acl(scanner, name)?),
    })
}

/// `quotaroot SP "(" [resource SP limit …] ")"`
fn scan_limits(scanner: &mut Scanner<'_>) -> Scanned<String> {
    let root = utf8(scanner.astring()?)?;
    scanner.space()?;
    scanner.list(|scanner| {
        scanner.atom()?;
        scanner.space()?;
        scanner.number64()
    })?;
    Ok(root)
}

fn scan_acl(scanner: &mut Scanner<'_>, name: &str) -> Scanned<AclCommand> {
    let mailbox = scan_mailbox(scanner)?;
    let mut further = || {
        scanner.space()?;
        utf8(scanner.astring()?)
    };
    Ok(match name {
        "GETACL" => AclCommand::Get(mailbox),
        "SETACL" => AclCommand::Set { mailbox, identifier: further()?, rights: further()? },
        "DELETEACL" => AclCommand::Delete { mailbox, identifier: further()? },
        "LISTRIGHTS" => AclCommand::List { mailbox, identifier: further()? },
        _ => AclCommand::Mine(mailbox),
    })
}

fn scan_get_metadata(scanner: &mut Scanner<'_>) -> Scanned<GetMetadata> {
    let mut command = GetMetadata {
        mailbox: MailboxName::from_wire(Vec::new()),
        max_size: None,
        depth: MetadataDepth::Zero,
        entries: Vec::new(),
    };
    let before = scanner.peek() == Some(b'(');
    if before {
        scan_metadata_options(scanner, &mut command)?;
        scanner.space()?;
    }
    command.mailbox = scan_mailbox(scanner)?;
    scanner.space()?;
    // The grammar has the options before the mailbox, the examples of the RFC after it.
    if !before && scanner.rest().first() == Some(&b'(') && !scanner.rest().starts_with(b"(/") {
        scan_metadata_options(scanner, &mut command)?;
        scanner.space()?;
    }
    command.entries = match scanner.peek() {
        Some(b'(') => scanner.list(scan_entry)?,
        _ => vec![scan_entry(scanner)?],
    };
    check_count(command.entries.len())?;
    Ok(command)
}

fn scan_metadata_options(scanner: &mut Scanner<'_>, command: &mut GetMetadata) -> Scanned<()> {
    scanner.list(|scanner| {
        match scanner.keyword()?.as_str() {
            "MAXSIZE" => {
                scanner.space()?;
                command.max_size = Some(scanner.number64()?);
            }
            "DEPTH" => {
                scanner.space()?;
                command.depth = match scanner.keyword()?.as_str() {
                    "0" => MetadataDepth::Zero,
                    "1" => MetadataDepth::One,
                    "INFINITY" => MetadataDepth::Infinity,
                    _ => return syntax("unknown DEPTH"),
                };
            }
            _ => return syntax("unknown option of GETMETADATA"),
        }
        Ok(())
    })?;
    Ok(())
}

fn scan_set_metadata(scanner: &mut Scanner<'_>) -> Scanned<SetMetadata> {
    let mailbox = scan_mailbox(scanner)?;
    scanner.space()?;
    let values = scanner.list(|scanner| {
        let entry = scan_entry(scanner)?;
        scanner.space()?;
        Ok((entry, scanner.nstring8()?))
    })?;
    check_count(values.len())?;
    Ok(SetMetadata { mailbox, values })
}

/// Entries for LIST's METADATA option (RFC 9590).
pub(super) fn scan_entries(scanner: &mut Scanner<'_>) -> Scanned<Vec<String>> {
    let entries = scanner.list(scan_entry)?;
    check_count(entries.len())?;
    Ok(entries)
}

fn check_count(count: usize) -> Scanned<()> {
    match count {
        0 => syntax("an entry is missing"),
        1..=MAX_ENTRIES => Ok(()),
        _ => syntax("too many entries"),
    }
}

/// RFC 5464 §4: names begin with a slash, and do not end with one.
fn scan_entry(scanner: &mut Scanner<'_>) -> Scanned<String> {
    let name = utf8(scanner.astring()?)?;
    let fits = name.starts_with('/')
        && !name.ends_with('/')
        && !name.contains("//")
        && name.len() <= 1_024
        && name.bytes().all(|octet| octet.is_ascii_graphic() && !matches!(octet, b'*' | b'%'));
    if fits { Ok(name) } else { syntax("the entry's name is malformed") }
}
