//! The tables of a mailbox file. What stands here is on people's disks: add steps, never change one.
//!
//! - `meta` has one row. `modseq_next` is true only after a clean close; `modseq_reserved` and each folder's
//!   `uid_reserved` are the (exclusive) ends of what may be handed out without another synced commit.
//! - `folders` with a NULL name are deleted ones whose messages are still being taken away.
//! - `messages` have no rowid: folder and UID are the key, in which every list is read.
//! - `bodies.refs` counts the messages that share a body; 0 is garbage, −1 an upload under way.
//! - `headers` holds the header block, `chunks` what follows it in pieces of 64 KiB, each packed on its own;
//!   a chunk's id is `body << 20 | number`, so that the pieces of a body lie together.
//! - `sealing_next` is the sealing key that a rotation under way brings; `meta` has the present one.
//! - `layouts` says where the MIME parts of a body lie that has several pieces.
//! - `expunged` remembers what went (QRESYNC), `lost` the modification sequences that a crash may have taken.
//! - `search_*` are the word index: see `index`. Bodies up to `frontier` are indexed, but for the waiting ones;
//!   no new body gets an id up to `floor`; `gone` counts those that were indexed and went.
//! - `released` holds the bodies that messages have left, where many went at once: how many left each, and its size.
//!   They still count in `refs`, until they are cleared away in the background.
//! - `annotations` are METADATA's; folder 0 stands for the account. They go with their folder's name.

