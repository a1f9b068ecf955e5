//! LIST, LSUB, STATUS, NAMESPACE, SEARCH, ESEARCH, ENABLED and ID responses.

use super::{nstring, put, put_atom, string};
use crate::command::list::StatusItem;
use crate::flag::SpecialUse;
use crate::mailbox_name::{NameForm, SEPARATOR};
use crate::order::Threads;
use crate::sequence::NumberSet;
use crate::window::Window;
use std::borrow::Cow;

/// LIST or LSUB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    /// `* LIST`
    List,
    /// `* LSUB`
    Lsub,
}

/// An attribute of a mailbox (RFC 9051 §7.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListAttribute {
    /// `\NonExistent`
    NonExistent,
    /// `\Noselect`
    NoSelect,
    /// `\Noinferiors`
    NoInferiors,
    /// `\HasChildren`
    HasChildren,
    /// `\HasNoChildren`
    HasNoChildren,
    /// `\Marked`
    Marked,
    /// `\Unmarked`
    Unmarked,
    /// `\Subscribed`
    Subscribed,
    /// `\Remote`
    Remote,
    /// A special use.
    Use(SpecialUse),
}

impl ListAttribute {
    fn as_str(self) -> &'static str {
        match self {
            Self::NonExistent => "\\NonExistent",
            Self::NoSelect => "\\Noselect",
            Self::NoInferiors => "\\Noinferiors",
            Self::HasChildren => "\\HasChildren",
            Self::HasNoChildren => "\\HasNoChildren",
            Self::Marked => "\\Marked",
            Self::Unmarked => "\\Unmarked",
            Self::Subscribed => "\\Subscribed",
            Self::Remote => "\\Remote",
            Self::Use(special) => special.as_str(),
        }
    }
}

/// One mailbox in LIST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListResponse<'a> {
    /// LIST or LSUB.
    pub kind: ListKind,
    /// In the order of writing.
    pub attributes: &'a [ListAttribute],
    /// In Unicode; empty in the answer to `LIST "" ""`.
    pub name: &'a str,
    /// CHILDINFO of RECURSIVEMATCH: by which selection options children match, though this one may not.
    pub child_info: &'a [&'a str],
    /// OLDNAME (RFC 9051 §6.3.9.7): the name as the client asked for it, or before RENAME.
    pub old_name: Option<&'a str>,
}

/// `* LIST (attributes) "/" name`
pub fn list(out: &mut Vec<u8>, form: NameForm, response: &ListResponse<'_>) {
    out.extend_from_slice(match response.kind {
        ListKind::List => b"* LIST (",
        ListKind::Lsub => b"* LSUB (",
    });
    for (index, attribute) in response.attributes.iter().enumerate() {
        put(out, format_args!("{}{}", if index == 0 { "" } else { " " }, attribute.as_str()));
    }
    put(out, format_args!(") \"{SEPARATOR}\" "));
    string::mailbox(out, response.name, form);
    let mut open = b" (".as_slice();
    for (index, option) in response.child_info.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b" (\"CHILDINFO\" (" } else { b" " });
        put(out, format_args!("\"{option}\""));
    }
    if !response.child_info.is_empty() {
        out.push(b')');
        open = b" ";
    }
    if let Some(old) = response.old_name {
        out.extend_from_slice(open);
        out.extend_from_slice(b"\"OLDNAME\" (");
        string::mailbox(out, old, form);
        out.push(b')');
        open = b" ";
    }
    out.extend_from_slice(if open == b" " { b")\r\n" } else { b"\r\n" });
}

/// `* STATUS name (MESSAGES 17 …)`
pub fn status(out: &mut Vec<u8>, name: &str, form: NameForm, items: &[(StatusItem, u64)]) {
    out.extend_from_slice(b"* STATUS ");
    string::mailbox(out, name, form);
    out.extend_from_slice(b" (");
    for (index, (item, value)) in items.iter().enumerate() {
        put(out, format_args!("{}{} ", if index == 0 { "" } else { " " }, item.as_str()));
        match item {
            StatusItem::MailboxId => put(out, format_args!("({})", mailbox_id(*value))),
            _ => put(out, format_args!("{value}")),
        }
    }
    out.extend_from_slice(b")\r\n");
}

/// A MAILBOXID (RFC 8474 §4): the number that names the mailbox and no other, as UIDVALIDITY does here.
pub fn mailbox_id(uid_validity: u64) -> String {
    format!("F{uid_validity}")
}

/// `* NAMESPACE (("" "/")) NIL NIL`: one personal namespace at the root, nothing else.
pub fn namespace(out: &mut Vec<u8>) {
    put(out, format_args!("* NAMESPACE ((\"\" \"{SEPARATOR}\")) NIL NIL\r\n"));
}

/// `* SEARCH 2 84 882 (MODSEQ 917162500)` (RFC 3501 §7.2.5, RFC 7162 §3.1.5)
pub fn search(out: &mut Vec<u8>, numbers: impl IntoIterator<Item = u32>, modseq: Option<u64>) {
    out.extend_from_slice(b"* SEARCH");
    for number in numbers {
        put(out, format_args!(" {number}"));
    }
    if let Some(modseq) = modseq {
        put(out, format_args!(" (MODSEQ {modseq})"));
    }
    out.extend_from_slice(b"\r\n");
}

/// The messages of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Numbers {
    /// In any order: SEARCH.
    Set(NumberSet),
    /// In this order: SORT.
    Sorted(Vec<u32>),
}

