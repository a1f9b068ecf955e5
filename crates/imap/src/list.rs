//! LIST, basic and extended (RFC 9051 §6.3.9, with CHILDREN, SPECIAL-USE and STATUS), and LSUB (RFC 3501 §6.3.9).
//!
//! What is told of which name is decided by pure functions over the list of folders and subscriptions.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use letterlock_imap_wire::command::list::{ListReturn, ListSelection};
use letterlock_imap_wire::mailbox_name::pattern_matches;
use letterlock_imap_wire::response::{self, ListAttribute, ListKind, ListResponse};
use letterlock_imap_wire::{ListCommand, MailboxName};
use letterlock_mailbox::{Folder, Status};

use crate::account::OWNER;
use crate::folders::values;
use crate::metadata::{is_known, tell_listed};
use crate::outcome::{Outcome, Reply, Stop};
use crate::session::{Dialect, User};
use crate::wire::Wire;

/// What a client wants to know.
#[derive(Debug, Default)]
struct Query {
    /// Reference and pattern in one.
    patterns: Vec<String>,
    selection: ListSelection,
    returns: ListReturn,
    /// Whether the client knows `\NonExistent`; `\Noselect` is told otherwise.
    extended: bool,
}

/// A line of the answer.
#[derive(Debug, PartialEq, Eq)]
struct Entry<'a> {
    name: &'a str,
    attributes: Vec<ListAttribute>,
    /// What RECURSIVEMATCH tells of children.
    child_info: &'static [&'static str],
    /// A STATUS response and others follow if they are asked for (RFC 5819 §2): the mailbox is there.
    status: bool,
}

/// LIST.
pub(crate) async fn list(user: &User, command: &ListCommand, wire: &mut Wire) -> Outcome {
    let query = query(user, command)?;
    let metadata = query.returns.metadata.iter().flatten();
    if !metadata.clone().all(|entry| is_known(entry)) {
        return Ok(Reply::bad("Entries begin with /private or /shared"));
    }
    if command.selection.is_none()
        && matches!(query.patterns.as_slice(), [only] if is_root(user, command, only))
    {
        put(user, &mut wire.out, ListKind::List, "", &[ListAttribute::NoSelect], &[]);
        return Ok(Reply::ok("Listed"));
    }
    let folders = user.mailbox().folders().await?;
    let subscriptions = match query.selection.subscribed {
        true => user.mailbox().subscriptions().await?,
        false => Vec::new(),
    };
    let figures: HashMap<String, Status> = match query.returns.status {
        Some(_) => user.mailbox().status_all().await?.into_iter().collect(),
        None => HashMap::new(),
    };
    for entry in entries(&query, &folders, &subscriptions) {
        put(user, &mut wire.out, ListKind::List, entry.name, &entry.attributes, entry.child_info);
        let items = query.returns.status.as_ref().filter(|_| entry.status);
        if let (Some(items), Some(status)) = (items, figures.get(entry.name)) {
            let values = values(user, status, items).await?;
            response::status(&mut wire.out, entry.name, user.form(), &values);
        }
        if query.returns.my_rights && entry.status {
            response::my_rights(&mut wire.out, entry.name, user.form(), OWNER);
        }
        if let Some(entries) = query.returns.metadata.as_ref().filter(|_| entry.status) {
            let special_use = entry.attributes.iter().find_map(|attribute| match attribute {
                ListAttribute::Use(special_use) => Some(*special_use),
                _ => None,
            });
            tell_listed(user, (entry.name, special_use), entries, wire).await?;
        }
        wire.relieve().await?;
    }
    Ok(Reply::ok("Listed"))
}

/// `LIST "" ""` asks for the separator alone (RFC 9051 §6.3.9).
fn is_root(user: &User, command: &ListCommand, pattern: &str) -> bool {
    let reference = command.reference.decode_pattern(user.form()).unwrap_or_default();
    pattern.len() == reference.len() && command.returns.is_none()
}

fn query(user: &User, command: &ListCommand) -> Result<Query, Stop> {
    let patterns =
        command.patterns.iter().map(|pattern| full_pattern(user, &command.reference, pattern));
    Ok(Query {
        patterns: patterns.collect::<Result<_, _>>()?,
        selection: command.selection.unwrap_or_default(),
        returns: command.returns.clone().unwrap_or_default(),
        extended: command.selection.is_some()
            || command.returns.is_some()
            || user.dialect() == Dialect::Rev2,
    })
}

