//! Harm of every kind, found and mended; a mailbox that is whole raises no alarm.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use letterlock_vault::{AccountId, AccountKey, AccountSecrets, Pool, SealingPublic, ServerKey};

use super::*;
use crate::{
    Columns, Flags, Handle, InternalDate, Mailboxes, NewMessage, Options, SelectMode, SystemFlags,
    all_uids,
};

pub(super) struct World {
    pub(super) dir: tempfile::TempDir,
    pub(super) server: ServerKey,
    pub(super) secrets: AccountSecrets,
    pub(super) mailboxes: Arc<Mailboxes>,
    pub(super) handle: Handle,
}

pub(super) fn mail(number: usize, length: usize) -> NewMessage {
    let text = format!("line of message {number}, and some more words\r\n").repeat(length / 40 + 1);
    NewMessage {
        bytes: format!("From: a@example.org\r\nSubject: number {number}\r\n\r\n{text}").into(),
        flags: Flags { system: SystemFlags::SEEN, keywords: ["Work".to_owned()].into() },
        internal_date: InternalDate::utc(Timestamp::from_second(1_700_000_000).unwrap()),
    }
}

impl World {
    /// Twelve small messages, one of them in two folders, and one of several pieces.
    pub(super) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = ServerKey::load_or_create(dir.path(), None).unwrap();
        let (secrets, _) =
            AccountSecrets::generate(AccountId::generate(), &AccountKey::random(), &server);
        let options = Options { index: false, idle_close: None, ..Options::default() };
        let mailboxes = Mailboxes::new(dir.path(), Pool::new("test", 1), options);
        mailboxes.create(&secrets).await.unwrap();
        let handle = mailboxes.unlock(secrets.clone(), false).await.unwrap();
        handle.append("INBOX", (1..=12).map(|number| mail(number, 300)).collect()).await.unwrap();
        handle.append("INBOX", vec![mail(13, 200_000)]).await.unwrap();
        let folder = handle.status("INBOX").await.unwrap().folder;
        let ranges = |uid| [uid].into_iter().collect();
        handle.copy(folder, &ranges(3), "Sent").await.unwrap();
        handle.remove(folder, &ranges(5)).await.unwrap();
        handle.index_now().await.unwrap();
        Self { dir, server, secrets, mailboxes, handle }
    }

    pub(super) fn path(&self) -> std::path::PathBuf {
        let accounts = self.dir.path().join("accounts");
        accounts.join(self.secrets.account().to_string()).join("mailbox.db")
    }

    pub(super) async fn harm(&self, sql: &str) {
        let (sql, live) = (sql.to_owned(), self.handle.live().unwrap());
        live.durable(move |work| Ok(work.tx.execute_batch(&sql)?)).await.unwrap();
    }

    async fn verify(&self, expected: &Expected) -> Report {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        let progress: Progress = Box::new(move |done, all| hears.lock().unwrap().push((done, all)));
        let report =
            self.mailboxes.verify(self.secrets.account(), expected, progress).await.unwrap();
        let heard = heard.lock().unwrap();
        assert!(heard.is_sorted() && heard.iter().all(|(done, all)| done <= all));
        assert!(heard.last().is_some_and(|(done, all)| done == all));
        report
    }

    pub(super) async fn repair(&self) -> (Report, Report) {
        let account = self.secrets.account();
        self.mailboxes.repair(account, &Expected::default(), Box::new(|_, _| ())).await.unwrap()
    }

    /// Subject and whether the message reads back, of all in INBOX.
    async fn inbox(&self) -> Vec<(u32, String, bool)> {
        let selected = self.handle.select("INBOX", SelectMode::ReadOnly).await.unwrap();
        let columns = Columns { envelope: true, ..Columns::default() };
        let rows = self.handle.rows(selected.folder, &all_uids(), columns, 0, 1_000).await.unwrap();
        let mut found = Vec::new();
        for row in rows {
            let body = self.handle.body(selected.folder, row.uid).await;
            let envelope = String::from_utf8(row.envelope.unwrap_or_default().to_vec()).unwrap();
            let whole =
                body.is_ok_and(|body| body.is_some_and(|body| body.len() as u64 == row.size));
            found.push((row.uid, envelope, whole));
        }
        found
    }
}

#[tokio::test]
async fn a_sound_mailbox_is_clean() {
    let world = World::new().await;
    let expected = Expected {
        sealing: Some(world.secrets.sealing_public()),
        mark: Some(world.handle.durable_points().unwrap()),
    };
    let report = world.verify(&expected).await;
    assert_eq!(report.findings, []);
    assert_eq!((report.messages, report.bodies, report.locked), (13, 12, false));
    assert!(report.pages > 10);
}

