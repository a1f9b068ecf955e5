//! SEARCH: its options, its character set and its keys as a tree (RFC 9051 §6.4.4, RFC 3501 §6.4.4, RFC 5032,
//! RFC 7162 §3.1.5).

use super::fetch::{self, FetchItem};
use super::utf8;
use crate::date::scan_date;
use crate::flag::Flag;
use crate::scan::{Scanned, Scanner, SyntaxError, syntax};
use crate::sequence::{self, SequenceSet};
use crate::window::{self, Window};
use encoding_rs::Encoding;
use jiff::civil::Date;

/// SEARCH or UID SEARCH.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchCommand {
    /// The answer holds UIDs.
    pub uid: bool,
    /// RETURN (…); `None` if absent, which IMAP4rev1 answers with SEARCH and IMAP4rev2 with ESEARCH … ALL.
    pub returns: Option<SearchReturn>,
    /// What UPDATE is to tell of each new message (RFC 5465 §7).
    pub update_items: Vec<FetchItem>,
    /// CHARSET as sent, in upper case. Strings are decoded already. With UTF8=ACCEPT it is an error (RFC 6855 §3).
    pub charset: Option<String>,
    /// What to look for.
    pub program: SearchProgram,
}

/// What the client wants back. Nothing but `save` means the same as `all` to it (RFC 9051 §6.4.4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SearchReturn {
    /// MIN
    pub min: bool,
    /// MAX
    pub max: bool,
    /// ALL, given or implied by `RETURN ()`.
    pub all: bool,
    /// COUNT
    pub count: bool,
    /// SAVE: keep the result for `$`.
    pub save: bool,
    /// RELEVANCY: how well each message fits (RFC 6203 §4).
    pub relevancy: bool,
    /// PARTIAL: that piece of the result (RFC 9394); never with `all`.
    pub partial: Option<Window>,
    /// CONTEXT: the search will come again (RFC 5267 §4.2).
    pub context: bool,
    /// UPDATE: the client wants to hear how the result changes (RFC 5267 §4.3).
    pub update: bool,
}

/// A search, to be run over one mailbox.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchProgram {
    /// The top of the tree; several keys side by side are one [`SearchKey::And`].
    pub key: SearchKey,
}

/// A condition. Names that are only a negation are folded: UNSEEN is `Not(Flag(Seen))`, OLD is `Not(Flag(Recent))`,
/// NEW is `And([Flag(Recent), Not(Flag(Seen))])`. Strings are UTF-8 and as sent: matching folds case.
#[derive(Debug, Clone, PartialEq)]
pub enum SearchKey {
    /// ALL
    All,
    /// Every one of these; at least one.
    And(Vec<SearchKey>),
    /// At least one of these; two or more.
    Or(Vec<SearchKey>),
    /// NOT
    Not(Box<SearchKey>),
    /// The flag is set: ANSWERED, DELETED, DRAFT, FLAGGED, RECENT, SEEN, KEYWORD.
    Flag(Flag),
    /// Sequence numbers.
    Sequence(SequenceSet),
    /// UID
    Uid(SequenceSet),
    /// BCC
    Bcc(String),
    /// CC
    Cc(String),
    /// FROM
    From(String),
    /// TO
    To(String),
    /// SUBJECT
    Subject(String),
    /// BODY: in the body, not the header.
    Body(String),
    /// TEXT: in header or body.
    Text(String),
    /// HEADER: the field's name, and a string that may be empty (then the field must only exist).
    Header(String, String),
    /// BEFORE: internal date earlier than this day.
    Before(Date),
    /// ON
    On(Date),
    /// SINCE: on this day or later.
    Since(Date),
    /// SENTBEFORE: by the Date field.
    SentBefore(Date),
    /// SENTON
    SentOn(Date),
    /// SENTSINCE
    SentSince(Date),
    /// LARGER: more octets than this.
    Larger(u64),
    /// SMALLER: fewer octets than this.
    Smaller(u64),
    /// YOUNGER: internal date within this many seconds (RFC 5032).
    Younger(u32),
    /// OLDER: internal date this many seconds ago or more (RFC 5032).
    Older(u32),
    /// MODSEQ: at least this mod-sequence; the entry name of RFC 7162 is checked and dropped, since one
    /// mod-sequence covers all of a message's metadata here.
    ModSeq(u64),
    /// What the frontend turns into one of the others before it searches: by itself it finds nothing.
    Extended(ExtendedKey),
}