/// The reference is simply what the pattern begins with.
fn full_pattern(
    user: &User,
    reference: &MailboxName,
    pattern: &MailboxName,
) -> Result<String, Reply> {
    match (reference.decode_pattern(user.form()), pattern.decode_pattern(user.form())) {
        (Some(reference), Some(pattern)) => Ok(reference + &pattern),
        _ => Err(Reply::bad("The mailbox pattern is malformed")),
    }
}

fn put(
    user: &User,
    out: &mut Vec<u8>,
    kind: ListKind,
    name: &str,
    attributes: &[ListAttribute],
    child_info: &[&str],
) {
    let line = ListResponse { kind, attributes, name, child_info, old_name: None };
    response::list(out, user.form(), &line);
}

/// Every name that may be listed, and its folder.
fn candidates<'a>(
    query: &Query,
    folders: &'a [Folder],
    subscriptions: &'a [String],
) -> BTreeMap<&'a str, Option<&'a Folder>> {
    let mut all: BTreeMap<&str, Option<&Folder>> = BTreeMap::new();
    for name in subscriptions {
        all.insert(name, None);
        if query.selection.recursive_match {
            all.extend(superiors(name).map(|above| (above, None)));
        }
    }
    all.extend(folders.iter().map(|folder| (folder.name.as_str(), Some(folder))));
    all
}

fn superiors(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').map(|(at, _)| &name[..at])
}

fn entries<'a>(
    query: &Query,
    folders: &'a [Folder],
    subscriptions: &'a [String],
) -> Vec<Entry<'a>> {
    let all = candidates(query, folders, subscriptions);
    let subscribed: BTreeSet<&str> = subscriptions.iter().map(String::as_str).collect();
    let is_subscribed = |name: &str, folder: Option<&Folder>| {
        folder.map_or_else(|| subscribed.contains(name), |folder| folder.subscribed)
    };
    let meets = |name: &str, folder: Option<&Folder>| {
        (!query.selection.subscribed || is_subscribed(name, folder))
            && (!query.selection.special_use
                || folder.is_some_and(|folder| folder.special_use.is_some()))
    };
    let matches = |name: &str| query.patterns.iter().any(|pattern| pattern_matches(pattern, name));
    // RFC 9051 §7.3.1: a name that is no mailbox is listed if it was selected itself, or as a level that a `%` ends at. Who
    // does not know `\NonExistent` takes it for a mailbox that cannot be opened.
    let stands = |name: &str, folder: Option<&Folder>| {
        !query.extended
            || query.selection.subscribed
            || folder.is_some_and(|folder| folder.id.is_some())
            || query.patterns.iter().any(|one| one.ends_with('%') && pattern_matches(one, name))
    };
    let told = |name: &str, folder: Option<&Folder>| meets(name, folder) && stands(name, folder);
    // RFC 9051 §6.3.9.1, RECURSIVEMATCH: names above something that is wanted. Those that are not wanted themselves are
    // told only if no pattern reaches it (§6.3.9.6).
    let options = options(query.selection);
    let met: Vec<&str> = match query.selection.recursive_match {
        true => all
            .iter()
            .filter(|(name, folder)| meets(name, **folder))
            .map(|(name, _)| *name)
            .collect(),
        false => Vec::new(),
    };
    let parents: BTreeSet<&str> = met.iter().flat_map(|name| superiors(name)).collect();
    let above: BTreeSet<&str> =
        met.iter().filter(|name| !matches(name)).flat_map(|name| superiors(name)).collect();
    all.iter()
        .filter(|(name, folder)| matches(name) && (told(name, **folder) || above.contains(*name)))
        .map(|(name, folder)| Entry {
            name,
            attributes: attributes(query, *folder, is_subscribed(name, *folder)),
            child_info: if parents.contains(*name) { options } else { &[] },
            status: meets(name, *folder) && folder.is_some_and(|folder| folder.id.is_some()),
        })
        .collect()
}

