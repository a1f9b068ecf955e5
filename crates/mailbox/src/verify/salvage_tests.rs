//! Any one page of a mailbox is damaged, whatever stands on it: what can be read is there afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use letterlock_vault::{Disk, FileKeys, Pages};
use rusqlite::types::Value;

use super::cells::cells;
use super::scan::{Found, recognise};
use super::tests::{World, mail};
use crate::{
    Columns, FlagChange, FlagOperation, Flags, Problem, Row, SelectMode, SystemFlags, UidRanges,
    all_uids,
};

const PAGE: usize = 4_096;

/// A mailbox of several folders with so many rows that no table has room on one page, and bodies of one and of
/// several pieces; some messages went, and their bodies are not cleared away yet.
async fn large() -> World {
    let world = World::new().await;
    let handle = &world.handle;
    for start in (100..190).step_by(30) {
        let some = (start..start + 30).map(|number| mail(number, 40 * (number % 7))).collect();
        handle.append("Archive", some).await.unwrap();
    }
    handle.append("Archive", vec![mail(400, 90_000), mail(401, 5_000)]).await.unwrap();
    handle.create("Projects/Letters", None).await.unwrap();
    let archive = handle.status("Archive").await.unwrap().folder;
    let some = [(3, 20), (91, 91)];
    handle.copy(archive, &UidRanges::from_ranges(some), "Projects/Letters").await.unwrap();
    for uid in (1..90).step_by(3) {
        let flags = Flags {
            system: [SystemFlags::FLAGGED, SystemFlags::ANSWERED][uid as usize % 2],
            keywords: [format!("word{}", uid % 5)].into(),
        };
        let change = FlagChange { operation: FlagOperation::Set, flags };
        handle.store(archive, &[uid].into_iter().collect(), change, None).await.unwrap();
    }
    world
        .harm(
            "INSERT INTO annotations(folder, entry, value) VALUES (1, '/private/comment', x'6162')",
        )
        .await;
    world
}

/// Every message by folder and UID, and all that a client may ask for.
type Mail = BTreeMap<(i64, u32), String>;

async fn mail_of(world: &World) -> Mail {
    let handle = world.mailboxes.unlock(world.secrets.clone(), false).await.unwrap();
    let mut all = Mail::new();
    for folder in handle.folders().await.unwrap().into_iter().filter(|folder| folder.id.is_some()) {
        let selected = handle.select(&folder.name, SelectMode::ReadOnly).await.unwrap();
        let columns = Columns { envelope: true, bodystructure: true, ..Columns::default() };
        let rows = handle.rows(selected.folder, &all_uids(), columns, 0, 1_000).await.unwrap();
        for row in rows {
            let uid = row.uid;
            let text = handle.body(selected.folder, uid).await.unwrap().unwrap();
            // Modification sequences may grow.
            let row = Row { modseq: crate::ModSeq(0), ..row };
            all.insert((selected.folder.0, uid), format!("{row:?} {}", blake3::hash(&text)));
        }
    }
    world.mailboxes.lock(world.secrets.account()).await.unwrap();
    all
}

/// Rows with the pages that they stand on; a row counts for the further pages of all rows of its page.
fn rows_of(path: &Path, keys: &FileKeys) -> Vec<(Found, BTreeSet<u32>)> {
    let pages = Pages::open(&Disk, path, keys).unwrap();
    let mut all = Vec::new();
    for page in 2..=pages.count() {
        let content = pages.read(page).unwrap().unwrap();
        let mut on = BTreeSet::from([page]);
        let rows = cells(&content, &mut |next| {
            on.insert(next);
            Some(pages.read(next).unwrap().unwrap().to_vec())
        });
        all.extend(rows.into_iter().filter_map(recognise).map(|row| (row, on.clone())));
    }
    all
}

fn number(row: &Found, column: usize) -> i64 {
    match row.values.get(column) {
        Some(Value::Integer(number)) => *number,
        other => panic!("{row:?}: {other:?}"),
    }
}

/// The pages of each message: of its row, its body, header, layout and pieces.
fn pages_of(rows: &[(Found, BTreeSet<u32>)]) -> BTreeMap<(i64, u32), BTreeSet<u32>> {
    let mut bodies: BTreeMap<i64, BTreeSet<u32>> = BTreeMap::new();
    for (row, pages) in rows {
        let body = match row.table {
            "bodies" | "headers" | "layouts" => number(row, 0),
            "chunks" => number(row, 0) >> 20,
            _ => continue,
        };
        bodies.entry(body).or_default().extend(pages);
    }
    let messages = rows.iter().filter(|(row, _)| row.table == "messages");
    let with_body = |(row, pages): &(Found, BTreeSet<u32>)| {
        let pages = pages.union(&bodies[&number(row, 10)]).copied().collect();
        ((number(row, 0), number(row, 1) as u32), pages)
    };
    messages.map(with_body).collect()
}

