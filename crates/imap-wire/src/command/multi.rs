//! ESEARCH: a search over several mailboxes (RFC 7377).

use super::scan_mailbox;
use super::search::{self, SearchCommand};
use crate::mailbox_name::MailboxName;
use crate::scan::{Scanned, Scanner, syntax};

/// The most mailboxes that one command may name.
const MAX_NAMES: usize = 1_000;

/// ESEARCH.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiSearch {
    /// Where to look: the union of these. Without IN, the selected mailbox.
    pub sources: Vec<Source>,
    /// What to look for, and what to answer; UIDs always.
    pub search: SearchCommand,
}

/// Mailboxes to search in (RFC 7377 §2.2, RFC 5465 §6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `selected`
    Selected,
    /// `inboxes`: all that mail may be delivered to.
    Inboxes,
    /// `personal`: all of the user's own.
    Personal,
    /// `subscribed`
    Subscribed,
    /// `subtree`: these and all below them.
    Subtree(Vec<MailboxName>),
    /// `subtree-one`: these and those directly below them.
    SubtreeOne(Vec<MailboxName>),
    /// `mailboxes`: these.
    Mailboxes(Vec<MailboxName>),
}

pub(super) fn scan(scanner: &mut Scanner<'_>) -> Scanned<MultiSearch> {
    let mut sources = Vec::new();
    if scanner.eat_keyword("IN") {
        scanner.space()?;
        sources = scanner.list(scan_source)?;
        if sources.is_empty() || sources.len() > MAX_NAMES {
            return syntax("IN needs mailboxes, and not too many");
        }
        scanner.space()?;
    }
    Ok(MultiSearch { sources, search: search::scan(scanner, true)? })
}

fn scan_source(scanner: &mut Scanner<'_>) -> Scanned<Source> {
    if scanner.peek() == Some(b'(') {
        return syntax("there are no scope options");
    }
    Ok(match scanner.keyword()?.as_str() {
        "SELECTED" => Source::Selected,
        "INBOXES" => Source::Inboxes,
        "PERSONAL" => Source::Personal,
        "SUBSCRIBED" => Source::Subscribed,
        "SUBTREE" => Source::Subtree(scan_names(scanner)?),
        "SUBTREE-ONE" => Source::SubtreeOne(scan_names(scanner)?),
        "MAILBOXES" => Source::Mailboxes(scan_names(scanner)?),
        _ => return syntax("unknown source of ESEARCH"),
    })
}

/// One name, or several in parentheses.
pub(super) fn scan_names(scanner: &mut Scanner<'_>) -> Scanned<Vec<MailboxName>> {
    scanner.space()?;
    if scanner.peek() != Some(b'(') {
        return Ok(vec![scan_mailbox(scanner)?]);
    }
    let names = scanner.list(scan_mailbox)?;
    if names.is_empty() || names.len() > MAX_NAMES {
        return syntax("the list needs mailboxes, and not too many");
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, parse};

    fn sources(text: &str) -> Option<Vec<Source>> {
        match parse(format!("a ESEARCH {text}").as_bytes(), 20).ok()?.command {
            Command::MultiSearch(command) => Some(command.sources),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn sources_of_a_search() {
        let name = |text: &str| MailboxName::from_wire(text.as_bytes().to_vec());
        assert_eq!(sources("UNSEEN"), Some(vec![]));
        assert_eq!(sources("RETURN (COUNT) UNSEEN"), Some(vec![]));
        assert_eq!(
            sources("IN (mailboxes \"a b\" subtree (c d) Subtree-One e) RETURN (ALL) SUBJECT x"),
            Some(vec![
                Source::Mailboxes(vec![name("a b")]),
                Source::Subtree(vec![name("c"), name("d")]),
                Source::SubtreeOne(vec![name("e")]),
            ])
        );
        let all = vec![Source::Selected, Source::Inboxes, Source::Personal, Source::Subscribed];
        assert_eq!(sources("IN (selected inboxes personal subscribed) ALL"), Some(all));
        for bad in [
            "IN () ALL",
            "IN (personal (x)) ALL",
            "IN (mailboxes) ALL",
            "IN (mailboxes ()) ALL",
            "IN personal ALL",
            "IN (selected-delayed) ALL",
            "IN (personal)",
        ] {
            assert_eq!(sources(bad), None, "{bad}");
        }
    }
}
