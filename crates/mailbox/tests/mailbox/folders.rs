//! Folders: names, hierarchy, uses, subscriptions.

use letterlock_imap_wire::SpecialUse;
use letterlock_mailbox::{MailboxError, SelectMode};

use crate::world::{World, fill, inbox, message, set};

async fn names(handle: &letterlock_mailbox::Handle) -> Vec<String> {
    handle.folders().await.unwrap().into_iter().map(|folder| folder.name).collect()
}

#[tokio::test]
async fn a_new_account_has_its_folders() {
    let (_world, handle) = World::open().await;
    let folders = handle.folders().await.unwrap();
    let shown: Vec<_> = folders
        .iter()
        .map(|f| (f.name.as_str(), f.special_use, f.subscribed, f.has_children))
        .collect();
    assert_eq!(
        shown,
        [
            ("Archive", Some(SpecialUse::Archive), true, false),
            ("Drafts", Some(SpecialUse::Drafts), true, false),
            ("INBOX", None, true, false),
            ("Junk", Some(SpecialUse::Junk), true, false),
            ("Sent", Some(SpecialUse::Sent), true, false),
            ("Trash", Some(SpecialUse::Trash), true, false),
        ]
    );
    let status = handle.status("inbox").await.unwrap();
    assert_eq!((status.messages, status.uid_next, status.size), (0, 1, 0));
    assert!(status.highest_modseq.0 > 0);
}

#[tokio::test]
async fn superiors_are_made_and_names_are_checked() {
    let (_world, handle) = World::open().await;
    let made = handle.create("a/b/c/", None).await.unwrap();
    assert_eq!((made.name.as_str(), made.has_children), ("a/b/c", false));
    for name in ["a", "a/b", "a/b/c"] {
        handle.status(name).await.unwrap();
    }
    assert!(matches!(handle.create("a/b", None).await, Err(MailboxError::AlreadyExists)));
    assert!(matches!(handle.create("iNbOx", None).await, Err(MailboxError::AlreadyExists)));
    assert!(matches!(handle.create("x//y", None).await, Err(MailboxError::BadName(_))));
    assert!(matches!(handle.create("x\n", None).await, Err(MailboxError::BadName(_))));
    handle.create("Inbox/below", None).await.unwrap();
    assert!(names(&handle).await.contains(&"INBOX/below".to_owned()));
}

#[tokio::test]
async fn special_uses_are_given_once() {
    let (_world, handle) = World::open().await;
    let again = handle.create("Sent 2", Some(SpecialUse::Sent)).await;
    assert!(matches!(again, Err(MailboxError::SpecialUse)));
    let view = handle.create("All", Some(SpecialUse::All)).await;
    assert!(matches!(view, Err(MailboxError::SpecialUse)));
    handle.delete("Sent").await.unwrap();
    let made = handle.create("Sent 2", Some(SpecialUse::Sent)).await.unwrap();
    assert_eq!(made.special_use, Some(SpecialUse::Sent));
}

#[tokio::test]
async fn a_deleted_folder_with_children_is_listed_without_id() {
    let (_world, handle) = World::open().await;
    handle.create("a/b", None).await.unwrap();
    handle.append("a", vec![message("x")]).await.unwrap();
    handle.delete("a").await.unwrap();
    let folders = handle.folders().await.unwrap();
    let a = folders.iter().find(|f| f.name == "a").unwrap();
    assert!(a.id.is_none() && a.has_children);
    assert!(matches!(
        handle.select("a", SelectMode::ReadWrite).await,
        Err(MailboxError::NoSuchFolder)
    ));
    assert!(matches!(handle.delete("a").await, Err(MailboxError::NoSuchFolder)));
    assert_eq!(handle.usage().await.unwrap().octets, 0);
    handle.delete("a/b").await.unwrap();
    assert!(!names(&handle).await.iter().any(|name| name.starts_with('a')));
    assert!(matches!(handle.delete("INBOX").await, Err(MailboxError::Forbidden)));
}

