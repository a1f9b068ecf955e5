//! Accounts, their keys and slots.

use std::time::Duration;

use letterlock_directory::{AccountState, DirectoryError, Holding, KeyMode, QuotaVerdict};
use letterlock_vault::{AccountId, SlotKind};

use crate::world::{World, at, mailbox};

#[tokio::test]
async fn an_account_is_kept_whole() {
    let world = World::with_domain("example.org").await;
    let id = AccountId::generate();
    let mut new = world.new_account(id, "Ann@example.org");
    new.keys = world.keys(id, &[3, 1]);
    (new.quota, new.quota_messages) = (Some(5_000_000_000), Some(70_000));
    new.display_name = Some("Ann Ä".to_owned());
    world.directory.add_account(new.clone()).await.unwrap();
    let world = world.crash().await;
    let snapshot = world.directory.snapshot();
    let account = snapshot.account_by_address(&mailbox("ann@example.org")).unwrap();
    assert_eq!((account.id, account.address.to_string().as_str()), (id, "Ann@example.org"));
    assert_eq!((account.mode, account.state), (KeyMode::ServerHeld, AccountState::Enabled));
    assert_eq!(
        (account.quota, account.quota_messages, account.display_name.as_deref()),
        (Some(5_000_000_000), Some(70_000), Some("Ann Ä"))
    );
    assert_eq!((account.created_at, account.next_slot_id()), (at(10), 4));
    let (one, two) = (&account.secrets, &new.keys.secrets);
    assert_eq!(
        (one.epoch, &one.data_key, &one.sealing_secret),
        (two.epoch, &two.data_key, &two.sealing_secret)
    );
    assert_eq!(one.sealing_public, two.sealing_public);
    let [first, third] = account.slots.as_slice() else { panic!("two slots") };
    assert_eq!((first.slot.id, third.slot.id), (1, 3));
    assert_eq!(third.slot, new.keys.slots[0].slot);
    assert_eq!(
        (third.slot.kind, third.name.as_str(), third.created_at),
        (SlotKind::Server, "main", at(20))
    );
    assert!(snapshot.account_by_address(&mailbox("ann+x@example.org")).is_none());
}

#[tokio::test]
async fn impossible_accounts_are_refused() {
    let world = World::with_domain("example.org").await;
    let id = world.account("a@example.org").await;
    let taken = world.try_account("A@example.org").await.unwrap_err();
    assert_eq!(taken.to_string(), "address A@example.org is taken");
    let elsewhere = world.try_account("a@else.example").await;
    assert!(matches!(elsewhere, Err(DirectoryError::NoSuchDomain(_))));
    let same = world.directory.add_account(world.new_account(id, "b@example.org")).await;
    assert!(matches!(same, Err(DirectoryError::AccountExists(_))));
    for (slots, empty) in [(&[][..], true), (&[1, 1][..], false)] {
        let id = AccountId::generate();
        let mut new = world.new_account(id, "b@example.org");
        new.keys = world.keys(id, slots);
        let refused = world.directory.add_account(new).await.unwrap_err();
        assert_eq!(matches!(refused, DirectoryError::LastSlot(_)), empty, "{refused}");
    }
    assert_eq!(world.directory.snapshot().accounts().len(), 1);
}

#[tokio::test]
async fn slots_come_and_go_and_never_come_back() {
    let world = World::with_domain("example.org").await;
    let id = world.account("a@example.org").await;
    let directory = &world.directory;
    let next = || directory.snapshot().account(id).unwrap().next_slot_id();
    assert_eq!(next(), 2);
    directory.add_slot(id, world.slot(id, 2, "phone")).await.unwrap();
    let taken = directory.add_slot(id, world.slot(id, 2, "tablet")).await;
    assert!(matches!(taken, Err(DirectoryError::SlotTaken { slot: 2, .. })));
    directory.remove_slot(id, 2).await.unwrap();
    let reused = directory.add_slot(id, world.slot(id, 2, "tablet")).await;
    assert!(matches!(reused, Err(DirectoryError::SlotTaken { .. })));
    assert!(matches!(directory.remove_slot(id, 2).await, Err(DirectoryError::NoSuchSlot { .. })));
    assert!(matches!(directory.remove_slot(id, 1).await, Err(DirectoryError::LastSlot(_))));

    let changed = world.slot(id, 1, "new password");
    directory.replace_slot(id, changed.clone()).await.unwrap();
    directory.slot_used(id, 1, at(100)).await.unwrap();
    directory.slot_used(id, 1, at(200)).await.unwrap();
    let world = world.crash().await;
    let account = world.directory.snapshot().account(id).unwrap();
    assert_eq!(account.next_slot_id(), 3, "remembered");
    let slot = account.slot(1).unwrap();
    assert_eq!((&slot.slot, slot.last_used), (&changed.slot, Some(at(100))), "kept to the hour");
    world.directory.slot_used(id, 1, at(100 + 3_600)).await.unwrap();
    let account = world.directory.snapshot().account(id).unwrap();
    assert_eq!(account.slot(1).unwrap().last_used, Some(at(3_700)));
}

