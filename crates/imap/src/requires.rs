//! Which capabilities a command makes use of: where one of them is switched off, the command is refused.

use letterlock_imap_wire::command::notify::{NotifyCommand, NotifyEvent};
use letterlock_imap_wire::command::search::ExtendedKey;
use letterlock_imap_wire::command::sort::{SortBy, ThreadAlgorithm};
use letterlock_imap_wire::{
    AppendBegin, Command, FetchCommand, FetchItem, ListCommand, SearchKey, SearchReturn, StatusItem,
};

use crate::capability::Capabilities;
use crate::outcome::Reply;

/// The answer to a command that needs what is switched off.
pub(crate) fn refused(command: &Command, capabilities: &Capabilities) -> Option<Reply> {
    let mut names = Vec::new();
    of_command(command, &mut names);
    unmet(&names, capabilities)
}

/// The same for one message of APPEND.
pub(crate) fn refused_append(begin: &AppendBegin, capabilities: &Capabilities) -> Option<Reply> {
    let mut names = Vec::new();
    names.extend((begin.index > 0).then_some("MULTIAPPEND"));
    names.extend(begin.replaces.is_some().then_some("REPLACE"));
    names.extend(begin.catenate.then_some("CATENATE"));
    of_literal(begin.binary, begin.utf8, &mut names);
    unmet(&names, capabilities)
}

/// The same for a part of CATENATE.
pub(crate) fn refused_text(binary: bool, utf8: bool, capabilities: &Capabilities) -> Option<Reply> {
    let mut names = Vec::new();
    of_literal(binary, utf8, &mut names);
    unmet(&names, capabilities)
}

fn of_literal(binary: bool, utf8: bool, names: &mut Vec<&'static str>) {
    names.extend(utf8.then_some("UTF8=ACCEPT"));
    names.extend((binary && !utf8).then_some("BINARY"));
}

fn unmet(names: &[&str], capabilities: &Capabilities) -> Option<Reply> {
    let missing = names.iter().find(|name| !capabilities.offers(name))?;
    Some(Reply::bad(format!("{missing} is not supported")))
}

fn of_command(command: &Command, names: &mut Vec<&'static str>) {
    match command {
        Command::Id(_) => names.push("ID"),
        Command::Enable(_) => names.push("ENABLE"),
        Command::Language(_) => names.push("LANGUAGE"),
        Command::Idle => names.push("IDLE"),
        Command::CancelUpdate(_) => names.push("CONTEXT=SEARCH"),
        Command::Notify(command) => {
            names.push("NOTIFY");
            of_notify(command, names);
        }
        Command::Unauthenticate => names.push("UNAUTHENTICATE"),
        Command::Namespace => names.push("NAMESPACE"),
        Command::Unselect => names.push("UNSELECT"),
        Command::UidExpunge(_) => names.push("UIDPLUS"),
        Command::Move(_) => names.push("MOVE"),
        Command::Compress(_) => names.push("COMPRESS=DEFLATE"),
        Command::Quota(_) => names.push("QUOTA"),
        Command::Acl(_) => names.push("ACL"),
        Command::GetMetadata(_) | Command::SetMetadata(_) => names.push("METADATA"),
        Command::Authenticate { initial: Some(_), .. } => names.push("SASL-IR"),
        Command::Create { uses, .. } if !uses.is_empty() => names.push("CREATE-SPECIAL-USE"),
        Command::Select(select) | Command::Examine(select) => {
            names.extend(select.condstore.then_some("CONDSTORE"));
            names.extend(select.qresync.is_some().then_some("QRESYNC"));
        }
        Command::Status { items, .. } => items.iter().for_each(|item| of_status(*item, names)),
        Command::List(list) => of_list(list, names),
        Command::Fetch(fetch) => of_fetch(fetch, names),
        Command::Store(store) => {
            names.extend(store.unchanged_since.is_some().then_some("CONDSTORE"));
        }
        Command::Search(search) => {
            names.extend(search.returns.is_some().then_some("ESEARCH"));
            of_returns(search.returns, names);
            of_context(search.returns, &search.update_items, "CONTEXT=SEARCH", names);
            of_key(&search.program.key, names);
        }
        Command::MultiSearch(multi) => {
            names.push("MULTISEARCH");
            of_returns(multi.search.returns, names);
            let items = &multi.search.update_items;
            of_context(multi.search.returns, items, "CONTEXT=SEARCH", names);
            of_key(&multi.search.program.key, names);
        }
        Command::Sort(sort) => {
            names.push("SORT");
            names.extend(sort.returns.is_some().then_some("ESORT"));
            of_returns(sort.returns, names);
            of_context(sort.returns, &sort.update_items, "CONTEXT=SORT", names);
            let shown = |by| matches!(by, SortBy::DisplayFrom | SortBy::DisplayTo);
            let shown = sort.criteria.iter().any(|criterion| shown(criterion.by));
            names.extend(shown.then_some("SORT=DISPLAY"));
            let scored = sort.criteria.iter().any(|one| one.by == SortBy::Relevancy);
            names.extend(scored.then_some("SEARCH=FUZZY"));
            of_key(&sort.program.key, names);
        }
        Command::Thread(thread) => {
            names.push(match thread.algorithm {
                ThreadAlgorithm::OrderedSubject => "THREAD=ORDEREDSUBJECT",
                ThreadAlgorithm::References => "THREAD=REFERENCES",
            });
            of_key(&thread.program.key, names);
        }
        _ => {}
    }
}