/// Keys of extensions that only the frontend knows how to look up.
#[derive(Debug, Clone, PartialEq)]
pub enum ExtendedKey {
    /// EMAILID (RFC 8474)
    EmailId(String),
    /// THREADID (RFC 8474)
    ThreadId(String),
    /// SAVEDBEFORE (RFC 8514): saved into the mailbox before this day.
    SavedBefore(Date),
    /// SAVEDON
    SavedOn(Date),
    /// SAVEDSINCE
    SavedSince(Date),
    /// FUZZY (RFC 6203): what comes near to this key is found, too.
    Fuzzy(Box<SearchKey>),
}

pub(super) fn scan(scanner: &mut Scanner<'_>, uid: bool) -> Scanned<SearchCommand> {
    let (mut returns, mut update_items) = (None, Vec::new());
    if scanner.eat_keyword("RETURN") {
        scanner.space()?;
        let (options, items) = scan_returns(scanner)?;
        (returns, update_items) = (Some(options), items);
        scanner.space()?;
    }
    let mut charset = None;
    let mut encoding = encoding_rs::UTF_8;
    if scanner.eat_keyword("CHARSET") {
        scanner.space()?;
        let (name, found) = scan_charset(scanner).map_err(|error| saving(error, returns))?;
        encoding = found;
        charset = Some(name);
        scanner.space()?;
    }
    let program = scan_program(scanner, encoding)?;
    Ok(SearchCommand { uid, returns, update_items, charset, program })
}

/// A character set's name in upper case, and what it is.
pub(super) fn scan_charset(scanner: &mut Scanner<'_>) -> Scanned<(String, &'static Encoding)> {
    let name = utf8(scanner.astring()?)?.to_ascii_uppercase();
    let encoding = encoding_of(&name)?;
    Ok((name, encoding))
}

/// What an unknown character set means for `$`.
pub(super) fn saving(error: SyntaxError, returns: Option<SearchReturn>) -> SyntaxError {
    match error {
        SyntaxError::Charset if returns.is_some_and(|returns| returns.save) => {
            SyntaxError::CharsetOfSaved
        }
        error => error,
    }
}

/// The keys, to the end of the command.
pub(super) fn scan_program(
    scanner: &mut Scanner<'_>,
    encoding: &'static Encoding,
) -> Scanned<SearchProgram> {
    let mut keys = Keys { scanner, encoding };
    let mut list = vec![keys.key()?];
    while keys.scanner.eat(b' ') {
        list.push(keys.key()?);
    }
    Ok(SearchProgram { key: all_of(list) })
}

fn all_of(mut keys: Vec<SearchKey>) -> SearchKey {
    match keys.pop() {
        Some(only) if keys.is_empty() => only,
        Some(last) => {
            keys.push(last);
            SearchKey::And(keys)
        }
        None => SearchKey::All,
    }
}

/// US-ASCII is read as UTF-8, which contains it.
fn encoding_of(name: &str) -> Scanned<&'static Encoding> {
    if matches!(name, "US-ASCII" | "ASCII") {
        return Ok(encoding_rs::UTF_8);
    }
    Encoding::for_label_no_replacement(name.as_bytes()).ok_or(SyntaxError::Charset)
}