#[tokio::test]
async fn keys_are_replaced_together() {
    let world = World::with_domain("example.org").await;
    let id = world.account("a@example.org").await;
    let rotated = world.keys(id, &[1]).secrets;
    world.directory.set_secrets(id, rotated.clone()).await.unwrap();
    let world = world.crash().await;
    let account = world.directory.snapshot().account(id).unwrap();
    assert_eq!(account.secrets.data_key, rotated.data_key);
    assert_eq!(account.slots.len(), 1);

    let mut keys = world.keys(id, &[2]);
    keys.mode = KeyMode::UserHeld;
    world.directory.replace_keys(id, keys.clone()).await.unwrap();
    let world = world.crash().await;
    let account = world.directory.snapshot().account(id).unwrap();
    assert_eq!((account.mode, account.next_slot_id()), (KeyMode::UserHeld, 3));
    assert_eq!(account.secrets.sealing_secret, keys.secrets.sealing_secret);
    assert_eq!(account.slots.iter().map(|named| named.slot.id).collect::<Vec<_>>(), [2]);
    let none = world.directory.replace_keys(id, world.keys(id, &[])).await;
    assert!(matches!(none, Err(DirectoryError::LastSlot(_))));
}

#[tokio::test]
async fn a_removed_account_is_gone() {
    let world = World::with_domain("example.org").await;
    let id = world.account("a@example.org").await;
    let other = world.account("b@example.org").await;
    world.directory.set_marks(vec![(id, 4), (other, 5)]).await.unwrap();
    world.directory.remove_account(id).await.unwrap();
    assert!(matches!(
        world.directory.remove_account(id).await,
        Err(DirectoryError::NoSuchAccount(_))
    ));
    let late = world.directory.set_quota(id, None).await;
    assert!(matches!(late, Err(DirectoryError::NoSuchAccount(_))));
    let world = world.crash().await;
    let snapshot = world.directory.snapshot();
    assert!(snapshot.account(id).is_none());
    assert_eq!((snapshot.accounts().len(), snapshot.mark(id), snapshot.mark(other)), (1, 0, 5));
    let again = world.account("a@example.org").await;
    assert_ne!(again, id);
}

#[tokio::test]
async fn marks_only_rise() {
    let world = World::with_domain("example.org").await;
    let id = world.account("a@example.org").await;
    assert_eq!(world.directory.snapshot().mark(id), 0);
    world.directory.set_mark(id, 7).await.unwrap();
    world.directory.set_marks(vec![(id, 3), (AccountId::generate(), 9)]).await.unwrap();
    let world = world.crash().await;
    assert_eq!(world.directory.snapshot().mark(id), 7);
    world.directory.reset_mark(id, 2).await.unwrap();
    let world = world.crash().await;
    assert_eq!(world.directory.snapshot().mark(id), 2);
    let before = world.directory.snapshot().account(id).unwrap();
    world.directory.set_quota(id, Some(8)).await.unwrap();
    world.directory.set_display_name(id, Some("A".to_owned())).await.unwrap();
    let after = world.directory.snapshot().account(id).unwrap();
    assert_eq!(
        (before.quota, after.quota, after.display_name.as_deref()),
        (None, Some(8), Some("A"))
    );
}

fn octets(octets: u64) -> Holding {
    Holding { octets, ..Holding::default() }
}

#[tokio::test]
async fn quotas_are_judged_and_remembered() {
    const DAY: Duration = Duration::from_secs(86_400);
    let world = World::with_domain("example.org").await;
    let id = world.account("a@example.org").await;
    let gone = world.account("gone@example.org").await;
    let judge = |world: &World, incoming, second| {
        world.directory.judge_quota(id, incoming, at(second), DAY)
    };
    assert_eq!(judge(&world, u64::MAX, 0), QuotaVerdict::Room, "no quota");
    world.directory.set_quota(id, Some(100)).await.unwrap();
    assert_eq!(world.directory.known_usage(id), None);
    world.directory.note_usage(id, octets(60));
    world.directory.note_accepted(id, 30);
    world.directory.note_usage(gone, octets(5));
    assert_eq!(world.directory.known_usage(id).map(|held| held.octets), Some(90));
    assert_eq!(judge(&world, 10, 0), QuotaVerdict::Room);
    assert_eq!(judge(&world, 11, 0), QuotaVerdict::Full);
    world.directory.note_accepted(id, 20);
    assert_eq!(judge(&world, 0, 10), QuotaVerdict::Full);
    world.directory.store_usage().await.unwrap();
    world.directory.remove_account(gone).await.unwrap();

    let world = world.crash().await;
    assert_eq!(world.directory.known_usage(id).map(|held| held.octets), Some(110));
    assert_eq!(world.directory.known_usage(gone), None);
    assert_eq!(judge(&world, 0, 10 + 86_399), QuotaVerdict::Full);
    assert_eq!(judge(&world, 0, 10 + 86_400), QuotaVerdict::FullForLong);
    // Room in between: the time begins anew.
    world.directory.note_usage(id, octets(99));
    assert_eq!(judge(&world, 0, 100_000), QuotaVerdict::Room);
    world.directory.note_usage(id, octets(100));
    assert_eq!(judge(&world, 0, 200_000), QuotaVerdict::Full);
    world.directory.store_usage().await.unwrap();
}

