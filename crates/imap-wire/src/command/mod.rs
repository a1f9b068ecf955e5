//! Commands of a client, typed.
//!
//! [`parse`] takes a whole command with its literals in place. APPEND and REPLACE are not here: their messages stream
//! through the reader as events of their own. Whether a command is allowed in the session's state, and whether an extension's
//! syntax was enabled, is for the frontend.

pub mod account;
mod append;
pub mod fetch;
pub mod list;
pub mod multi;
pub mod notify;
pub mod search;
mod select;
pub mod sort;
mod store;

pub use append::Replaced;
pub(crate) use append::{AppendHead, MessageHead, Piece, Stretch, Within, scan_further, scan_head};
pub(crate) use fetch::scan_section;
pub use select::{QresyncParameter, SelectCommand};
pub use store::{CopyCommand, StoreAction, StoreCommand};

use crate::flag::{SpecialUse, scan_use};
use crate::mailbox_name::MailboxName;
use crate::scan::{Scanned, Scanner, SyntaxError, is_astring_char, syntax};
use crate::secret::Secret;
use crate::sequence::{self, SequenceSet};
use account::{AclCommand, GetMetadata, QuotaCommand, SetMetadata};
use fetch::FetchCommand;
use list::{ListCommand, StatusItem};
use multi::MultiSearch;
use notify::NotifyCommand;
use search::SearchCommand;
use sort::{SortCommand, ThreadCommand};

/// ID takes at most this many fields (RFC 2971 §3.3).
const MAX_ID_FIELDS: usize = 30;

/// A command and the tag that its completion repeats.
#[derive(Debug, Clone, PartialEq)]
pub struct Tagged {
    /// The client's tag: printable ASCII.
    pub tag: String,
    /// What is asked.
    pub command: Command,
}

/// What a client asks. Names are as sent ([`MailboxName::decode`] undoes their form).
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// CAPABILITY
    Capability,
    /// NOOP
    Noop,
    /// LOGOUT
    Logout,
    /// ID (RFC 2971): fields and values, empty for NIL.
    Id(Vec<(String, Option<String>)>),
    /// STARTTLS: answer, then [`crate::CommandReader::discard_input`] and the handshake.
    StartTls,
    /// AUTHENTICATE: the driver calls [`crate::CommandReader::expect_continuation`] for each response line.
    Authenticate {
        /// In upper case.
        mechanism: String,
        /// The initial response of RFC 4959 in base64 as sent; `=` is an empty one.
        initial: Option<Secret>,
    },
    /// LOGIN
    Login {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// ENABLE (RFC 9051 §6.3.1): capability names in upper case; at least one.
    Enable(Vec<String>),
    /// SELECT
    Select(SelectCommand),
    /// EXAMINE
    Examine(SelectCommand),
    /// CREATE, with the uses of RFC 6154 §3.
    Create {
        /// The new name.
        mailbox: MailboxName,
        /// `USE (…)`; `None` inside for an attribute that is not known: answer NO `[USEATTR]`.
        uses: Vec<Option<SpecialUse>>,
    },
    /// DELETE
    Delete(MailboxName),
    /// RENAME
    Rename {
        /// The present name.
        from: MailboxName,
        /// The new name.
        to: MailboxName,
    },
    /// SUBSCRIBE
    Subscribe(MailboxName),
    /// UNSUBSCRIBE
    Unsubscribe(MailboxName),
    /// LIST, basic or extended.
    List(ListCommand),
    /// LSUB (RFC 3501 §6.3.9)
    Lsub {
        /// The reference name.
        reference: MailboxName,
        /// The pattern.
        pattern: MailboxName,
    },
    /// UNAUTHENTICATE (RFC 8437)
    Unauthenticate,
    /// NAMESPACE
    Namespace,
    /// STATUS
    Status {
        /// The mailbox.
        mailbox: MailboxName,
        /// At least one.
        items: Vec<StatusItem>,
    },
    /// IDLE: the driver sends `+`, then [`crate::CommandReader::expect_continuation`] for DONE.
    Idle,
    /// CHECK (RFC 3501 §6.4.1)
    Check,
    /// CLOSE
    Close,
    /// UNSELECT
    Unselect,
    /// EXPUNGE
    Expunge,
    /// UID EXPUNGE
    UidExpunge(SequenceSet),
    /// SEARCH and UID SEARCH
    Search(SearchCommand),
    /// ESEARCH (RFC 7377)
    MultiSearch(MultiSearch),
    /// CANCELUPDATE (RFC 5267): the tags of searches, at least one.
    CancelUpdate(Vec<String>),
    /// NOTIFY (RFC 5465)
    Notify(NotifyCommand),
    /// FETCH and UID FETCH
    Fetch(FetchCommand),
    /// STORE and UID STORE
    Store(StoreCommand),
    /// COPY and UID COPY
    Copy(CopyCommand),
    /// MOVE and UID MOVE
    Move(CopyCommand),
    /// SORT and UID SORT (RFC 5256)
    Sort(SortCommand),
    /// THREAD and UID THREAD (RFC 5256)
    Thread(ThreadCommand),
    /// COMPRESS and the mechanism in upper case (RFC 4978)
    Compress(String),
    /// LANGUAGE and the languages that the client likes, best first (RFC 5255); empty asks which there are.
    Language(Vec<String>),
    /// The commands of RFC 9208.
    Quota(QuotaCommand),
    /// The commands of RFC 4314.
    Acl(AclCommand),
    /// GETMETADATA (RFC 5464)
    GetMetadata(GetMetadata),
    /// SETMETADATA (RFC 5464)
    SetMetadata(SetMetadata),
}

