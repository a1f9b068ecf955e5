//! ESEARCH: a search over several mailboxes (RFC 7377), one answer for each in which something was found.

use letterlock_imap_wire::command::multi::{MultiSearch, Source};
use letterlock_imap_wire::command::search::ExtendedKey;
use letterlock_imap_wire::response::{Esearch, esearch_in};
use letterlock_imap_wire::sequence::NumberSet;
use letterlock_imap_wire::{
    Code, MailboxName, SearchCommand, SearchKey, SearchReturn, SequenceSet,
};
use letterlock_mailbox::{Folder, FolderId, MailboxError, SelectMode};

use crate::context::{Asked, frozen, no_update};
use crate::fuzzy::{needs_fuzzy, scores};
use crate::outcome::{Outcome, Reply, Stop};
use crate::search::{asks_modseq, find_scored, highest_of, kept, result, set, tells};
use crate::select::Selected;
use crate::session::User;
use crate::view::View;
use crate::wire::{PROGRESS, Wire};

/// Runs the command.
pub(crate) async fn search(
    user: &User,
    mut selected: Option<&mut Selected>,
    command: MultiSearch,
    tag: &str,
    wire: &mut Wire,
) -> Outcome {
    let MultiSearch { sources, search } = command;
    let relevancy = search.returns.is_some_and(|returns| returns.relevancy);
    if let Some(reply) = needs_fuzzy(relevancy, &search.program) {
        return Ok(reply);
    }
    let alone = sources.iter().all(|source| *source == Source::Selected);
    if let Some(reply) = refusal(user, &sources, &search, alone, selected.is_some()) {
        return Ok(reply);
    }
    let mut follows = search.returns.is_some_and(|returns| returns.update);
    if follows {
        // RFC 7377 §2.2
        let Some(selected) = selected.as_ref() else {
            return Ok(Reply::bad("UPDATE needs a selected mailbox"));
        };
        if let Some(reply) = selected.contexts.refused(tag) {
            return Ok(reply);
        }
    }
    let open = selected.as_ref().map(|selected| selected.folder);
    // RFC 7377 §2.1: the same as `RETURN (ALL)`.
    let all = SearchReturn { all: true, ..SearchReturn::default() };
    let returns = search.returns.unwrap_or(all);
    let mut opening = None;
    for folder in targets(user, &sources, open).await? {
        let own = selected.as_deref_mut().filter(|own| folder.id == Some(own.folder));
        let finding = one(user, own.as_deref(), &folder, &search, returns);
        let Some(Hits { uids, highest, exact }) = wire.during(tag, PROGRESS, finding).await??
        else {
            continue;
        };
        if let Some(own) = own {
            if returns.save {
                own.view.save(kept(&uids, returns));
            }
            // RFC 7377 §2.2: UPDATE is about the selected mailbox only.
            if std::mem::take(&mut follows) {
                opening = Some((followed(&search, &folder, own, tag), uids.clone()));
            }
        }
        // What was not found is not told of, mailbox by mailbox.
        if tells(returns) && !uids.is_empty() {
            let mailbox = (folder.name.as_str(), user.form(), folder.uid_validity);
            let relevancy = scores(exact.as_ref(), &uids, returns);
            let result = Esearch { relevancy, ..result(&uids, returns, highest, set) };
            esearch_in(&mut wire.out, tag, mailbox, &result);
            wire.relieve().await?;
        }
    }
    // A command that fails leaves nothing behind.
    if let (Some((asked, uids)), Some(own)) = (opening, selected) {
        own.contexts.open(asked, &uids, &mut wire.out);
    }
    if follows {
        no_update(tag, "The selected mailbox was not searched", &mut wire.out);
    }
    Ok(Reply::ok("Searched"))
}

/// The selected mailbox's part of the search, to be followed.
fn followed(search: &SearchCommand, folder: &Folder, own: &Selected, tag: &str) -> Asked {
    Asked {
        tag: tag.to_owned(),
        uid: true,
        mailbox: Some(folder.name.clone()),
        key: frozen(&search.program.key, &own.view),
        criteria: None,
        items: search.update_items.clone(),
    }
}

/// What makes no sense (RFC 7377 §2.2): the selected mailbox where none is, and numbers or `$` in mailboxes that have
/// neither. `alone` says that only the selected mailbox is meant.
fn refusal(
    user: &User,
    sources: &[Source],
    search: &SearchCommand,
    alone: bool,
    is_selected: bool,
) -> Option<Reply> {
    if search.charset.is_some() && user.accepts_utf8() {
        return Some(Reply::bad("With UTF8=ACCEPT, everything is UTF-8"));
    }
    if !is_selected && (sources.is_empty() || sources.contains(&Source::Selected)) {
        return Some(Reply::bad("No mailbox is selected"));
    }
    let saves = search.returns.is_some_and(|returns| returns.save);
    let bound = !alone && (saves || is_bound(&search.program.key));
    bound.then(|| Reply::bad("Numbers and $ belong to the selected mailbox"))
}