/// The options of RETURN, and what UPDATE asks for of new messages.
pub(super) fn scan_returns(scanner: &mut Scanner<'_>) -> Scanned<(SearchReturn, Vec<FetchItem>)> {
    let (mut returns, mut update_items) = (SearchReturn::default(), Vec::new());
    let options = scanner.list(|scanner| {
        match scanner.keyword()?.as_str() {
            "MIN" => returns.min = true,
            "MAX" => returns.max = true,
            "ALL" => returns.all = true,
            "COUNT" => returns.count = true,
            "SAVE" => returns.save = true,
            "RELEVANCY" => returns.relevancy = true,
            "CONTEXT" => returns.context = true,
            "UPDATE" => {
                returns.update = true;
                update_items = fetch::scan_attached(scanner)?;
            }
            "PARTIAL" if returns.partial.is_none() => {
                scanner.space()?;
                returns.partial = Some(window::scan(scanner)?);
            }
            _ => return syntax("unknown return option of SEARCH"),
        }
        Ok(())
    })?;
    returns.all |= options.is_empty();
    // RFC 9394 §3.1
    if returns.all && returns.partial.is_some() {
        return syntax("ALL and PARTIAL exclude each other");
    }
    Ok((returns, update_items))
}

struct Keys<'s, 'a> {
    scanner: &'s mut Scanner<'a>,
    encoding: &'static Encoding,
}

impl Keys<'_, '_> {
    /// One key. Depth counts parentheses, NOT and the left side of OR alike: each is a level of recursion.
    fn key(&mut self) -> Scanned<SearchKey> {
        self.scanner.enter()?;
        let key = match self.scanner.peek() {
            Some(b'(') => {
                let keys = self.parenthesised()?;
                all_of(keys)
            }
            Some(b'0'..=b'9' | b'*' | b'$') => SearchKey::Sequence(sequence::scan(self.scanner)?),
            _ => {
                let name = self.scanner.keyword()?;
                self.named(&name)?
            }
        };
        self.scanner.leave();
        Ok(key)
    }

    fn parenthesised(&mut self) -> Scanned<Vec<SearchKey>> {
        self.scanner.expect(b'(', "a list is missing")?;
        let mut keys = vec![self.key()?];
        while !self.scanner.eat(b')') {
            self.scanner.space()?;
            keys.push(self.key()?);
        }
        Ok(keys)
    }

    fn named(&mut self, name: &str) -> Scanned<SearchKey> {
        if let Some(key) = plain_key(name) {
            return Ok(key);
        }
        self.scanner.space()?;
        Ok(match name {
            "BCC" => SearchKey::Bcc(self.string()?),
            "CC" => SearchKey::Cc(self.string()?),
            "FROM" => SearchKey::From(self.string()?),
            "TO" => SearchKey::To(self.string()?),
            "SUBJECT" => SearchKey::Subject(self.string()?),
            "BODY" => SearchKey::Body(self.string()?),
            "TEXT" => SearchKey::Text(self.string()?),
            "HEADER" => {
                let field = utf8(self.scanner.astring()?)?;
                self.scanner.space()?;
                SearchKey::Header(field, self.string()?)
            }
            "KEYWORD" => self.keyword_flag()?,
            "UNKEYWORD" => not(self.keyword_flag()?),
            "NOT" => not(self.key()?),
            "OR" => self.alternatives()?,
            "UID" => SearchKey::Uid(sequence::scan(self.scanner)?),
            "MODSEQ" => self.mod_sequence()?,
            "FUZZY" => SearchKey::Extended(ExtendedKey::Fuzzy(Box::new(self.key()?))),
            "EMAILID" => SearchKey::Extended(ExtendedKey::EmailId(self.object_id()?)),
            "THREADID" => SearchKey::Extended(ExtendedKey::ThreadId(self.object_id()?)),
            _ => return self.measured(name),
        })
    }

    /// Keys with a date or a number.
    fn measured(&mut self, name: &str) -> Scanned<SearchKey> {
        Ok(match name {
            "BEFORE" => SearchKey::Before(scan_date(self.scanner)?),
            "ON" => SearchKey::On(scan_date(self.scanner)?),
            "SINCE" => SearchKey::Since(scan_date(self.scanner)?),
            "SENTBEFORE" => SearchKey::SentBefore(scan_date(self.scanner)?),
            "SENTON" => SearchKey::SentOn(scan_date(self.scanner)?),
            "SENTSINCE" => SearchKey::SentSince(scan_date(self.scanner)?),
            "SAVEDBEFORE" => {
                SearchKey::Extended(ExtendedKey::SavedBefore(scan_date(self.scanner)?))
            }
            "SAVEDON" => SearchKey::Extended(ExtendedKey::SavedOn(scan_date(self.scanner)?)),
            "SAVEDSINCE" => SearchKey::Extended(ExtendedKey::SavedSince(scan_date(self.scanner)?)),
            "LARGER" => SearchKey::Larger(self.scanner.number64()?),
            "SMALLER" => SearchKey::Smaller(self.scanner.number64()?),
            "YOUNGER" => SearchKey::Younger(self.scanner.nz_number()?),
            "OLDER" => SearchKey::Older(self.scanner.nz_number()?),
            _ => return syntax("unknown search key"),
        })
    }