#[tokio::test]
async fn messages_are_counted_towards_their_own_limit() {
    const DAY: Duration = Duration::from_secs(86_400);
    let world = World::with_domain("example.org").await;
    let id = world.account("a@example.org").await;
    let judge = |world: &World, second| world.directory.judge_quota(id, 5, at(second), DAY);
    world.directory.set_message_quota(id, Some(3)).await.unwrap();
    world.directory.note_usage(id, Holding { octets: 1 << 40, messages: 2 });
    assert_eq!(judge(&world, 0), QuotaVerdict::Room);
    world.directory.note_accepted(id, 5);
    assert_eq!(judge(&world, 0), QuotaVerdict::Full);
    world.directory.store_usage().await.unwrap();
    let world = world.crash().await;
    let held = Holding { octets: (1 << 40) + 5, messages: 3 };
    assert_eq!(world.directory.known_usage(id), Some(held));
    assert_eq!(judge(&world, 86_400), QuotaVerdict::FullForLong);
    world.directory.set_message_quota(id, None).await.unwrap();
    assert_eq!(judge(&world, 86_400), QuotaVerdict::Room);
}

#[tokio::test]
async fn capabilities_are_switched_for_one_account() {
    let world = World::with_domain("example.org").await;
    let id = world.account("a@example.org").await;
    let switch = async |world: &World, off: &[&str], on: &[&str]| {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        world.directory.switch_capabilities(id, names(off), names(on)).await.unwrap();
    };
    let off = |world: &World| {
        world.directory.snapshot().account(id).unwrap().disabled_capabilities.clone()
    };
    assert_eq!(off(&world), [""; 0]);
    switch(&world, &["SORT", "NOTIFY"], &[]).await;
    switch(&world, &["SORT", "IDLE"], &["NOTIFY"]).await;
    let world = world.crash().await;
    assert_eq!(off(&world), ["IDLE", "SORT"]);
    switch(&world, &[], &["SORT", "IDLE", "MOVE"]).await;
    assert_eq!(off(&world), [""; 0]);
}

#[tokio::test]
async fn a_mailbox_that_was_emptied_unasked_is_not_full_for_long_when_it_fills_again() {
    const DAY: Duration = Duration::from_secs(86_400);
    let world = World::with_domain("example.org").await;
    let id = world.account("a@example.org").await;
    world.directory.set_quota(id, Some(100)).await.unwrap();
    let judge = |second| world.directory.judge_quota(id, 0, at(second), DAY);
    world.directory.note_usage(id, octets(100));
    assert_eq!(judge(0), QuotaVerdict::Full);
    // Its owner deletes, nobody writes, and much later it is full once more.
    world.directory.note_usage(id, octets(10));
    world.directory.note_usage(id, octets(100));
    assert_eq!(judge(30 * 86_400), QuotaVerdict::Full);
    assert_eq!(judge(31 * 86_400), QuotaVerdict::FullForLong);
}

/// Who has the server key and a copy of the files, and learns the old credential later, finds nothing that it opens.
#[tokio::test]
async fn what_wrapped_the_key_before_is_not_in_the_files() {
    let world = World::with_domain("example.org").await;
    let id = world.account("a@example.org").await;
    let log = world.folder.path().join("directory.db-wal");
    let length = || std::fs::metadata(&log).map_or(0, |meta| meta.len());
    world.directory.add_slot(id, world.slot(id, 2, "phone")).await.unwrap();
    assert_ne!(length(), 0);
    world.directory.replace_slot(id, world.slot(id, 2, "tablet")).await.unwrap();
    assert_eq!(length(), 0, "replaced");
    world.directory.add_slot(id, world.slot(id, 3, "laptop")).await.unwrap();
    assert_ne!(length(), 0);
    world.directory.remove_slot(id, 2).await.unwrap();
    assert_eq!(length(), 0, "removed");
    world.directory.replace_keys(id, world.keys(id, &[7])).await.unwrap();
    assert_eq!(length(), 0, "all replaced");
    assert_eq!(world.directory.verify().await.unwrap(), Vec::<String>::new());
}