/// Whether a search makes sense in the selected mailbox only.
fn is_bound(key: &SearchKey) -> bool {
    match key {
        SearchKey::Sequence(_) | SearchKey::Uid(SequenceSet::Saved) => true,
        SearchKey::And(keys) | SearchKey::Or(keys) => keys.iter().any(is_bound),
        SearchKey::Not(key) | SearchKey::Extended(ExtendedKey::Fuzzy(key)) => is_bound(key),
        _ => false,
    }
}

/// What was found in one mailbox.
struct Hits {
    uids: Vec<u32>,
    /// The modification sequence to be told.
    highest: Option<u64>,
    /// Which fit exactly, if scores are wanted.
    exact: Option<NumberSet>,
}

/// What a search finds in one mailbox; `None` if the mailbox has gone.
async fn one(
    user: &User,
    own: Option<&Selected>,
    folder: &Folder,
    search: &SearchCommand,
    returns: SearchReturn,
) -> Result<Option<Hits>, Stop> {
    let opened;
    let (id, view) = match own {
        Some(own) => (own.folder, &own.view),
        None => match user.mailbox().select(&folder.name, SelectMode::ReadOnly).await {
            Ok(found) => {
                // Nothing is `\Recent` in a mailbox that is not selected.
                opened = View::new(found.uids, NumberSet::new(), found.highest_modseq);
                (found.folder, &opened)
            }
            Err(MailboxError::NoSuchFolder) => return Ok(None),
            Err(error) => return Err(error.into()),
        },
    };
    let finding = find_scored(user, id, view, search.program.clone(), returns.relevancy);
    let (found, exact) = match finding.await {
        Err(Stop::Refuse(Reply { code: Some(Code::NonExistent), .. })) => return Ok(None),
        found => found?,
    };
    let highest = match asks_modseq(&search.program.key) && !found.uids.is_empty() {
        true => highest_of(user, id, &found.uids, Some(returns), found.highest_modseq).await?,
        false => None,
    };
    Ok(Some(Hits { uids: found.uids, highest, exact }))
}

/// The mailboxes of the sources, each once. Those that do not exist are passed over (RFC 5465 §6).
async fn targets(
    user: &User,
    sources: &[Source],
    open: Option<FolderId>,
) -> Result<Vec<Folder>, Stop> {
    let mut all = user.mailbox().folders().await?;
    all.retain(|folder| folder.id.is_some());
    let mut wanted = vec![false; all.len()];
    let selected = [Source::Selected];
    for source in if sources.is_empty() { &selected } else { sources } {
        let roots = match source {
            Source::Subtree(names) | Source::SubtreeOne(names) | Source::Mailboxes(names) => {
                roots(user, names).await?
            }
            _ => Vec::new(),
        };
        for (folder, wanted) in all.iter().zip(&mut wanted) {
            *wanted |= match source {
                Source::Selected => folder.id == open,
                // Rules and plus addresses may deliver anywhere.
                Source::Inboxes | Source::Personal => true,
                Source::Subscribed => folder.subscribed,
                _ => roots.iter().any(|root| reaches(source, root, folder)),
            };
        }
    }
    let mut wanted = wanted.into_iter();
    all.retain(|_| wanted.next().unwrap_or_default());
    Ok(all)
}

/// A mailbox that a client names.
struct Root {
    /// `None` if there is none of that name; there may be some below it all the same.
    id: Option<FolderId>,
    name: String,
}

async fn roots(user: &User, names: &[MailboxName]) -> Result<Vec<Root>, Stop> {
    let mut roots = Vec::with_capacity(names.len());
    for name in names {
        let name = user.mailbox_name(name)?;
        let id = match user.mailbox().status(&name).await {
            Ok(status) => Some(status.folder),
            Err(MailboxError::NoSuchFolder | MailboxError::BadName(_)) => None,
            Err(error) => return Err(error.into()),
        };
        roots.push(Root { id, name });
    }
    Ok(roots)
}

/// Whether the source has the folder in it because of this root.
fn reaches(source: &Source, root: &Root, folder: &Folder) -> bool {
    if root.id.is_some() && folder.id == root.id {
        return true;
    }
    // Of a name only the first part may be written in any case, if it is INBOX.
    let head = folder.name.get(..root.name.len()).unwrap_or_default();
    let same = head == root.name
        || root.name.eq_ignore_ascii_case("INBOX") && head.eq_ignore_ascii_case("INBOX");
    let below = folder.name.get(root.name.len()..).and_then(|rest| rest.strip_prefix('/'));
    match (source, below.filter(|_| same)) {
        (Source::Subtree(_), Some(_)) => true,
        (Source::SubtreeOne(_), Some(below)) => !below.contains('/'),
        _ => false,
    }
}
