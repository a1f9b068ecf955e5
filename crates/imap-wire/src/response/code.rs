//! Response codes (RFC 9051 §7.1, RFC 4315, RFC 5530, RFC 7162 and others).

use super::{put, put_atom, put_flags, string};
use crate::flag::Flag;
use crate::sequence::NumberSet;

/// What stands in brackets before the text of a status response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Code {
    /// ALERT: the text must be shown to the user.
    Alert,
    /// ALREADYEXISTS
    AlreadyExists,
    /// APPENDUID: UIDVALIDITY and the UIDs; not empty.
    AppendUid {
        /// Of the mailbox appended to.
        uid_validity: u32,
        /// Of the new messages, in the order of the command, which is ascending.
        uids: NumberSet,
    },
    /// AUTHENTICATIONFAILED
    AuthenticationFailed,
    /// AUTHORIZATIONFAILED
    AuthorizationFailed,
    /// BADEVENT and the events that are known (RFC 5465 §8).
    BadEvent(&'static [&'static str]),
    /// BADCHARSET and the character sets that are known.
    BadCharset(Vec<String>),
    /// BADURL (RFC 4469) and the URL that CATENATE could make nothing of.
    BadUrl(Vec<u8>),
    /// CANNOT
    Cannot,
    /// CAPABILITY
    Capability(Vec<String>),
    /// CLIENTBUG
    ClientBug,
    /// CLOSED
    Closed,
    /// CONTACTADMIN
    ContactAdmin,
    /// COPYUID: both sets not empty and of equal length, numbers paired in ascending order.
    CopyUid {
        /// Of the destination.
        uid_validity: u32,
        /// UIDs in the source.
        from: NumberSet,
        /// UIDs in the destination.
        to: NumberSet,
    },
    /// CORRUPTION
    Corruption,
    /// EXPIRED
    Expired,
    /// EXPUNGEISSUED
    ExpungeIssued,
    /// HASCHILDREN
    HasChildren,
    /// HIGHESTMODSEQ
    HighestModSeq(u64),
    /// INPROGRESS and the tag of the command that takes its time; how far it is, is not told (RFC 9585).
    InProgress(String),
    /// INUSE
    InUse,
    /// LIMIT
    Limit,
    /// COMPRESSIONACTIVE (RFC 4978)
    CompressionActive,
    /// MAILBOXID (RFC 8474): the number that [`super::mailbox_id`] writes.
    MailboxId(u32),
    /// METADATA LONGENTRIES (RFC 5464): the size of the largest value that was left out.
    MetadataLongEntries(u64),
    /// METADATA MAXSIZE: the largest value that is taken.
    MetadataMaxSize(u64),
    /// METADATA TOOMANY: no more entries are taken.
    MetadataTooMany,
    /// MODIFIED: the messages that STORE did not change; not empty.
    Modified(NumberSet),
    /// NOMODSEQ
    NoModSeq,
    /// NONEXISTENT
    NonExistent,
    /// NOTIFICATIONOVERFLOW (RFC 5465 §5.8)
    NotificationOverflow,
    /// NOUPDATE and the tag of the search that is not updated (RFC 5267 §4.3.1).
    NoUpdate(String),
    /// NOPERM
    NoPerm,
    /// NOTSAVED
    NotSaved,
    /// OVERQUOTA
    OverQuota,
    /// PARSE
    Parse,
    /// PERMANENTFLAGS, with `\*` if `any`.
    PermanentFlags {
        /// What a client can change for good.
        flags: Vec<Flag>,
        /// New keywords can be made.
        any: bool,
    },
    /// PRIVACYREQUIRED
    PrivacyRequired,
    /// READ-ONLY
    ReadOnly,
    /// READ-WRITE
    ReadWrite,
    /// SERVERBUG
    ServerBug,
    /// TOOBIG (RFC 7889)
    TooBig,
    /// TRYCREATE
    TryCreate,
    /// UIDNEXT
    UidNext(u32),
    /// UIDNOTSTICKY
    UidNotSticky,
    /// UIDREQUIRED (RFC 9586): the client said that it would name messages by UID only.
    UidRequired,
    /// UIDVALIDITY
    UidValidity(u32),
    /// UNAVAILABLE
    Unavailable,
    /// UNKNOWN-CTE (RFC 3516)
    UnknownCte,
    /// UNSEEN (IMAP4rev1): the first unseen message's sequence number.
    Unseen(u32),
    /// USEATTR (RFC 6154)
    UseAttr,
}