/// A command that could not be parsed, and its tag if that much was legible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The tag to answer with; untagged without it.
    pub tag: Option<String>,
    /// What is wrong.
    pub error: SyntaxError,
}

/// Parses one command: its lines with literals in place, without the final CRLF. Nesting is limited to `max_depth`.
pub fn parse(octets: &[u8], max_depth: usize) -> Result<Tagged, Failure> {
    let mut scanner = Scanner::new(octets, max_depth);
    let tag = scan_tag(&mut scanner).map_err(|error| Failure { tag: None, error })?;
    let parsed = scanner.space().and_then(|()| scan_command(&mut scanner)).and_then(|command| {
        scanner.finish()?;
        Ok(command)
    });
    match parsed {
        Ok(command) => Ok(Tagged { tag, command }),
        Err(error) => Err(Failure { tag: Some(tag), error }),
    }
}

/// `tag`, followed by a space or the end.
pub(crate) fn scan_tag(scanner: &mut Scanner<'_>) -> Scanned<String> {
    let octets = scanner.take_while(|octet| is_astring_char(octet) && octet != b'+');
    match scanner.peek() {
        None | Some(b' ') if !octets.is_empty() => Ok(String::from_utf8_lossy(octets).into_owned()),
        _ => syntax("the tag is missing or malformed"),
    }
}

fn scan_command(scanner: &mut Scanner<'_>) -> Scanned<Command> {
    let name = scanner.keyword()?;
    Ok(match name.as_str() {
        "CAPABILITY" => Command::Capability,
        "NOOP" => Command::Noop,
        "LOGOUT" => Command::Logout,
        "STARTTLS" => Command::StartTls,
        "NAMESPACE" => Command::Namespace,
        "UNAUTHENTICATE" => Command::Unauthenticate,
        "IDLE" => Command::Idle,
        "CHECK" => Command::Check,
        "CLOSE" => Command::Close,
        "UNSELECT" => Command::Unselect,
        "EXPUNGE" => Command::Expunge,
        "LANGUAGE" => Command::Language(scan_languages(scanner)?),
        "ID" | "AUTHENTICATE" | "LOGIN" | "ENABLE" | "SELECT" | "EXAMINE" | "CREATE" | "DELETE"
        | "RENAME" | "SUBSCRIBE" | "UNSUBSCRIBE" | "LIST" | "LSUB" | "STATUS" | "APPEND"
        | "REPLACE" | "ESEARCH" | "NOTIFY" | "CANCELUPDATE" | "SEARCH" | "FETCH" | "STORE"
        | "COPY" | "MOVE" | "UID" | "SORT" | "THREAD" | "COMPRESS" | "GETQUOTA"
        | "GETQUOTAROOT" | "SETQUOTA" | "GETACL" | "SETACL" | "DELETEACL" | "LISTRIGHTS"
        | "MYRIGHTS" | "GETMETADATA" | "SETMETADATA" => {
            scanner.space()?;
            scan_arguments(scanner, &name)?
        }
        _ => return syntax("unknown command"),
    })
}

fn scan_arguments(scanner: &mut Scanner<'_>, name: &str) -> Scanned<Command> {
    Ok(match name {
        "ID" => Command::Id(scan_id(scanner)?),
        "AUTHENTICATE" => scan_authenticate(scanner)?,
        "LOGIN" => scan_login(scanner)?,
        "ENABLE" => scan_enable(scanner)?,
        "SELECT" => Command::Select(select::scan(scanner)?),
        "EXAMINE" => Command::Examine(select::scan(scanner)?),
        "CREATE" => scan_create(scanner)?,
        "DELETE" => Command::Delete(scan_mailbox(scanner)?),
        "RENAME" => {
            let from = scan_mailbox(scanner)?;
            scanner.space()?;
            Command::Rename { from, to: scan_mailbox(scanner)? }
        }
        "SUBSCRIBE" => Command::Subscribe(scan_mailbox(scanner)?),
        "UNSUBSCRIBE" => Command::Unsubscribe(scan_mailbox(scanner)?),
        "LIST" => Command::List(list::scan(scanner)?),
        "LSUB" => {
            let reference = scan_mailbox(scanner)?;
            scanner.space()?;
            Command::Lsub { reference, pattern: MailboxName::from_wire(scanner.list_mailbox()?) }
        }
        "STATUS" => {
            let mailbox = scan_mailbox(scanner)?;
            scanner.space()?;
            Command::Status { mailbox, items: list::scan_status_items(scanner)? }
        }
        "UID" => scan_uid(scanner)?,
        "ESEARCH" => Command::MultiSearch(multi::scan(scanner)?),
        "NOTIFY" => Command::Notify(notify::scan(scanner)?),
        "CANCELUPDATE" => Command::CancelUpdate(scan_tags(scanner)?),
        "COMPRESS" => Command::Compress(scanner.keyword()?),
        "GETQUOTA" | "GETQUOTAROOT" | "SETQUOTA" | "GETACL" | "SETACL" | "DELETEACL"
        | "LISTRIGHTS" | "MYRIGHTS" | "GETMETADATA" | "SETMETADATA" => {
            account::scan(scanner, name)?
        }
        "APPEND" | "REPLACE" => return syntax("the command needs a message literal"),
        _ => scan_message_command(scanner, name, false)?,
    })
}