/// The steps that make the newest form of the file; `PRAGMA user_version` counts those done.
pub(crate) const SCHEMA: &[&str] = &["
CREATE TABLE meta(
  id INTEGER PRIMARY KEY CHECK (id = 1),
  account TEXT NOT NULL,
  hash_key BLOB NOT NULL,
  modseq_next INTEGER NOT NULL,
  modseq_reserved INTEGER NOT NULL,
  uid_validity_next INTEGER NOT NULL,
  points INTEGER NOT NULL,
  sealing_epoch INTEGER NOT NULL,
  sealing_public BLOB NOT NULL
);
CREATE TABLE folders(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT UNIQUE,
  uid_validity INTEGER NOT NULL UNIQUE,
  special_use TEXT,
  uid_next INTEGER NOT NULL,
  uid_reserved INTEGER NOT NULL,
  recent_from INTEGER NOT NULL,
  messages INTEGER NOT NULL,
  unseen INTEGER NOT NULL,
  deleted INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  highest_modseq INTEGER NOT NULL,
  tombstones INTEGER NOT NULL,
  tombstone_floor INTEGER NOT NULL
);
CREATE TABLE subscriptions(name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE keywords(
  folder INTEGER NOT NULL,
  name TEXT NOT NULL COLLATE NOCASE,
  PRIMARY KEY (folder, name)
) WITHOUT ROWID;
CREATE TABLE messages(
  folder INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  modseq INTEGER NOT NULL,
  created INTEGER NOT NULL,
  flags INTEGER NOT NULL,
  keywords TEXT,
  received INTEGER NOT NULL,
  zone INTEGER NOT NULL,
  saved INTEGER NOT NULL,
  size INTEGER NOT NULL,
  body INTEGER NOT NULL,
  email INTEGER NOT NULL,
  PRIMARY KEY (folder, uid)
) WITHOUT ROWID;
CREATE UNIQUE INDEX messages_modseq ON messages(folder, modseq, uid);
CREATE INDEX messages_unseen ON messages(folder, uid) WHERE (flags & 1) = 0;
CREATE INDEX messages_deleted ON messages(folder, uid) WHERE (flags & 8) != 0;
CREATE TABLE bodies(
  id INTEGER PRIMARY KEY,
  refs INTEGER NOT NULL,
  size INTEGER NOT NULL,
  header INTEGER NOT NULL,
  hash BLOB NOT NULL,
  email INTEGER NOT NULL,
  envelope BLOB NOT NULL,
  structure BLOB NOT NULL
);
CREATE INDEX bodies_unused ON bodies(refs) WHERE refs < 1;
CREATE TABLE headers(
  body INTEGER PRIMARY KEY,
  data BLOB NOT NULL,
  simple BLOB NOT NULL
);
CREATE TABLE chunks(id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE expunged(
  folder INTEGER NOT NULL,
  modseq INTEGER NOT NULL,
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  PRIMARY KEY (folder, modseq, first)
) WITHOUT ROWID;
CREATE TABLE delivered(
  delivery BLOB NOT NULL,
  recipient TEXT NOT NULL,
  PRIMARY KEY (delivery, recipient)
) WITHOUT ROWID;
CREATE TABLE lost(first INTEGER PRIMARY KEY, last INTEGER NOT NULL);
CREATE TABLE copying(folder INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL);
", "
CREATE TABLE search_state(
  id INTEGER PRIMARY KEY CHECK (id = 1),
  frontier INTEGER NOT NULL,
  floor INTEGER NOT NULL,
  gone INTEGER NOT NULL
);
INSERT INTO search_state(id, frontier, floor, gone) VALUES (1, 0, 0, 0);
CREATE TABLE search_waiting(body INTEGER PRIMARY KEY);
CREATE TABLE search_segments(
  id INTEGER PRIMARY KEY,
  state INTEGER NOT NULL,
  documents INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  bodies BLOB NOT NULL
);
CREATE TABLE search_terms(id INTEGER PRIMARY KEY, length INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE search_posts(id INTEGER PRIMARY KEY, length INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX messages_body ON messages(folder, body, uid);
CREATE TABLE sealing_next(id INTEGER PRIMARY KEY CHECK (id = 1), epoch INTEGER NOT NULL, public BLOB NOT NULL);
CREATE TABLE layouts(body INTEGER PRIMARY KEY, data BLOB NOT NULL);
", "
CREATE TABLE annotations(
  folder INTEGER NOT NULL,
  entry TEXT NOT NULL COLLATE NOCASE,
  value BLOB NOT NULL,
  PRIMARY KEY (folder, entry)
) WITHOUT ROWID;
CREATE TRIGGER annotations_of_deleted AFTER UPDATE OF name ON folders WHEN new.name IS NULL BEGIN
  DELETE FROM annotations WHERE folder = new.id;
END;
", "
CREATE TABLE released(body INTEGER PRIMARY KEY, messages INTEGER NOT NULL, size INTEGER NOT NULL);
", "
CREATE INDEX messages_flagged ON messages(folder, uid) WHERE (flags & 4) != 0;
"];

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(conn: &rusqlite::Connection, sql: &str) -> String {
        let mut query = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let none = rusqlite::params_from_iter((0..query.parameter_count()).map(|_| 1));
        let lines: Vec<String> =
            query.query_map(none, |row| row.get(3)).unwrap().map(Result::unwrap).collect();
        lines.join("; ")
    }

    /// Cost follows what changed: no list is sorted, no folder is walked for a few of its messages.
    #[test]
    fn queries_go_by_their_indexes() {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        for step in SCHEMA {
            conn.execute_batch(step).unwrap();
        }
        for (sql, by) in [
            (
                "SELECT uid FROM messages WHERE folder = ?1 AND uid > ?2 ORDER BY uid LIMIT ?3",
                "PRIMARY KEY",
            ),
            (
                "SELECT uid, modseq, flags, keywords FROM messages WHERE folder = ?1 AND uid BETWEEN ?2 AND ?3 \
                 ORDER BY uid LIMIT ?4",
                "PRIMARY KEY",
            ),
            (
                "SELECT uid, modseq, flags, keywords, created FROM messages WHERE folder = ?1 AND \
                 (modseq, uid) > (?2, ?3) ORDER BY modseq, uid LIMIT ?4",
                "messages_modseq (folder=? AND (modseq,uid)>(?,?))",
            ),
            (
                "SELECT min(uid) FROM messages INDEXED BY messages_unseen WHERE folder = ?1 AND (flags & 1) = 0",
                "messages_unseen (folder=?)",
            ),
            (
                "SELECT uid, flags, size, body FROM messages INDEXED BY messages_deleted WHERE folder = ?1 AND uid BETWEEN \
                 ?2 AND ?3 AND \
                 (flags & 8) != 0 ORDER BY uid LIMIT ?4",
                "messages_deleted (folder=? AND uid>? AND uid<?)",
            ),
            (
                "SELECT uid FROM messages INDEXED BY messages_flagged WHERE folder = ?1 AND uid BETWEEN ?2 AND ?3 AND \
                 (flags & 4) != 0 ORDER BY uid LIMIT ?4",
                "messages_flagged (folder=? AND uid>? AND uid<?)",
            ),
            ("SELECT id FROM bodies WHERE refs < 1 AND refs = 0 LIMIT 1", "bodies_unused"),
            ("SELECT id FROM folders WHERE name IS NULL LIMIT 1", "sqlite_autoindex_folders_1"),
            (
                "SELECT uid FROM messages INDEXED BY messages_body WHERE folder = ?1 AND (body, uid) > (?2, ?3) ORDER BY \
                 body, uid LIMIT ?4",
                "messages_body (folder=? AND (body,uid)>(?,?))",
            ),
            ("SELECT first, last FROM expunged WHERE folder = ?1 AND modseq > ?2", "PRIMARY KEY"),
        ] {
            let plan = plan(&conn, sql);
            assert!(plan.starts_with("SEARCH") && plan.contains(by), "{sql}: {plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{sql}: {plan}");
        }
    }
}