fn of_status(item: StatusItem, names: &mut Vec<&'static str>) {
    names.extend(match item {
        StatusItem::Size => Some("STATUS=SIZE"),
        StatusItem::HighestModSeq => Some("CONDSTORE"),
        StatusItem::MailboxId => Some("OBJECTID"),
        StatusItem::AppendLimit => Some("APPENDLIMIT"),
        StatusItem::DeletedStorage => Some("QUOTA=RES-STORAGE"),
        _ => None,
    });
}

fn of_list(list: &ListCommand, names: &mut Vec<&'static str>) {
    if let Some(selection) = &list.selection {
        names.push("LIST-EXTENDED");
        names.extend(selection.special_use.then_some("SPECIAL-USE"));
    }
    names.extend((list.patterns.len() > 1).then_some("LIST-EXTENDED"));
    let Some(returns) = &list.returns else { return };
    names.push("LIST-EXTENDED");
    names.extend(returns.special_use.then_some("SPECIAL-USE"));
    names.extend(returns.my_rights.then_some("LIST-MYRIGHTS"));
    names.extend(returns.metadata.is_some().then_some("LIST-METADATA"));
    if let Some(items) = &returns.status {
        names.push("LIST-STATUS");
        items.iter().for_each(|item| of_status(*item, names));
    }
}

fn of_fetch(fetch: &FetchCommand, names: &mut Vec<&'static str>) {
    names.extend(fetch.modifiers.changed_since.is_some().then_some("CONDSTORE"));
    names.extend(fetch.modifiers.vanished.then_some("QRESYNC"));
    names.extend(fetch.modifiers.partial.is_some().then_some("PARTIAL"));
    of_items(&fetch.items, names);
}

fn of_items(items: &[FetchItem], names: &mut Vec<&'static str>) {
    names.extend(items.iter().filter_map(|item| match item {
        FetchItem::ModSeq => Some("CONDSTORE"),
        FetchItem::EmailId | FetchItem::ThreadId => Some("OBJECTID"),
        FetchItem::SaveDate => Some("SAVEDATE"),
        FetchItem::Preview { .. } => Some("PREVIEW"),
        FetchItem::Binary { .. } | FetchItem::BinarySize { .. } => Some("BINARY"),
        _ => None,
    }));
}

fn of_returns(returns: Option<SearchReturn>, names: &mut Vec<&'static str>) {
    let Some(returns) = returns else { return };
    names.extend(returns.save.then_some("SEARCHRES"));
    names.extend(returns.partial.is_some().then_some("PARTIAL"));
    names.extend(returns.relevancy.then_some("SEARCH=FUZZY"));
}

fn of_context(
    returns: Option<SearchReturn>,
    items: &[FetchItem],
    name: &'static str,
    names: &mut Vec<&'static str>,
) {
    let asked = returns.is_some_and(|returns| returns.context || returns.update);
    names.extend(asked.then_some(name));
    if !items.is_empty() {
        // RFC 5465 §7
        names.push("NOTIFY");
        of_items(items, names);
    }
}

fn of_notify(command: &NotifyCommand, names: &mut Vec<&'static str>) {
    let NotifyCommand::Set { groups, .. } = command else { return };
    for event in groups.iter().flat_map(|group| &group.events) {
        if let NotifyEvent::MessageNew(items) = event {
            of_items(items, names);
        }
    }
}