/// Every inconsistency that SQL can make is found, named and mended; no message is lost by it.
#[tokio::test]
async fn each_harm_is_found_and_mended() {
    let harms: [(&str, Repair, &str); 24] = [
        (
            "UPDATE folders SET messages = 99 WHERE name = 'INBOX'",
            Repair::Recount,
            "number of messages is 99",
        ),
        ("UPDATE folders SET unseen = 4 WHERE name = 'INBOX'", Repair::Recount, "unseen"),
        ("UPDATE folders SET deleted = 4 WHERE name = 'Sent'", Repair::Recount, "deleted"),
        ("UPDATE folders SET bytes = bytes + 1 WHERE name = 'INBOX'", Repair::Recount, "the size"),
        ("UPDATE folders SET tombstones = 7", Repair::Recount, "expunge notes"),
        (
            "UPDATE folders SET uid_next = 4 WHERE name = 'INBOX'",
            Repair::Renumber,
            "UID 13 is not below",
        ),
        (
            "UPDATE folders SET uid_next = uid_reserved + 5 WHERE name = 'INBOX'",
            Repair::Renumber,
            "reserved range",
        ),
        (
            "UPDATE folders SET highest_modseq = 1 WHERE name = 'INBOX'",
            Repair::Renumber,
            "modification sequence",
        ),
        (
            "UPDATE messages SET modseq = 900000 WHERE uid = 4",
            Repair::Renumber,
            "modification sequence",
        ),
        ("UPDATE meta SET uid_validity_next = 1", Repair::Renumber, "UIDVALIDITY"),
        ("DELETE FROM keywords", Repair::LearnKeyword, "keyword"),
        (
            "UPDATE messages SET size = 1 WHERE uid = 2",
            Repair::FollowBody,
            "the size is not that of the body",
        ),
        ("UPDATE messages SET email = 1 WHERE uid = 2", Repair::FollowBody, "EMAILID"),
        (
            "UPDATE messages SET folder = 77 WHERE folder = (SELECT id FROM folders WHERE name = 'Sent')",
            Repair::AdoptMessages,
            "which is missing",
        ),
        ("UPDATE bodies SET refs = refs + 1 WHERE id = 3", Repair::Recount, "references"),
        ("DELETE FROM bodies WHERE id = 2", Repair::Placeholder, "the body is missing"),
        ("UPDATE bodies SET hash = zeroblob(32) WHERE id = 2", Repair::Rehash, "hash"),
        ("UPDATE bodies SET envelope = x'' WHERE id = 2", Repair::Describe, "description"),
        ("UPDATE headers SET simple = x'' WHERE body = 2", Repair::Describe, "description"),
        ("UPDATE layouts SET data = x'010000000000'", Repair::Describe, "description"),
        (
            "INSERT INTO chunks VALUES (999 << 20, x'00')",
            Repair::RemoveOrphan,
            "belongs to no body",
        ),
        (
            "INSERT INTO chunks VALUES ((2 << 20) + 1, x'00')",
            Repair::RemoveOrphan,
            "beyond its end",
        ),
        ("INSERT INTO expunged VALUES (1, 2, 1, 3)", Repair::RemoveOrphan, "counts as expunged"),
        ("UPDATE search_terms SET data = x'00'", Repair::Reindex, "search index"),
    ];
    for (sql, repair, text) in harms {
        let world = World::new().await;
        let before = world.inbox().await;
        world.harm(sql).await;
        let (found, left) = world.repair().await;
        let named =
            |finding: &Finding| finding.repair == repair && finding.to_string().contains(text);
        assert!(found.findings.iter().any(named), "{sql}: {found:#?}");
        assert_eq!(left.findings, [], "{sql}");
        assert_eq!(world.inbox().await, before, "{sql}");
        let uids = world.handle.append("INBOX", vec![mail(99, 10)]).await.unwrap().uids;
        assert!(uids[0] > 13, "{sql}");
        assert!(world.verify(&Expected::default()).await.is_clean(), "{sql}");
    }
}

#[tokio::test]
async fn what_does_not_read_back_becomes_blank_and_the_rest_stays() {
    let subject = "number 13";
    for (sql, problem) in [
        (
            "UPDATE chunks SET data = x'01ff' WHERE id = (12 << 20) + 1",
            Problem::Piece { body: 12, number: 1 },
        ),
        ("DELETE FROM chunks WHERE id = (12 << 20) + 1", Problem::Piece { body: 12, number: 1 }),
        ("UPDATE headers SET data = x'01ff' WHERE body = 12", Problem::Header { body: 12 }),
    ] {
        let world = World::new().await;
        let body_of_13 = "UPDATE messages SET body = body";
        world.harm(body_of_13).await;
        let id: i64 = world
            .handle
            .live()
            .unwrap()
            .read(|conn, _| {
                Ok(conn
                    .query_row("SELECT body FROM messages WHERE uid = 13", [], |row| row.get(0))?)
            })
            .await
            .unwrap();
        let sql = sql.replace("12", &id.to_string());
        let problem = match problem {
            Problem::Piece { number, .. } => Problem::Piece { body: id, number },
            _ => Problem::Header { body: id },
        };
        let folder = world.handle.status("INBOX").await.unwrap().folder;
        let whole = world.handle.body(folder, 13).await.unwrap().unwrap();
        world.harm(&sql).await;
        let (found, left) = world.repair().await;
        assert!(found.findings.iter().any(|finding| finding.problem == problem), "{found:#?}");
        assert_eq!(left.findings, [], "{sql}");
        let mended = world.handle.body(folder, 13).await.unwrap().unwrap();
        assert_eq!(mended.len(), whole.len());
        let differing: Vec<usize> =
            (0..whole.len()).filter(|at| whole[*at] != mended[*at]).collect();
        let (first, last) = (differing[0], *differing.last().unwrap());
        assert!(last - first <= 64 * 1024 && !differing.is_empty());
        let (_, envelope, reads) = world.inbox().await.pop().unwrap();
        assert!(reads);
        assert_eq!(envelope.contains(subject), matches!(problem, Problem::Piece { .. }));
    }
}

