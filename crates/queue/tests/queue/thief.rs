//! Somebody has the files and the server key, and no credential of any owner.

use std::collections::BTreeMap;

use letterlock_queue::{Adoption, QueueError, Route, Verdict};
use letterlock_vault::{DeliveryId, Key};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::world::{Owner, World, at, entry, remote, to};

/// What the thief finds: everything that stands in the file, and every body that any key from it opens.
async fn loot(world: &World) -> Vec<u8> {
    let wrap = world.server.derive("queue content keys", b"");
    let (_folder, database) = world.stolen().await;
    database.read(move |connection| Ok::<_, QueueError>(search(connection, &wrap)?)).await.unwrap()
}

fn search(connection: &Connection, wrap: &Key) -> rusqlite::Result<Vec<u8>> {
    let mut found = Vec::new();
    for table in ["entries", "rows", "chunks", "loose"] {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table}"))?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                if let ValueRef::Text(bytes) | ValueRef::Blob(bytes) = row.get_ref(column)? {
                    found.extend_from_slice(bytes);
                    found.push(b'\n');
                }
            }
        }
    }
    let mut keys: BTreeMap<DeliveryId, Key> = BTreeMap::new();
    let mut statement =
        connection.prepare("SELECT id, server_key FROM entries WHERE server_key IS NOT NULL")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, wrapped): (DeliveryId, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let aad = [&b"letterlock queue content 1 "[..], &id.to_bytes()].concat();
        keys.insert(id, wrap.open_key(&aad, &wrapped).expect("the thief has the server key"));
    }
    let mut statement = connection.prepare("SELECT data FROM chunks")?;
    let chunks: Vec<Vec<u8>> =
        statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for chunk in chunks {
        for (id, key) in &keys {
            for copy in 0..2u8 {
                let place = [
                    &b"letterlock queue body 1 "[..],
                    &id.to_bytes(),
                    &[copy],
                    &0u64.to_be_bytes(),
                ]
                .concat();
                let aad = [&place[..], &1u64.to_be_bytes()].concat();
                if let Ok(packed) = key.open(&aad, &chunk) {
                    found.extend_from_slice(
                        &zstd::bulk::decompress(&packed[1..], 1 << 20).unwrap_or(packed.to_vec()),
                    );
                }
            }
        }
    }
    Ok(found)
}

fn holds(found: &[u8], text: &str) -> bool {
    found.windows(text.len()).any(|part| part == text.as_bytes())
}

const BODY: &str = "Subject: canary-subject\r\n\r\ncanary-body canary-body canary-body\r\n";
const SECRETS: [&str; 4] = ["canary-subject", "canary-body", "sender@far.example", "Lists/Rust"];

#[tokio::test]
async fn sealed_mail_is_out_of_reach() {
    let world = World::new().await;
    let owner = Owner::new(&world.server);
    for seal in [owner.locked(), owner.unlocked()] {
        let mut sealed = entry(BODY, vec![to("a@here.example", owner.route(seal))]);
        sealed.envid = Some("sender@far.example".to_owned());
        sealed.recipients[0].orcpt = Some("rfc822;canary-subject".to_owned());
        world.accept(sealed).await;
    }
    let found = loot(&world).await;
    assert!(holds(&found, "a@here.example"), "the thief sees that there is something");
    for secret in SECRETS {
        assert!(!holds(&found, secret), "{secret}");
    }
    // The same search does find what the server may read.
    world.accept(entry(BODY, vec![remote("r@far.example")])).await;
    let found = loot(&world).await;
    for secret in &SECRETS[..3] {
        assert!(holds(&found, secret), "{secret}");
    }
}

#[tokio::test]
async fn what_the_server_could_read_is_sealed_again_when_it_need_not() {
    let world = World::new().await;
    let owner = Owner::new(&world.server);
    let recipients = vec![
        to("a@here.example", owner.route(owner.locked())),
        remote("canary-subject@far.example"),
    ];
    let (_, rows) = world.accept(entry(BODY, recipients)).await;
    let waiting = to("abuse@here.example", Route::Waiting);
    world.accept(entry(BODY, vec![waiting])).await;
    let found = loot(&world).await;
    assert!(SECRETS[..3].iter().all(|secret| holds(&found, secret)), "while the server needs it");

    world.finish(rows[1], Verdict::Delivered, "250 canary-body").await;
    let adoption = Adoption::Local { account: owner.account, seal: owner.locked() };
    world
        .queue
        .adopt_waiting(&"abuse@here.example".parse().unwrap(), adoption, at(1))
        .await
        .unwrap();
    let found = loot(&world).await;
    for secret in SECRETS {
        assert!(!holds(&found, secret), "{secret}");
    }
    assert_eq!(world.parked(owner.account).await.len(), 2);
}

#[tokio::test]
async fn the_log_is_emptied_in_a_quiet_moment() {
    let world = World::new().await;
    let (_, rows) = world.accept(entry(BODY, vec![remote("r@far.example")])).await;
    let log = world.folder.path().join("queue.db-wal");
    let length = || std::fs::metadata(&log).map_or(0, |file| file.len());
    assert_ne!(length(), 0);
    world.finish(rows[0], Verdict::Delivered, "250").await;
    let emptied = async {
        while length() != 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), emptied)
        .await
        .expect("nothing else happens");
}