/// The selection options by which children may match (RFC 5258 §4, RFC 6154 §6).
fn options(selection: ListSelection) -> &'static [&'static str] {
    match (selection.subscribed, selection.special_use) {
        (true, true) => &["SUBSCRIBED", "SPECIAL-USE"],
        (true, false) => &["SUBSCRIBED"],
        (false, true) => &["SPECIAL-USE"],
        (false, false) => &[],
    }
}

fn attributes(query: &Query, folder: Option<&Folder>, subscribed: bool) -> Vec<ListAttribute> {
    let mut attributes = Vec::new();
    if folder.is_none_or(|folder| folder.id.is_none()) {
        attributes.push(if query.extended {
            ListAttribute::NonExistent
        } else {
            ListAttribute::NoSelect
        });
    }
    if subscribed && (query.returns.subscribed || query.selection.subscribed) {
        attributes.push(ListAttribute::Subscribed);
    }
    let has_children = folder.is_some_and(|folder| folder.has_children);
    attributes.push(if has_children {
        ListAttribute::HasChildren
    } else {
        ListAttribute::HasNoChildren
    });
    attributes.extend(folder.and_then(|folder| folder.special_use).map(ListAttribute::Use));
    attributes
}

/// LSUB.
pub(crate) async fn lsub(
    user: &User,
    reference: &MailboxName,
    pattern: &MailboxName,
    wire: &mut Wire,
) -> Outcome {
    let pattern = full_pattern(user, reference, pattern)?;
    let subscriptions = user.mailbox().subscriptions().await?;
    for (name, subscribed) in subscribed_names(&pattern, &subscriptions) {
        let attributes: &[ListAttribute] =
            if subscribed { &[] } else { &[ListAttribute::NoSelect] };
        put(user, &mut wire.out, ListKind::Lsub, name, attributes, &[]);
        wire.relieve().await?;
    }
    Ok(Reply::ok("Listed"))
}