#[tokio::test]
async fn a_message_without_any_text_is_kept() {
    let world = World::new().await;
    world.harm("DELETE FROM bodies WHERE id = 2; DELETE FROM headers WHERE body = 2; DELETE FROM chunks WHERE id >> 20 = 2").await;
    let (found, left) = world.repair().await;
    assert!(
        found
            .findings
            .iter()
            .any(|finding| matches!(finding.problem, Problem::NoBody { uid: 2, .. }))
    );
    assert_eq!(left.findings, []);
    let inbox = world.inbox().await;
    assert_eq!(inbox.len(), 12);
    let (_, envelope, reads) = &inbox[1];
    assert!(envelope.contains("is lost") && *reads);
}

#[tokio::test]
async fn what_only_an_operator_decides() {
    let world = World::new().await;
    let mut sealing = world.secrets.sealing_public();
    sealing =
        SealingPublic { bytes: sealing.bytes.iter().map(|octet| !octet).collect(), ..sealing };
    let points = world.handle.durable_points().unwrap();
    world.harm(&format!("UPDATE meta SET account = '{}'", AccountId::generate())).await;
    let expected = Expected { sealing: Some(sealing), mark: Some(points + 100) };
    let report = world.verify(&expected).await;
    let problems: Vec<_> = report.findings.iter().map(|finding| finding.problem.clone()).collect();
    assert!(
        matches!(problems[..], [Problem::Account, Problem::Sealing, Problem::Mark { .. }]),
        "{problems:?}"
    );
    assert!(report.findings.iter().all(|finding| finding.repair == Repair::Operator));
}

#[tokio::test]
async fn a_locked_mailbox_shows_its_outer_damage() {
    let world = World::new().await;
    let account = world.secrets.account();
    world.mailboxes.lock(account).await.unwrap();
    assert!(matches!(
        world.mailboxes.verify(account, &Expected::default(), Box::new(|_, _| ())).await,
        Err(crate::MailboxError::Locked)
    ));
    let integrity = || world.server.integrity_key(account, 0);
    let report = world.mailboxes.verify_locked(account, 0, integrity()).await.unwrap();
    assert!(report.is_clean() && report.locked && report.pages > 10);
    let path = world.dir.path().join("accounts").join(account.to_string()).join("mailbox.db");
    let mut octets = std::fs::read(&path).unwrap();
    octets[4_096 * 6 + 100] ^= 1;
    std::fs::write(&path, octets).unwrap();
    let report = world.mailboxes.verify_locked(account, 0, integrity()).await.unwrap();
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].problem, Problem::Page { page: 7 });
    assert_eq!(report.findings[0].repair, Repair::Salvage);
}

#[tokio::test]
async fn a_note_that_counts_thousands_as_expunged_is_mended_without_end_of_the_stack() {
    let world = World::new().await;
    let folder = world.handle.status("INBOX").await.unwrap().folder.0;
    world
        .harm(&format!(
            "CREATE TEMP TABLE one AS SELECT * FROM messages WHERE folder = {folder} AND uid = 2; \
             WITH RECURSIVE n(uid) AS (SELECT 20 UNION ALL SELECT uid + 2 FROM n WHERE uid < 20000) \
             INSERT INTO messages(folder, uid, modseq, created, flags, keywords, received, zone, saved, size, body, email) \
             SELECT folder, n.uid, modseq, created, flags, keywords, received, zone, saved, size, body, email FROM one, n; \
             DROP TABLE one; INSERT INTO expunged(folder, modseq, first, last) VALUES ({folder}, 2, 1, 4000000000)"
        ))
        .await;
    let (found, left) = world.repair().await;
    assert!(found.findings.iter().any(|one| matches!(one.problem, Problem::Expunged { .. })));
    assert_eq!(left.findings, []);
    assert_eq!(world.handle.status("INBOX").await.unwrap().messages, 12 + 9_991);
}