/// Tags as strings (RFC 5267 §5); atoms are taken, too.
fn scan_tags(scanner: &mut Scanner<'_>) -> Scanned<Vec<String>> {
    let mut tags = vec![utf8(scanner.astring()?)?];
    while scanner.eat(b' ') {
        tags.push(utf8(scanner.astring()?)?);
    }
    Ok(tags)
}

fn scan_uid(scanner: &mut Scanner<'_>) -> Scanned<Command> {
    let name = scanner.keyword()?;
    scanner.space()?;
    match name.as_str() {
        "EXPUNGE" => Ok(Command::UidExpunge(sequence::scan(scanner)?)),
        _ => scan_message_command(scanner, &name, true),
    }
}

fn scan_message_command(scanner: &mut Scanner<'_>, name: &str, uid: bool) -> Scanned<Command> {
    Ok(match name {
        "SEARCH" => Command::Search(search::scan(scanner, uid)?),
        "FETCH" => Command::Fetch(fetch::scan(scanner, uid)?),
        "STORE" => Command::Store(store::scan(scanner, uid)?),
        "COPY" => Command::Copy(store::scan_copy(scanner, uid)?),
        "MOVE" => Command::Move(store::scan_copy(scanner, uid)?),
        "SORT" => Command::Sort(sort::scan_sort(scanner, uid)?),
        "THREAD" => Command::Thread(sort::scan_thread(scanner, uid)?),
        _ => return syntax("unknown command"),
    })
}

/// `mailbox`: an astring.
pub(crate) fn scan_mailbox(scanner: &mut Scanner<'_>) -> Scanned<MailboxName> {
    scanner.astring().map(MailboxName::from_wire)
}

/// A string that has to be UTF-8.
pub(crate) fn utf8(octets: Vec<u8>) -> Scanned<String> {
    String::from_utf8(octets).or(syntax("the string is not valid UTF-8"))
}

fn scan_id(scanner: &mut Scanner<'_>) -> Scanned<Vec<(String, Option<String>)>> {
    if scanner.eat_keyword("NIL") {
        return Ok(Vec::new());
    }
    let fields = scanner.list(|scanner| {
        let field = utf8(scanner.string()?)?;
        scanner.space()?;
        Ok((field, scanner.nstring()?.map(utf8).transpose()?))
    })?;
    if fields.len() > MAX_ID_FIELDS { syntax("ID has more than 30 fields") } else { Ok(fields) }
}

fn scan_authenticate(scanner: &mut Scanner<'_>) -> Scanned<Command> {
    let mechanism = scanner.keyword()?;
    let initial = if scanner.eat(b' ') {
        let octets = scanner.take_while(|octet| {
            octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'=')
        });
        if octets.is_empty() {
            return syntax("the initial response is missing");
        }
        Some(Secret::new(octets.to_vec()))
    } else {
        None
    };
    Ok(Command::Authenticate { mechanism, initial })
}

fn scan_login(scanner: &mut Scanner<'_>) -> Scanned<Command> {
    let user = utf8(scanner.astring()?)?;
    scanner.space()?;
    Ok(Command::Login { user, password: Secret::new(scanner.astring()?) })
}

fn scan_enable(scanner: &mut Scanner<'_>) -> Scanned<Command> {
    let mut names = vec![scanner.keyword()?];
    while scanner.eat(b' ') {
        names.push(scanner.keyword()?);
    }
    Ok(Command::Enable(names))
}

/// Language ranges of RFC 5255 §3.
fn scan_languages(scanner: &mut Scanner<'_>) -> Scanned<Vec<String>> {
    let mut languages = Vec::new();
    while scanner.eat(b' ') {
        if languages.len() == 32 {
            return syntax("too many languages");
        }
        languages.push(utf8(scanner.astring()?)?);
    }
    Ok(languages)
}

fn scan_create(scanner: &mut Scanner<'_>) -> Scanned<Command> {
    let mailbox = scan_mailbox(scanner)?;
    let mut uses = Vec::new();
    if scanner.eat(b' ') {
        let lists = scanner.list(|scanner| {
            if !scanner.eat_keyword("USE") {
                return syntax("unknown parameter of CREATE");
            }
            scanner.space()?;
            scanner.list(scan_use)
        })?;
        uses = lists.concat();
    }
    Ok(Command::Create { mailbox, uses })
}

#[cfg(test)]
mod more_tests;
#[cfg(test)]
mod tests;
