//! GETMETADATA and SETMETADATA (RFC 5464): annotations of mailboxes and, under the empty name, of the account.
//!
//! A mailbox has one owner, so its `/shared` entries are as much the owner's as its `/private` ones. What is `/shared` of
//! the server belongs to the administrator: nothing is there, and nothing can be put there. `/private/specialuse` tells the
//! mailbox's use (RFC 6154 §4), which was given to it when it was made.

use letterlock_imap_wire::command::account::{GetMetadata, MetadataDepth, SetMetadata};
use letterlock_imap_wire::response::metadata;
use letterlock_imap_wire::{Code, MailboxName};
use letterlock_mailbox::name::normalise;
use letterlock_mailbox::{Annotation, MailboxError, MetadataError, SpecialUse};

use crate::outcome::{Outcome, Reply, Stop};
use crate::session::User;
use crate::wire::Wire;

/// The entry that is the mailbox's use.
const SPECIAL_USE: &str = "/private/specialuse";

/// What is told of an entry; `None` says that it has no value.
type Told<'a> = (&'a str, Option<&'a [u8]>);

/// GETMETADATA.
pub(crate) async fn get(user: &User, command: &GetMetadata, wire: &mut Wire) -> Outcome {
    let name = target(user, &command.mailbox)?;
    if !command.entries.iter().all(|entry| is_known(entry)) {
        return Ok(Reply::bad("Entries begin with /private or /shared"));
    }
    let mut all = user.mailbox().annotations(name.as_deref()).await?;
    let asks = |entry: &String| reaches(entry, command.depth, SPECIAL_USE);
    if let Some(name) = name.as_deref().filter(|_| command.entries.iter().any(asks)) {
        tie(&mut all, use_of(user, name).await?);
    }
    let (told, left_out) = choose(&all, &command.entries, command.depth, command.max_size);
    tell(user, name.as_deref().unwrap_or(""), &told, &mut wire.out);
    wire.relieve().await?;
    let reply = Reply::ok("These are the annotations");
    Ok(match left_out {
        Some(size) => reply.with(Code::MetadataLongEntries(size)),
        None => reply,
    })
}