impl Numbers {
    fn is_empty(&self) -> bool {
        match self {
            Self::Set(set) => set.is_empty(),
            Self::Sorted(list) => list.is_empty(),
        }
    }
}

impl std::fmt::Display for Numbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Set(set) => set.fmt(f),
            // Ranges have no order, so there are none.
            Self::Sorted(list) => list.iter().enumerate().try_for_each(|(index, number)| {
                let comma = if index == 0 { "" } else { "," };
                write!(f, "{comma}{number}")
            }),
        }
    }
}

/// What ESEARCH tells (RFC 9051 §7.3.4); a value that was not asked for or does not exist is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Esearch {
    /// MIN
    pub min: Option<u32>,
    /// MAX
    pub max: Option<u32>,
    /// COUNT
    pub count: Option<u32>,
    /// ALL; an empty one is left out, as the RFC demands.
    pub all: Option<Numbers>,
    /// PARTIAL, with the window as it was asked for; empty is NIL (RFC 9394 §3.1).
    pub partial: Option<(Window, Numbers)>,
    /// MODSEQ
    pub modseq: Option<u64>,
    /// RELEVANCY: a score from 1 to 100 for each message of ALL or PARTIAL, in that order (RFC 6203 §4).
    pub relevancy: Option<Vec<u8>>,
}

/// `* ESEARCH (TAG "A283") UID ALL 2,10:11`
pub fn esearch(out: &mut Vec<u8>, tag: &str, uid: bool, result: &Esearch) {
    out.extend_from_slice(b"* ESEARCH (TAG ");
    string(out, tag.as_bytes());
    out.push(b')');
    put_result(out, uid, result);
}

/// `* ESEARCH (TAG "A283" MAILBOX "name" UIDVALIDITY 1) UID ALL 2,10:11`: of one of several mailboxes (RFC 7377 §2.1).
pub fn esearch_in(
    out: &mut Vec<u8>,
    tag: &str,
    (name, form, uid_validity): (&str, NameForm, u32),
    result: &Esearch,
) {
    out.extend_from_slice(b"* ESEARCH (TAG ");
    string(out, tag.as_bytes());
    out.extend_from_slice(b" MAILBOX ");
    string::mailbox(out, name, form);
    put(out, format_args!(" UIDVALIDITY {uid_validity})"));
    put_result(out, true, result);
}

fn put_result(out: &mut Vec<u8>, uid: bool, result: &Esearch) {
    out.extend_from_slice(if uid { b" UID" } else { b"" });
    let numbers = [("MIN", result.min), ("MAX", result.max), ("COUNT", result.count)];
    for (name, value) in numbers.iter().filter_map(|(name, value)| value.map(|value| (name, value)))
    {
        put(out, format_args!(" {name} {value}"));
    }
    if let Some(all) = result.all.as_ref().filter(|all| !all.is_empty()) {
        put(out, format_args!(" ALL {all}"));
    }
    match &result.partial {
        Some((window, numbers)) if numbers.is_empty() => {
            put(out, format_args!(" PARTIAL ({window} NIL)"));
        }
        Some((window, numbers)) => put(out, format_args!(" PARTIAL ({window} {numbers})")),
        None => {}
    }
    if let Some(modseq) = result.modseq {
        put(out, format_args!(" MODSEQ {modseq}"));
    }
    if let Some(scores) = &result.relevancy {
        out.extend_from_slice(b" RELEVANCY (");
        for (index, score) in scores.iter().enumerate() {
            put(out, format_args!("{}{score}", if index == 0 { "" } else { " " }));
        }
        out.push(b')');
    }
    out.extend_from_slice(b"\r\n");
}

/// `* SORT 2 84 882`, with the highest modification sequence if it was searched by (RFC 5256 §4, RFC 7162 §3.1.6).
pub fn sort(out: &mut Vec<u8>, numbers: &[u32], modseq: Option<u64>) {
    out.extend_from_slice(b"* SORT");
    for number in numbers {
        put(out, format_args!(" {number}"));
    }
    if let Some(modseq) = modseq {
        put(out, format_args!(" (MODSEQ {modseq})"));
    }
    out.extend_from_slice(b"\r\n");
}

/// `* THREAD (2)(3 6)` (RFC 5256 §4)
pub fn thread(out: &mut Vec<u8>, threads: &Threads) {
    out.extend_from_slice(b"* THREAD");
    let start = out.len();
    threads.write(out);
    if out.len() > start {
        out.insert(start, b' ');
    }
    out.extend_from_slice(b"\r\n");
}

/// `* ENABLED …`
pub fn enabled<S: AsRef<str>>(out: &mut Vec<u8>, names: &[S]) {
    out.extend_from_slice(b"* ENABLED");
    for name in names {
        out.push(b' ');
        put_atom(out, name.as_ref());
    }
    out.extend_from_slice(b"\r\n");
}

/// `* ID ("name" "value" …)`, or NIL without fields (RFC 2971). What is not ASCII becomes `?`.
pub fn id(out: &mut Vec<u8>, fields: &[(&str, Option<&str>)]) {
    out.extend_from_slice(b"* ID ");
    for (index, (name, value)) in fields.iter().enumerate() {
        out.push(if index == 0 { b'(' } else { b' ' });
        string(out, plain(name).as_bytes());
        out.push(b' ');
        nstring(out, value.map(plain).as_ref().map(|value| value.as_bytes()));
    }
    out.extend_from_slice(if fields.is_empty() { b"NIL\r\n" } else { b")\r\n" });
}

fn plain(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|octet| matches!(octet, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect()
}