/// A page of the file as it lies on the disk.
fn damaged(sound: &[u8], page: usize) -> Vec<u8> {
    let mut octets = sound.to_vec();
    octets[(page - 1) * PAGE + 99] ^= 1;
    octets
}

/// The scan finds what SQLite finds, of every table, in the file and in its log.
#[tokio::test]
async fn pages_hold_the_rows_that_sql_finds() {
    let world = large().await;
    world
        .harm(
            "INSERT INTO lost VALUES (7, 9); INSERT INTO released VALUES (3, 1, 500), (70000, 2, -1); \
             INSERT INTO delivered VALUES (x'0102', 'a@example.org'); INSERT INTO sealing_next VALUES (1, 2, x'0a')",
        )
        .await;
    let (live, path) = (world.handle.live().unwrap(), world.path());
    for checkpoint in [false, true] {
        if checkpoint {
            live.db.checkpoint(true).await.unwrap();
        }
        let found = rows_of(&path, &world.secrets.file_keys());
        let tables: BTreeSet<&str> = found.iter().map(|(row, _)| row.table).collect();
        assert!(tables.len() == 15, "{tables:?}");
        let known =
            ["meta", "folders", "bodies", "headers", "layouts", "chunks", "lost", "released"];
        let keyed =
            ["messages", "expunged", "subscriptions", "keywords", "delivered", "annotations"];
        for table in known.into_iter().chain(keyed).chain(["sealing_next"]) {
            let expected = live
                .read(move |conn, _| {
                    let mut query = conn.prepare(&format!("SELECT * FROM {table}"))?;
                    let columns = query.column_count();
                    let rows = query.query_map([], |row| {
                        (0..columns)
                            .map(|at| row.get::<_, Value>(at))
                            .collect::<Result<Vec<_>, _>>()
                    })?;
                    Ok(rows.collect::<Result<Vec<_>, _>>()?)
                })
                .await
                .unwrap();
            let here = found.iter().filter(|(row, _)| row.table == table);
            let mut here: Vec<String> = here.map(|(row, _)| format!("{:?}", row.values)).collect();
            let mut expected: Vec<String> = expected.iter().map(|row| format!("{row:?}")).collect();
            here.sort();
            expected.sort();
            assert!(here == expected, "{table}: {} and {}", here.len(), expected.len());
        }
    }
}

/// Whichever page is damaged, the first too: a message whose own pages are whole is there as it was, and what comes
/// out is sound.
#[tokio::test]
async fn any_damaged_page_is_survived() {
    let world = large().await;
    let path = world.path();
    let mark = world.handle.durable_points().unwrap();
    world.mailboxes.lock(world.secrets.account()).await.unwrap();
    let before = mail_of(&world).await;
    let sound = std::fs::read(&path).unwrap();
    let own = pages_of(&rows_of(&path, &world.secrets.file_keys()));
    assert_eq!(before.keys().collect::<Vec<_>>(), own.keys().collect::<Vec<_>>());
    let pages = sound.len() / PAGE;
    let mut kept = 0;
    for page in 1..=pages {
        std::fs::write(&path, damaged(&sound, page)).unwrap();
        let salvaged =
            world.mailboxes.salvage(world.secrets.clone(), Box::new(|_, _| ())).await.unwrap();
        assert_eq!(salvaged.left.findings, [], "page {page}");
        let handle = world.mailboxes.unlock(world.secrets.clone(), false).await.unwrap();
        handle.check_mark(mark).unwrap();
        let after = mail_of(&world).await;
        // A folder whose row is lost may get another number.
        let there: BTreeSet<&String> = after.values().collect();
        for (message, pages) in &own {
            if !pages.contains(&(page as u32)) {
                assert!(there.contains(&before[message]), "page {page}: {message:?} {salvaged:?}");
            }
        }
        // Of the others, what is left of them is kept.
        assert!(after.len() >= before.len() - 1, "page {page}: {} {salvaged:?}", after.len());
        kept += before.values().filter(|message| there.contains(message)).count();
        remove_others(&path);
    }
    assert!(kept > before.len() * pages * 9 / 10, "{kept} of {} × {pages}", before.len());
    // The new files take mail.
    let handle = world.mailboxes.unlock(world.secrets.clone(), false).await.unwrap();
    handle.append("INBOX", vec![mail(99, 10)]).await.unwrap();
}

