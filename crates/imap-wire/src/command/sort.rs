//! SORT and THREAD (RFC 5256, RFC 5267 ESORT, RFC 5957 DISPLAY).

use super::fetch::FetchItem;
use super::search::{
    SearchProgram, SearchReturn, saving, scan_charset, scan_program, scan_returns,
};
use crate::scan::{Scanned, Scanner, syntax};

/// The most criteria that one SORT may have; there are ten different ones.
const MAX_CRITERIA: usize = 32;

/// SORT or UID SORT.
#[derive(Debug, Clone, PartialEq)]
pub struct SortCommand {
    /// The answer holds UIDs.
    pub uid: bool,
    /// RETURN (…); `None` asks for a SORT response.
    pub returns: Option<SearchReturn>,
    /// What UPDATE is to tell of each new message (RFC 5465 §7).
    pub update_items: Vec<FetchItem>,
    /// At least one; what is equal by all of them stays in the order of the mailbox.
    pub criteria: Vec<SortCriterion>,
    /// CHARSET, in upper case. Strings are decoded already.
    pub charset: String,
    /// Which messages.
    pub program: SearchProgram,
}

/// What messages are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortCriterion {
    /// What is compared.
    pub by: SortBy,
    /// The largest first.
    pub reverse: bool,
}

/// A property of a message that has an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortBy {
    /// ARRIVAL: the internal date.
    Arrival,
    /// CC: the local part of its first address.
    Cc,
    /// DATE: when it was sent.
    Date,
    /// DISPLAYFROM: the name of the first sender, or else the address (RFC 5957).
    DisplayFrom,
    /// DISPLAYTO
    DisplayTo,
    /// FROM: the local part of its first address.
    From,
    /// SIZE
    Size,
    /// RELEVANCY: what fits best comes first (RFC 6203 §5).
    Relevancy,
    /// SUBJECT: the base subject.
    Subject,
    /// TO: the local part of its first address.
    To,
}

/// THREAD or UID THREAD.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadCommand {
    /// The answer holds UIDs.
    pub uid: bool,
    /// How.
    pub algorithm: ThreadAlgorithm,
    /// CHARSET, in upper case. Strings are decoded already.
    pub charset: String,
    /// Which messages.
    pub program: SearchProgram,
}

/// How messages are put together to threads (RFC 5256 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadAlgorithm {
    /// ORDEREDSUBJECT
    OrderedSubject,
    /// REFERENCES
    References,
}

pub(super) fn scan_sort(scanner: &mut Scanner<'_>, uid: bool) -> Scanned<SortCommand> {
    let (mut returns, mut update_items) = (None, Vec::new());
    if scanner.eat_keyword("RETURN") {
        scanner.space()?;
        let (options, items) = scan_returns(scanner)?;
        (returns, update_items) = (Some(options), items);
        scanner.space()?;
    }
    let criteria = scanner.list(scan_criterion)?;
    if criteria.is_empty() || criteria.len() > MAX_CRITERIA {
        return syntax("SORT needs criteria, and not too many");
    }
    scanner.space()?;
    let (charset, encoding) = scan_charset(scanner).map_err(|error| saving(error, returns))?;
    scanner.space()?;
    let program = scan_program(scanner, encoding)?;
    Ok(SortCommand { uid, returns, update_items, criteria, charset, program })
}

fn scan_criterion(scanner: &mut Scanner<'_>) -> Scanned<SortCriterion> {
    let reverse = scanner.eat_keyword("REVERSE");
    if reverse {
        scanner.space()?;
    }
    let by = match scanner.keyword()?.as_str() {
        "ARRIVAL" => SortBy::Arrival,
        "CC" => SortBy::Cc,
        "DATE" => SortBy::Date,
        "DISPLAYFROM" => SortBy::DisplayFrom,
        "DISPLAYTO" => SortBy::DisplayTo,
        "FROM" => SortBy::From,
        "RELEVANCY" => SortBy::Relevancy,
        "SIZE" => SortBy::Size,
        "SUBJECT" => SortBy::Subject,
        "TO" => SortBy::To,
        _ => return syntax("unknown criterion of SORT"),
    };
    Ok(SortCriterion { by, reverse })
}

pub(super) fn scan_thread(scanner: &mut Scanner<'_>, uid: bool) -> Scanned<ThreadCommand> {
    let algorithm = match scanner.keyword()?.as_str() {
        "ORDEREDSUBJECT" => ThreadAlgorithm::OrderedSubject,
        "REFERENCES" => ThreadAlgorithm::References,
        _ => return syntax("unknown algorithm of THREAD"),
    };
    scanner.space()?;
    let (charset, encoding) = scan_charset(scanner)?;
    scanner.space()?;
    let program = scan_program(scanner, encoding)?;
    Ok(ThreadCommand { uid, algorithm, charset, program })
}
