//! Messages that come octet by octet.

use letterlock_mailbox::{Columns, Expected, Flags, Handle, Intake, MailboxError, all_uids};

use crate::world::{World, date, inbox, message, options, text};

/// A message of several parts with a large attachment.
fn large(size: usize) -> Vec<u8> {
    let mut message = b"From: a@example.org\r\nSubject: =?utf-8?q?gro=C3=9F?=\r\nContent-Type: multipart/mixed;\r\n boundary=\"b\"\r\n\r\n\
        preamble\r\n--b\r\n\r\nneedle in the text\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nwithin\r\n\
        --b\r\nContent-Type: application/octet-stream; name=x\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        .to_vec();
    let mut number = 1u64;
    while message.len() < size {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        message.extend_from_slice(format!("{number:019}{number:019x}\r\n").as_bytes());
    }
    message.extend_from_slice(b"--b--\r\n");
    message
}

async fn put(intake: &mut Intake, message: &[u8], piece: usize) {
    intake.begin(Flags::default(), date(1)).await.unwrap();
    intake.announce(message.len() as u64).await.unwrap();
    for piece in message.chunks(piece) {
        intake.push(piece).await.unwrap();
    }
    assert_eq!(intake.end().await.unwrap(), message.len() as u64);
}

/// Octets of garbage and of uploads under way, seen from outside: the file is whole and has nothing left over.
async fn clean(world: &World, handle: &Handle) {
    handle.sweep().await.unwrap();
    let report = world
        .mailboxes
        .verify(world.account(), &Expected::default(), Box::new(|_, _| ()))
        .await
        .unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[tokio::test]
async fn what_comes_in_pieces_is_as_what_comes_at_once() {
    let (world, handle) = World::open().await;
    let header = [b"Subject: ".as_slice(), &b"x".repeat(5_000_000)].concat();
    let messages = [
        text("small", "one").to_vec(),
        large(262_144),
        large(3_000_000),
        b"\r\nno header".repeat(60_000),
        header,
        text("small", "two").to_vec(),
    ];
    let mut intake = handle.intake("Archive").await.unwrap();
    for (message, piece) in messages.iter().zip([7, 4096, 100_000, 16_384, 999_999, 1]) {
        put(&mut intake, message, piece).await;
    }
    let pieces = intake.store().await.unwrap();
    assert_eq!(pieces.uids, [1, 2, 3, 4, 5, 6]);
    let new = messages.iter().map(|octets| letterlock_mailbox::NewMessage {
        bytes: octets.clone().into(),
        ..message("")
    });
    let whole = handle.append("Drafts", new.collect()).await.unwrap();
    let columns = Columns { envelope: true, bodystructure: true, body: true, header: true };
    let one = handle.rows(pieces.folder, &all_uids(), columns, 0, 10).await.unwrap();
    let other = handle.rows(whole.folder, &all_uids(), columns, 0, 10).await.unwrap();
    for (message, (one, other)) in messages.iter().zip(one.iter().zip(&other)) {
        assert_eq!(handle.body(pieces.folder, one.uid).await.unwrap().unwrap(), message);
        assert_eq!(one.size, message.len() as u64);
        assert_eq!((&one.envelope, &one.header), (&other.envelope, &other.header));
        assert_eq!((&one.bodystructure, &one.body), (&other.bodystructure, &other.body));
        assert_ne!(one.email_id, other.email_id);
    }
    clean(&world, &handle).await;
}

#[tokio::test]
async fn many_messages_are_one_transaction() {
    let (world, handle) = World::open().await;
    let mut intake = handle.intake("INBOX").await.unwrap();
    for number in 0..400 {
        put(&mut intake, &text(&format!("n{number}"), &"x".repeat(5000)), 10_000).await;
    }
    let folder = inbox(&handle).await.folder;
    assert!(handle.rows(folder, &all_uids(), Columns::default(), 0, 10).await.unwrap().is_empty());
    assert_eq!(intake.store().await.unwrap().uids.len(), 400);
    clean(&world, &handle).await;
}

#[tokio::test]
async fn what_is_not_stored_leaves_nothing() {
    let (world, handle) = World::open().await;
    let mut intake = handle.intake("INBOX").await.unwrap();
    put(&mut intake, &large(700_000), 50_000).await;
    intake.begin(Flags::default(), date(1)).await.unwrap();
    intake.push(&large(900_000)).await.unwrap();
    drop(intake);
    let before = world.snapshot().iter().map(|(_, octets)| octets.len()).sum::<usize>();
    assert!(before > 700_000);
    clean(&world, &handle).await;
    // Nor after a lock or a crash in the middle; the place is used again.
    for crash in [false, true] {
        let handle = world.unlock().await;
        let mut intake = handle.intake("INBOX").await.unwrap();
        intake.begin(Flags::default(), date(1)).await.unwrap();
        intake.push(&large(900_000)).await.unwrap();
        let handle = if crash {
            world.crash().await
        } else {
            world.mailboxes.lock(world.account()).await.unwrap();
            world.unlock().await
        };
        assert!(matches!(intake.end().await, Err(MailboxError::Locked)));
        clean(&world, &handle).await;
        assert_eq!(handle.usage().await.unwrap().messages, 0);
    }
}

#[tokio::test]
async fn limits_are_judged_before_the_octets_come() {
    let world = World::with(letterlock_mailbox::Options { message_size: 1000, ..options() }).await;
    let handle = world.unlock().await;
    assert!(matches!(handle.intake("None").await, Err(MailboxError::NoSuchFolder)));
    let mut intake = handle.intake("INBOX").await.unwrap();
    intake.begin(Flags::default(), date(1)).await.unwrap();
    intake.announce(600).await.unwrap();
    assert!(matches!(intake.announce(401).await, Err(MailboxError::TooBig { limit: 1000 })));
    handle.set_quota(Some(1500));
    let mut intake = handle.intake("INBOX").await.unwrap();
    put(&mut intake, &[b'x'; 900], 900).await;
    intake.begin(Flags::default(), date(1)).await.unwrap();
    assert!(matches!(intake.announce(601).await, Err(MailboxError::OverQuota)));
    handle.set_quota(None);
    handle.set_message_quota(Some(1));
    let mut intake = handle.intake("INBOX").await.unwrap();
    put(&mut intake, b"x", 1).await;
    assert!(matches!(intake.begin(Flags::default(), date(1)).await, Err(MailboxError::OverQuota)));
    // What others brought meanwhile counts at the end.
    let mut intake = handle.intake("INBOX").await.unwrap();
    put(&mut intake, b"x", 1).await;
    handle.append("INBOX", vec![message("y")]).await.unwrap();
    assert!(matches!(intake.store().await, Err(MailboxError::OverQuota)));
}