/// The subscribed names that match, and with false those that only stand above one which the pattern's `%` does not
/// reach (RFC 3501 §6.3.9).
fn subscribed_names<'a>(pattern: &str, subscriptions: &'a [String]) -> BTreeMap<&'a str, bool> {
    let mut found = BTreeMap::new();
    for name in subscriptions {
        if pattern_matches(pattern, name) {
            found.insert(name.as_str(), true);
        } else {
            let reached = |above: &&str| pattern.contains('%') && pattern_matches(pattern, above);
            for above in superiors(name).filter(reached) {
                found.entry(above).or_insert(false);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use letterlock_imap_wire::SpecialUse;

    /// Names without folders: ids are the mailbox's to give.
    fn folders(names: &[&str]) -> Vec<Folder> {
        let under = |name: &str| format!("{name}/");
        let folder = |name: &&str| Folder {
            id: None,
            name: (*name).to_owned(),
            uid_validity: 0,
            special_use: (*name == "Sent").then_some(SpecialUse::Sent),
            subscribed: false,
            has_children: names.iter().any(|other| other.starts_with(&under(name))),
        };
        names.iter().map(folder).collect()
    }

    fn names<'a>(
        query: &Query,
        folders: &'a [Folder],
        subscriptions: &'a [String],
    ) -> Vec<&'a str> {
        entries(query, folders, subscriptions).into_iter().map(|entry| entry.name).collect()
    }

    fn pattern(text: &str) -> Query {
        Query { patterns: vec![text.to_owned()], ..Query::default() }
    }

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn wildcards() {
        let folders = folders(&["Foo", "Foo/Bar", "Foo/Bar/Baz", "INBOX", "Sent"]);
        assert_eq!(names(&pattern("*"), &folders, &[]).len(), 5);
        assert_eq!(names(&pattern("%"), &folders, &[]), ["Foo", "INBOX", "Sent"]);
        assert_eq!(names(&pattern("Foo/%"), &folders, &[]), ["Foo/Bar"]);
        assert_eq!(names(&pattern("inbox"), &folders, &[]), ["INBOX"]);
        let two = Query { patterns: owned(&["INBOX", "S*"]), ..Query::default() };
        assert_eq!(names(&two, &folders, &[]), ["INBOX", "Sent"]);
    }

    #[test]
    fn attributes_fit_what_the_client_knows() {
        let folders = folders(&["Foo", "Foo/Bar", "Sent"]);
        let entries = entries(&pattern("*"), &folders, &[]);
        assert_eq!(entries[0].attributes, [ListAttribute::NoSelect, ListAttribute::HasChildren]);
        assert_eq!(
            entries[2].attributes[1..],
            [ListAttribute::HasNoChildren, ListAttribute::Use(SpecialUse::Sent)]
        );
        let extended = Query { extended: true, ..pattern("Fo%") };
        assert_eq!(
            super::entries(&extended, &folders, &[])[0].attributes[0],
            ListAttribute::NonExistent
        );
        let all = Query { extended: true, ..pattern("*") };
        assert_eq!(names(&all, &folders, &[]).len(), 0, "these are no mailboxes");
    }

    #[test]
    fn special_uses_can_be_selected() {
        let folders = folders(&["INBOX", "Sent"]);
        let selection = ListSelection { special_use: true, ..ListSelection::default() };
        assert_eq!(names(&Query { selection, ..pattern("*") }, &folders, &[]), ["Sent"]);
    }

    #[test]
    fn subscribed_names_need_not_exist() {
        let folders = folders(&["INBOX"]);
        let subscriptions = owned(&["Gone/Deep", "INBOX/x"]);
        let selection = ListSelection { subscribed: true, ..ListSelection::default() };
        let query = Query { selection, extended: true, ..pattern("*") };
        let found = entries(&query, &folders, &subscriptions);
        assert_eq!(
            found.iter().map(|entry| entry.name).collect::<Vec<_>>(),
            ["Gone/Deep", "INBOX/x"]
        );
        assert_eq!(
            found[0].attributes[..2],
            [ListAttribute::NonExistent, ListAttribute::Subscribed]
        );
        assert!(!found[0].status);
    }

    #[test]
    fn recursive_match_tells_of_those_above() {
        let mut folders = folders(&["Fruit", "Fruit/Apple", "Veg", "Veg/Leek"]);
        folders[1].subscribed = true;
        let subscriptions = owned(&["Fruit/Apple", "Tofu/Smoked"]);
        let selection =
            ListSelection { subscribed: true, recursive_match: true, ..ListSelection::default() };
        let query = Query { selection, extended: true, ..pattern("%") };
        let found = entries(&query, &folders, &subscriptions);
        let told: Vec<(&str, &[&str])> =
            found.iter().map(|entry| (entry.name, entry.child_info)).collect();
        assert_eq!(told, [("Fruit", &["SUBSCRIBED"][..]), ("Tofu", &["SUBSCRIBED"])]);
        // Where the pattern reaches the child itself, nothing is said of the one above.
        let query = Query { patterns: owned(&["*"]), ..query };
        assert_eq!(names(&query, &folders, &subscriptions), ["Fruit/Apple", "Tofu/Smoked"]);
        // A name that is wanted itself tells of what is below it all the same.
        folders[0].subscribed = true;
        let found = entries(&query, &folders, &subscriptions);
        assert_eq!((found[0].name, found[0].child_info), ("Fruit", &["SUBSCRIBED"][..]));
        // The same for children with a use.
        folders[3].special_use = Some(SpecialUse::Archive);
        let selection =
            ListSelection { special_use: true, recursive_match: true, ..ListSelection::default() };
        let found = Query { selection, ..pattern("%") };
        let found = entries(&found, &folders, &[]);
        assert_eq!((found.len(), found[0].name), (1, "Veg"));
        assert_eq!(found[0].child_info, ["SPECIAL-USE"]);
    }

    #[test]
    fn lsub_tells_of_what_its_percent_does_not_reach() {
        let subscriptions = owned(&["INBOX", "foo/bar", "foo/baz"]);
        let found = |pattern: &str| {
            subscribed_names(pattern, &subscriptions).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(found("%"), [("INBOX", true), ("foo", false)]);
        assert_eq!(found("*"), [("INBOX", true), ("foo/bar", true), ("foo/baz", true)]);
        assert_eq!(found("foo/%"), [("foo/bar", true), ("foo/baz", true)]);
        assert!(
            found("foo").is_empty(),
            "it is not subscribed, and no wildcard stands for what is"
        );
    }
}