/// An owner who comes to a mailbox that does not open finds what can be read, and the damaged file stays.
#[tokio::test]
async fn an_unlock_writes_a_file_anew_that_does_not_open() {
    let world = large().await;
    let path = world.path();
    world.mailboxes.lock(world.secrets.account()).await.unwrap();
    let before = mail_of(&world).await;
    let sound = std::fs::read(&path).unwrap();
    std::fs::write(&path, damaged(&sound, 1)).unwrap();
    assert!(mail_of(&world).await == before);
    assert!(std::fs::read(path.with_extension("db.damaged")).unwrap() == damaged(&sound, 1));
    // A file that has nothing to give stays as it is, and its owner is told.
    remove_others(&path);
    let mut octets = sound;
    octets.iter_mut().step_by(PAGE / 2).for_each(|octet| *octet ^= 1);
    std::fs::write(&path, &octets).unwrap();
    let failed = world.mailboxes.unlock(world.secrets.clone(), false).await;
    assert!(matches!(failed, Err(crate::MailboxError::Damaged(_))), "{failed:?}");
    assert!(std::fs::read(&path).unwrap() == octets, "left as it was");
}

/// Without a key: whichever page of the file or frame of its log is damaged is named, by the outer hash alone.
#[tokio::test]
async fn a_locked_mailbox_names_each_damaged_page_and_frame() {
    let world = large().await;
    let (path, account) = (world.path(), world.secrets.account());
    let log = path.with_extension("db-wal");
    world.handle.sync().await.unwrap();
    let octets = std::fs::read(&log).unwrap();
    world.mailboxes.kill(account).await;
    std::fs::write(&log, &octets).unwrap();
    let locked = async || {
        let integrity = world.server.integrity_key(account, 0);
        let report = world.mailboxes.verify_locked(account, 0, integrity).await.unwrap();
        report.findings.into_iter().map(|finding| finding.problem).collect::<Vec<_>>()
    };
    assert_eq!(locked().await, []);
    let frames = (octets.len() - 32) / (24 + PAGE);
    for frame in (1..frames).step_by(7) {
        let mut changed = octets.clone();
        changed[32 + (frame - 1) * (24 + PAGE) + frame * 13 % PAGE] ^= 1;
        std::fs::write(&log, changed).unwrap();
        assert_eq!(locked().await, [Problem::Frame { frame: frame as u32 }]);
    }
    std::fs::write(&log, &octets).unwrap();
    drop(mail_of(&world).await);
    let sound = std::fs::read(&path).unwrap();
    for page in 1..=sound.len() / PAGE {
        let here = [Problem::Page { page: page as u32 }];
        std::fs::write(&path, damaged(&sound, page)).unwrap();
        assert_eq!(locked().await, here);
        // Its last octets, which nothing but this hash looks at.
        let mut changed = sound.clone();
        changed[page * PAGE - 1] ^= 1;
        std::fs::write(&path, changed).unwrap();
        assert_eq!(locked().await, here);
        std::fs::write(&path, &sound[..page * PAGE - 100]).unwrap();
        assert_eq!(locked().await, here, "cut within a page");
    }
}

/// The same where only the log has the mail.
#[tokio::test]
async fn what_the_log_has_is_found_without_the_first_page() {
    let world = large().await;
    let (path, live) = (world.path(), world.handle.live().unwrap());
    live.sync().await.unwrap();
    let log = path.with_extension("db-wal");
    let (main, log_octets) = (std::fs::read(&path).unwrap(), std::fs::read(&log).unwrap());
    let keys = world.secrets.file_keys();
    world.mailboxes.kill(world.secrets.account()).await;
    drop(live);
    std::fs::write(&path, damaged(&main, 1)).unwrap();
    std::fs::write(&log, &log_octets).unwrap();
    let rows = rows_of(&path, &keys);
    assert!(rows.iter().filter(|(row, _)| row.table == "messages").count() > 100);
    world.mailboxes.salvage(world.secrets.clone(), Box::new(|_, _| ())).await.unwrap();
    let after = mail_of(&world).await;
    assert!(after.len() > 100, "{}", after.len());
}

/// Where nothing opens, nothing is put in the place of what is there.
#[tokio::test]
async fn a_file_of_garbage_stays_as_it_is() {
    let world = large().await;
    let path = world.path();
    world.mailboxes.lock(world.secrets.account()).await.unwrap();
    let mut octets = std::fs::read(&path).unwrap();
    octets.iter_mut().step_by(PAGE / 2).for_each(|octet| *octet ^= 1);
    std::fs::write(&path, &octets).unwrap();
    let failed = world.mailboxes.salvage(world.secrets.clone(), Box::new(|_, _| ())).await;
    assert!(failed.unwrap_err().to_string().contains("from a backup"));
    assert!(std::fs::read(&path).unwrap() == octets, "left as it was");
    assert!(!path.with_extension("db.damaged").exists());
}

/// What a salvage leaves beside the new file.
fn remove_others(path: &Path) {
    for end in ["db-wal", "db.damaged", "db.damaged-wal"] {
        drop(std::fs::remove_file(path.with_extension(end)));
    }
}