    /// The rest of `OR a b`. Clients write long alternatives as `OR a OR b OR c d`: that chain is one list here,
    /// and costs no recursion.
    fn alternatives(&mut self) -> Scanned<SearchKey> {
        let mut keys = Vec::new();
        loop {
            keys.push(self.key()?);
            self.scanner.space()?;
            if !self.scanner.eat_keyword("OR") {
                keys.push(self.key()?);
                return Ok(SearchKey::Or(keys));
            }
            self.scanner.space()?;
        }
    }

    fn keyword_flag(&mut self) -> Scanned<SearchKey> {
        Ok(SearchKey::Flag(Flag::Keyword(self.scanner.atom()?.to_owned())))
    }

    /// RFC 8474 §7, `objectid`: letters, digits, `_` and `-`.
    fn object_id(&mut self) -> Scanned<String> {
        let octets = self
            .scanner
            .take_while(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'-'));
        match octets.len() {
            1..=255 => Ok(String::from_utf8_lossy(octets).into_owned()),
            _ => syntax("the id is malformed"),
        }
    }

    /// `MODSEQ [entry-name SP entry-type-req SP] mod-sequence-valzer`
    fn mod_sequence(&mut self) -> Scanned<SearchKey> {
        if self.scanner.peek() == Some(b'"') {
            let entry = self.scanner.string()?;
            self.scanner.space()?;
            let kind = self.scanner.keyword()?;
            if !entry.starts_with(b"/flags/") || !matches!(kind.as_str(), "PRIV" | "SHARED" | "ALL")
            {
                return syntax("the entry of MODSEQ is malformed");
            }
            self.scanner.space()?;
        }
        Ok(SearchKey::ModSeq(self.scanner.number64()?))
    }

    /// A search string in the command's character set.
    fn string(&mut self) -> Scanned<String> {
        let octets = self.scanner.astring()?;
        if self.encoding == encoding_rs::UTF_8 {
            return utf8(octets);
        }
        let text = self.encoding.decode_without_bom_handling_and_without_replacement(&octets);
        text.map_or(syntax("a search string is not valid in its character set"), |text| {
            Ok(text.into_owned())
        })
    }
}

fn not(key: SearchKey) -> SearchKey {
    SearchKey::Not(Box::new(key))
}

fn plain_key(name: &str) -> Option<SearchKey> {
    let flag = |flag| Some(SearchKey::Flag(flag));
    let without = |flag| Some(not(SearchKey::Flag(flag)));
    match name {
        // RFC 8514 §4.2: every message here has the date when it was saved.
        "ALL" | "SAVEDATESUPPORTED" => Some(SearchKey::All),
        "ANSWERED" => flag(Flag::Answered),
        "DELETED" => flag(Flag::Deleted),
        "DRAFT" => flag(Flag::Draft),
        "FLAGGED" => flag(Flag::Flagged),
        "RECENT" => flag(Flag::Recent),
        "SEEN" => flag(Flag::Seen),
        "UNANSWERED" => without(Flag::Answered),
        "UNDELETED" => without(Flag::Deleted),
        "UNDRAFT" => without(Flag::Draft),
        "UNFLAGGED" => without(Flag::Flagged),
        "UNSEEN" => without(Flag::Seen),
        "OLD" => without(Flag::Recent),
        "NEW" => Some(SearchKey::And(vec![
            SearchKey::Flag(Flag::Recent),
            not(SearchKey::Flag(Flag::Seen)),
        ])),
        _ => None,
    }
}