impl Code {
    /// The code without its brackets.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::AppendUid { uid_validity, uids } => {
                put(out, format_args!("APPENDUID {uid_validity} {uids}"))
            }
            Self::CopyUid { uid_validity, from, to } => {
                put(out, format_args!("COPYUID {uid_validity} {from} {to}"))
            }
            Self::BadCharset(known) => write_charsets(out, known),
            Self::BadUrl(url) => {
                out.extend_from_slice(b"BADURL ");
                write_url(out, url);
            }
            Self::BadEvent(known) => put(out, format_args!("BADEVENT ({})", known.join(" "))),
            Self::NoUpdate(tag) => {
                out.extend_from_slice(b"NOUPDATE ");
                // `]` would end the code.
                string(out, tag.replace(']', "?").as_bytes());
            }
            Self::Capability(names) => {
                out.extend_from_slice(b"CAPABILITY");
                for name in names {
                    out.push(b' ');
                    // `]` would end the code.
                    put_atom(out, &name.replace(']', "?"));
                }
            }
            Self::HighestModSeq(value) => put(out, format_args!("HIGHESTMODSEQ {value}")),
            Self::InProgress(tag) => {
                out.extend_from_slice(b"INPROGRESS (");
                string(out, tag.replace(']', "?").as_bytes());
                out.extend_from_slice(b" NIL NIL)");
            }
            Self::MailboxId(id) => {
                put(out, format_args!("MAILBOXID ({})", super::mailbox_id((*id).into())));
            }
            Self::MetadataLongEntries(size) => {
                put(out, format_args!("METADATA LONGENTRIES {size}"));
            }
            Self::MetadataMaxSize(size) => put(out, format_args!("METADATA MAXSIZE {size}")),
            Self::MetadataTooMany => out.extend_from_slice(b"METADATA TOOMANY"),
            Self::Modified(set) => put(out, format_args!("MODIFIED {set}")),
            Self::PermanentFlags { flags, any } => {
                out.extend_from_slice(b"PERMANENTFLAGS ");
                put_flags(out, flags, *any);
            }
            Self::UidNext(value) => put(out, format_args!("UIDNEXT {value}")),
            Self::UidValidity(value) => put(out, format_args!("UIDVALIDITY {value}")),
            Self::Unseen(number) => put(out, format_args!("UNSEEN {number}")),
            plain => out.extend_from_slice(plain.name().as_bytes()),
        }
    }

    /// Which messages it says were put into a mailbox: its UIDVALIDITY, and their UIDs.
    pub fn filed(&self) -> Option<(u32, NumberSet)> {
        match self {
            Self::AppendUid { uid_validity, uids } => Some((*uid_validity, uids.clone())),
            Self::CopyUid { uid_validity, to, .. } => Some((*uid_validity, to.clone())),
            _ => None,
        }
    }

    /// The name of a code; all there is for those without arguments.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Alert => "ALERT",
            Self::AlreadyExists => "ALREADYEXISTS",
            Self::AppendUid { .. } => "APPENDUID",
            Self::AuthenticationFailed => "AUTHENTICATIONFAILED",
            Self::AuthorizationFailed => "AUTHORIZATIONFAILED",
            Self::BadCharset(_) => "BADCHARSET",
            Self::BadUrl(_) => "BADURL",
            Self::BadEvent(_) => "BADEVENT",
            Self::Cannot => "CANNOT",
            Self::Capability(_) => "CAPABILITY",
            Self::ClientBug => "CLIENTBUG",
            Self::Closed => "CLOSED",
            Self::ContactAdmin => "CONTACTADMIN",
            Self::CopyUid { .. } => "COPYUID",
            Self::Corruption => "CORRUPTION",
            Self::Expired => "EXPIRED",
            Self::ExpungeIssued => "EXPUNGEISSUED",
            Self::HasChildren => "HASCHILDREN",
            Self::HighestModSeq(_) => "HIGHESTMODSEQ",
            Self::InProgress(_) => "INPROGRESS",
            Self::InUse => "INUSE",
            Self::Limit => "LIMIT",
            Self::CompressionActive => "COMPRESSIONACTIVE",
            Self::MailboxId(_) => "MAILBOXID",
            Self::MetadataLongEntries(_) | Self::MetadataMaxSize(_) | Self::MetadataTooMany => {
                "METADATA"
            }
            Self::Modified(_) => "MODIFIED",
            Self::NoModSeq => "NOMODSEQ",
            Self::NonExistent => "NONEXISTENT",
            Self::NoPerm => "NOPERM",
            Self::NotificationOverflow => "NOTIFICATIONOVERFLOW",
            Self::NoUpdate(_) => "NOUPDATE",
            Self::NotSaved => "NOTSAVED",
            Self::OverQuota => "OVERQUOTA",
            Self::Parse => "PARSE",
            Self::PermanentFlags { .. } => "PERMANENTFLAGS",
            Self::PrivacyRequired => "PRIVACYREQUIRED",
            Self::ReadOnly => "READ-ONLY",
            Self::ReadWrite => "READ-WRITE",
            Self::ServerBug => "SERVERBUG",
            Self::TooBig => "TOOBIG",
            Self::TryCreate => "TRYCREATE",
            Self::UidNext(_) => "UIDNEXT",
            Self::UidNotSticky => "UIDNOTSTICKY",
            Self::UidRequired => "UIDREQUIRED",
            Self::UidValidity(_) => "UIDVALIDITY",
            Self::Unavailable => "UNAVAILABLE",
            Self::UnknownCte => "UNKNOWN-CTE",
            Self::Unseen(_) => "UNSEEN",
            Self::UseAttr => "USEATTR",
        }
    }
}

/// As it was sent, but for what would end the code or the line, or is no ASCII: that is percent-encoded.
fn write_url(out: &mut Vec<u8>, url: &[u8]) {
    for octet in url {
        match octet {
            b' '..=b'~' if *octet != b']' => out.push(*octet),
            octet => put(out, format_args!("%{octet:02X}")),
        }
    }
}

fn write_charsets(out: &mut Vec<u8>, known: &[String]) {
    out.extend_from_slice(b"BADCHARSET");
    for (index, name) in known.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b" (" } else { b" " });
        string::astring(out, name.as_bytes());
    }
    if !known.is_empty() {
        out.push(b')');
    }
}