#[tokio::test]
async fn a_name_used_again_is_another_folder() {
    let (_world, handle) = World::open().await;
    let first = handle.create("again", None).await.unwrap();
    handle.append("again", vec![message("x")]).await.unwrap();
    handle.delete("again").await.unwrap();
    let second = handle.create("again", None).await.unwrap();
    assert!(second.uid_validity > first.uid_validity && second.id != first.id);
    assert_eq!(handle.status("again").await.unwrap().messages, 0);
    handle.sweep().await.unwrap();
    assert!(matches!(
        handle.expunge(first.id.unwrap(), None).await,
        Err(MailboxError::NoSuchFolder)
    ));
}

#[tokio::test]
async fn subscriptions_outlive_folders() {
    let (_world, handle) = World::open().await;
    handle.subscribe("nowhere/yet", true).await.unwrap();
    handle.subscribe("Drafts", false).await.unwrap();
    handle.delete("Junk").await.unwrap();
    let names = handle.subscriptions().await.unwrap();
    assert_eq!(names, ["Archive", "INBOX", "Junk", "Sent", "Trash", "nowhere/yet"]);
}

#[tokio::test]
async fn rename_takes_children_along() {
    let (_world, handle) = World::open().await;
    handle.create("a/b", None).await.unwrap();
    handle.create("a-z", None).await.unwrap();
    handle.append("a/b", vec![message("x")]).await.unwrap();
    let before = handle.status("a/b").await.unwrap();
    handle.rename("a", "new/place").await.unwrap();
    let mut names = names(&handle).await;
    names.retain(|name| name.starts_with('a') || name.starts_with('n'));
    assert_eq!(names, ["a-z", "new", "new/place", "new/place/b"]);
    let after = handle.status("new/place/b").await.unwrap();
    assert_eq!(after, before);
    assert!(matches!(handle.rename("new", "new/place/deeper").await, Err(MailboxError::Forbidden)));
    assert!(matches!(handle.rename("new", "a-z").await, Err(MailboxError::AlreadyExists)));
    assert!(matches!(handle.rename("nothing", "x").await, Err(MailboxError::NoSuchFolder)));
    let long = "l".repeat(250);
    let deep = [long.as_str(); 19].join("/");
    assert!(matches!(handle.rename("new", &deep).await, Err(MailboxError::BadName(_))));
    handle.status("new/place/b").await.unwrap();
}

#[tokio::test]
async fn rename_of_inbox_moves_its_messages_only() {
    let (_world, handle) = World::open().await;
    let folder = fill(&handle, 2_300).await;
    handle.create("INBOX/stays", None).await.unwrap();
    let before = inbox(&handle).await;
    handle.rename("inbox", "old mail").await.unwrap();
    let after = inbox(&handle).await;
    assert_eq!((after.folder, after.uid_validity), (folder, before.uid_validity));
    assert!(after.uids.is_empty());
    assert_eq!(handle.status("old mail").await.unwrap().messages, 2_300);
    assert!(names(&handle).await.contains(&"INBOX/stays".to_owned()));
    let changes = handle.changes(folder, before.highest_modseq).await.unwrap();
    assert_eq!(changes.vanished, set("1:2300"));
}

#[tokio::test]
async fn watchers_hear_of_folders() {
    let (_world, handle) = World::open().await;
    let mut seen = handle.folders_changed();
    for step in 0..4 {
        match step {
            0 => drop(handle.create("x", None).await.unwrap()),
            1 => handle.rename("x", "y").await.unwrap(),
            2 => handle.subscribe("y", true).await.unwrap(),
            _ => handle.delete("y").await.unwrap(),
        }
        assert!(seen.has_changed().unwrap(), "{step}");
        seen.borrow_and_update();
    }
    handle.subscribe("y", true).await.unwrap();
    assert!(!seen.has_changed().unwrap());
}