fn of_key(key: &SearchKey, names: &mut Vec<&'static str>) {
    match key {
        SearchKey::And(keys) | SearchKey::Or(keys) => {
            keys.iter().for_each(|key| of_key(key, names));
        }
        SearchKey::Not(key) => of_key(key, names),
        SearchKey::ModSeq(_) => names.push("CONDSTORE"),
        SearchKey::Younger(_) | SearchKey::Older(_) => names.push("WITHIN"),
        SearchKey::Extended(ExtendedKey::EmailId(_) | ExtendedKey::ThreadId(_)) => {
            names.push("OBJECTID");
        }
        SearchKey::Extended(ExtendedKey::Fuzzy(key)) => {
            names.push("SEARCH=FUZZY");
            of_key(key, names);
        }
        SearchKey::Extended(_) => names.push("SAVEDATE"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use letterlock_imap_wire::command::parse;

    #[test]
    fn commands_go_with_their_capabilities() {
        for (name, line) in [
            ("IDLE", "IDLE"),
            ("UNAUTHENTICATE", "UNAUTHENTICATE"),
            ("MOVE", "UID MOVE 1 x"),
            ("CONDSTORE", "FETCH 1 (MODSEQ)"),
            ("CONDSTORE", "SEARCH OR ALL NOT MODSEQ 1"),
            ("QRESYNC", "SELECT x (QRESYNC (1 1))"),
            ("SORT", "SORT (DATE) UTF-8 ALL"),
            ("ESORT", "SORT RETURN () (DATE) UTF-8 ALL"),
            ("SORT=DISPLAY", "SORT (REVERSE DISPLAYFROM) UTF-8 ALL"),
            ("THREAD=REFERENCES", "THREAD REFERENCES UTF-8 ALL"),
            ("PARTIAL", "UID FETCH 1:* UID (PARTIAL 1:2)"),
            ("PARTIAL", "SEARCH RETURN (PARTIAL 1:2) ALL"),
            ("ESEARCH", "SEARCH RETURN (MIN) ALL"),
            ("MULTISEARCH", "ESEARCH IN (personal) ALL"),
            ("CONTEXT=SEARCH", "ESEARCH IN (personal) RETURN (CONTEXT) ALL"),
            ("CONTEXT=SEARCH", "SEARCH RETURN (UPDATE) ALL"),
            ("CONTEXT=SORT", "SORT RETURN (UPDATE) (DATE) UTF-8 ALL"),
            ("CONTEXT=SEARCH", "CANCELUPDATE \"a\""),
            ("NOTIFY", "SEARCH RETURN (UPDATE (UID)) ALL"),
            ("NOTIFY", "NOTIFY NONE"),
            ("PREVIEW", "NOTIFY SET (selected (MessageNew (PREVIEW) MessageExpunge))"),
            ("SAVEDATE", "ESEARCH IN (personal) SAVEDON 1-Jan-2024"),
            ("SEARCHRES", "SEARCH RETURN (SAVE) ALL"),
            ("OBJECTID", "STATUS x (MAILBOXID)"),
            ("SAVEDATE", "SEARCH SAVEDON 1-Jan-2024"),
            ("PREVIEW", "FETCH 1 PREVIEW (LAZY)"),
            ("LIST-METADATA", "LIST \"\" * RETURN (METADATA (/private/x))"),
            ("LIST-STATUS", "LIST \"\" * RETURN (STATUS (MESSAGES))"),
            ("STATUS=SIZE", "LIST \"\" * RETURN (STATUS (SIZE))"),
            ("QUOTA", "GETQUOTA \"\""),
            ("METADATA", "GETMETADATA \"\" /private/x"),
            ("ACL", "MYRIGHTS x"),
            ("COMPRESS=DEFLATE", "COMPRESS DEFLATE"),
            ("WITHIN", "SEARCH YOUNGER 5"),
            ("WITHIN", "SEARCH FUZZY YOUNGER 5"),
            ("SEARCH=FUZZY", "SEARCH NOT FUZZY SUBJECT x"),
            ("SEARCH=FUZZY", "SORT (RELEVANCY) UTF-8 ALL"),
            ("SASL-IR", "AUTHENTICATE PLAIN AAAA"),
            ("CREATE-SPECIAL-USE", "CREATE x (USE (\\Sent))"),
        ] {
            let command = parse(format!("a {line}").as_bytes(), 20).unwrap().command;
            let reply = |off: &[&str]| {
                let off: Vec<String> = off.iter().map(|&name| name.to_owned()).collect();
                refused(&command, &Capabilities::new(&off, 1))
            };
            assert_eq!(reply(&[]), None, "{line}");
            assert!(reply(&[name]).is_some(), "{line}");
        }
    }
}
