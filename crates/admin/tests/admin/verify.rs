//! `verify` finds what the tests break, and says what can be done.

use std::os::unix::fs::FileExt;

use letterlock_admin::control;

use crate::world::*;

async fn verify(world: &World, address: Option<&str>, repair: bool) -> Vec<VerifiedRow> {
    let address = address.map(str::to_owned);
    match world.ok(Request::Verify { address, repair }).await {
        Response::Verified(rows) => rows,
        other => panic!("{other:?}"),
    }
}

fn row<'a>(rows: &'a [VerifiedRow], subject: &str) -> &'a VerifiedRow {
    rows.iter().find(|row| row.subject == subject).expect(subject)
}

/// Changes an octet of a file on disk.
fn damage(path: &std::path::Path, at: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut octet = [0];
    file.read_exact_at(&mut octet, at).unwrap();
    file.write_all_at(&[octet[0] ^ 1], at).unwrap();
}

#[tokio::test]
async fn what_is_sound_is_said_to_be() {
    let (world, _) = World::with_ann().await;
    world.ok(add("bot@a.test", Some(PASSWORD), true)).await;
    let rows = verify(&world, None, false).await;
    let subjects: Vec<_> = rows.iter().map(|row| row.subject.as_str()).collect();
    assert_eq!(subjects, ["directory.db", "queue.db", "state.db", "ann@a.test", "bot@a.test"]);
    assert!(rows.iter().all(|row| row.found.is_empty()), "{rows:?}");
    let ann = row(&rows, "ann@a.test");
    assert_eq!(ann.not_checked.as_deref(), Some("locked"));
    assert!(ann.pages > 0);
    assert_eq!(row(&rows, "bot@a.test").not_checked, None, "the server opens it itself");
    let _session = world.log_in("ann@a.test", PASSWORD).await.unwrap();
    for repair in [false, true] {
        let rows = verify(&world, Some("ann@a.test"), repair).await;
        assert_eq!((rows.len(), &rows[0].not_checked), (1, &None));
        assert!(rows[0].found.is_empty() && rows[0].repaired.is_empty(), "{rows:?}");
    }
    assert!(
        world
            .refused(Request::Verify { address: Some("x@a.test".into()), repair: false })
            .await
            .contains("no account")
    );
}

#[tokio::test]
async fn damage_is_found_in_a_locked_mailbox() {
    let (world, _) = World::with_ann().await;
    let id = world.show("ann@a.test").await.row.id;
    let file = world.dir.path().join("accounts").join(&id).join("mailbox.db");
    damage(&file, 4096 * 2 + 100);
    let rows = verify(&world, None, false).await;
    let ann = row(&rows, "ann@a.test");
    assert!(ann.found[0].starts_with("page 3 of the file is damaged"), "{ann:?}");
    assert_eq!(ann.found.len(), 1);
    assert_eq!(ann.not_checked.as_deref(), Some("locked"));
    assert!(ann.advice.as_ref().unwrap().contains("unlocked"));
    assert!(row(&rows, "queue.db").found.is_empty());
    std::fs::remove_file(&file).unwrap();
    let rows = verify(&world, Some("ann@a.test"), false).await;
    assert!(rows[0].found[0].starts_with("cannot be read"), "{rows:?}");
}

#[tokio::test]
async fn files_that_do_not_agree_are_found() {
    let (world, _) = World::with_ann().await;
    world.send("ann@a.test", Origin::Inbound).await;
    let id = world.show("ann@a.test").await.row.id;
    let account = id.parse().unwrap();
    // As after a crash in the middle of a removal, and of a restore.
    world.admin.directory.remove_account(account).await.unwrap();
    let rows = verify(&world, None, false).await;
    assert_eq!(row(&rows, "queue.db").found, [format!("mail waits for {id}, which is no account")]);
    assert_eq!(row(&rows, &format!("accounts/{id}")).found, ["belongs to no account"]);
    let rows = verify(&world, None, true).await;
    let queue = row(&rows, "queue.db");
    assert!(queue.found.is_empty() && queue.repaired.len() == 1, "{queue:?}");
    assert_eq!(row(&rows, &format!("accounts/{id}")).found.len(), 1, "a folder is never removed");
    assert!(row(&verify(&world, None, false).await, "queue.db").repaired.is_empty());
}

#[tokio::test]
async fn a_mailbox_that_is_older_than_its_mark_is_found() {
    let (world, _) = World::with_ann().await;
    let session = world.log_in("ann@a.test", PASSWORD).await.unwrap();
    world.admin.directory.set_mark(session.account.id, 1_000_000).await.unwrap();
    let rows = verify(&world, Some("ann@a.test"), false).await;
    assert!(rows[0].found[0].contains("its mark is 1000000"), "{rows:?}");
}

#[tokio::test]
async fn progress_is_heard_over_the_socket() {
    let (world, _) = World::with_ann().await;
    let path = world.dir.path().join(control::SOCKET);
    let listener = control::bind(&path).unwrap();
    let server = tokio::spawn(control::serve(listener, world.admin.clone()));
    let mut heard = Vec::new();
    let verify = Request::Verify { address: None, repair: false };
    let outcome =
        control::call_with(&path, &verify, |progress| heard.push(progress)).await.unwrap();
    assert!(matches!(outcome, Ok(Response::Verified(rows)) if rows.len() == 4));
    assert!(
        !heard.is_empty() && heard.iter().all(|progress| progress.of == 4 && progress.done <= 4)
    );
    let health = control::call(&path, &Request::Health).await.unwrap();
    assert!(matches!(health, Ok(Response::Done(_))));
    server.abort();
}