fn tell(user: &User, name: &str, told: &[Told<'_>], out: &mut Vec<u8>) {
    if !told.is_empty() {
        metadata(out, name, user.form(), told.iter().copied());
    }
}

/// The use of a mailbox.
async fn use_of(user: &User, name: &str) -> Result<Option<SpecialUse>, MailboxError> {
    let name = normalise(name)?;
    let folders = user.mailbox().folders().await?;
    let folder = folders.into_iter().find(|folder| folder.name == name);
    Ok(folder.and_then(|folder| folder.special_use))
}

/// Puts the mailbox's use among its annotations.
fn tie(all: &mut Vec<Annotation>, special_use: Option<SpecialUse>) {
    all.retain(|one| !one.entry.eq_ignore_ascii_case(SPECIAL_USE));
    all.extend(special_use.map(|one| Annotation {
        entry: SPECIAL_USE.to_owned(),
        value: one.as_str().as_bytes().to_vec(),
    }));
}

/// A METADATA response for LIST (RFC 9590), of a mailbox and its use.
pub(crate) async fn tell_listed(
    user: &User,
    (name, special_use): (&str, Option<SpecialUse>),
    entries: &[String],
    wire: &mut Wire,
) -> Result<(), Stop> {
    let mut all = user.mailbox().annotations(Some(name)).await?;
    tie(&mut all, special_use);
    let (told, _) = choose(&all, entries, MetadataDepth::Zero, None);
    tell(user, name, &told, &mut wire.out);
    Ok(wire.relieve().await?)
}

/// The mailbox, or `None` for the account.
fn target(user: &User, mailbox: &MailboxName) -> Result<Option<String>, Reply> {
    let name = user.mailbox_name(mailbox)?;
    Ok((!name.is_empty()).then_some(name))
}

/// RFC 5464 §3.2: the two halves of the tree.
pub(crate) fn is_known(entry: &str) -> bool {
    let top = entry.split('/').nth(1).unwrap_or_default();
    top.eq_ignore_ascii_case("private") || top.eq_ignore_ascii_case("shared")
}

/// What is told, and the size of the largest value that was left out for its size.
fn choose<'a>(
    all: &'a [Annotation],
    entries: &'a [String],
    depth: MetadataDepth,
    max_size: Option<u64>,
) -> (Vec<Told<'a>>, Option<u64>) {
    let (mut told, mut left_out): (Vec<Told<'a>>, _) = (Vec::new(), None);
    for entry in entries {
        let before = told.len();
        let mut is_there = false;
        for annotation in all.iter().filter(|one| reaches(entry, depth, &one.entry)) {
            is_there |= annotation.entry.eq_ignore_ascii_case(entry);
            let size = annotation.value.len() as u64;
            if max_size.is_some_and(|max| size > max) {
                left_out = left_out.max(Some(size));
            } else if !told.iter().any(|(name, _)| name.eq_ignore_ascii_case(&annotation.entry)) {
                told.push((&annotation.entry, Some(&annotation.value)));
            }
        }
        if depth == MetadataDepth::Zero && !is_there {
            told.insert(before, (entry, None));
        }
    }
    (told, left_out)
}

/// Whether a question for `asked` is about `entry`.
fn reaches(asked: &str, depth: MetadataDepth, entry: &str) -> bool {
    let Some(head) = entry.get(..asked.len()) else { return false };
    if !head.eq_ignore_ascii_case(asked) {
        return false;
    }
    match (&entry[asked.len()..], depth) {
        ("", _) => true,
        (_, MetadataDepth::Zero) => false,
        (below, MetadataDepth::One) => below.starts_with('/') && !below[1..].contains('/'),
        (below, MetadataDepth::Infinity) => below.starts_with('/'),
    }
}

/// SETMETADATA.
pub(crate) async fn set(user: &User, command: SetMetadata) -> Outcome {
    let name = target(user, &command.mailbox)?;
    for (entry, _) in &command.values {
        if !is_known(entry) || entry.matches('/').count() < 2 {
            return Ok(Reply::bad("Entries begin with /private/ or /shared/"));
        }
        if name.is_some() && entry.eq_ignore_ascii_case(SPECIAL_USE) {
            let text = "A mailbox is given its use when it is made";
            return Ok(Reply::no(text).with(Code::UseAttr));
        }
        let shared = entry.get(..7).is_some_and(|top| top.eq_ignore_ascii_case("/shared"));
        if name.is_none() && shared {
            let text = "What the server shares is the administrator's to set";
            return Ok(Reply::no(text).with(Code::NoPerm));
        }
    }
    match user.mailbox().annotate(name.as_deref(), command.values).await {
        Ok(()) => Ok(Reply::ok("Annotated")),
        Err(MetadataError::TooLarge(most)) => {
            Ok(Reply::no("The value is too large").with(Code::MetadataMaxSize(most)))
        }
        Err(MetadataError::TooMany) => {
            Ok(Reply::no("There are too many annotations").with(Code::MetadataTooMany))
        }
        Err(MetadataError::Mailbox(error)) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotation(entry: &str, value: &str) -> Annotation {
        Annotation { entry: entry.to_owned(), value: value.as_bytes().to_vec() }
    }

    #[test]
    fn depth_says_how_far_below() {
        let all = [
            annotation("/private/a", "1"),
            annotation("/private/a/b", "22"),
            annotation("/private/a/b/c", "333"),
            annotation("/private/ab", "4"),
        ];
        let names = |entry: &str, depth, max| {
            let entries = [entry.to_owned()];
            let (told, left_out) = choose(&all, &entries, depth, max);
            let names: Vec<String> = told
                .into_iter()
                .map(|(name, value)| format!("{name}{}", value.map_or(0, <[u8]>::len)))
                .collect();
            (names.join(" "), left_out)
        };
        use MetadataDepth::{Infinity, One, Zero};
        assert_eq!(names("/PRIVATE/A", Zero, None).0, "/private/a1");
        assert_eq!(names("/private/a", One, None).0, "/private/a1 /private/a/b2");
        assert_eq!(names("/private/a", Infinity, Some(2)).0, "/private/a1 /private/a/b2");
        assert_eq!(names("/private/a", Infinity, Some(2)).1, Some(3));
        assert_eq!(names("/private/x", Zero, None).0, "/private/x0");
        assert_eq!(names("/private/x", One, None).0, "");
        assert_eq!(names("/private", One, None).0, "/private/a1 /private/ab1");
    }

    #[test]
    fn entries_stand_in_one_of_two_trees() {
        assert!(is_known("/private/x") && is_known("/SHARED"));
        assert!(!is_known("/other/x") && !is_known("private"));
    }
}
