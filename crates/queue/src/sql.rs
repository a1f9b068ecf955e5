//! The questions that are asked of large tables, in one place, so that a test can watch how SQLite answers them: each
//! goes through an index of its own and sorts nothing, however full the queue is.

/// The columns that describe an entry, in the order in which [`Head::read`](crate::schema::Head::read) takes them.
macro_rules! head {
    () => {
        "SELECT e.id, e.received_at, e.origin, e.account, e.flags, e.size, e.reverse_path, e.ret, e.envid,
         e.hold_until"
    };
}

/// How many columns `head!` has: others follow after them.
pub(crate) const HEAD_COLUMNS: usize = 10;

/// One entry.
pub(crate) const ENTRY: &str = concat!(head!(), " FROM entries e WHERE e.entry = ?");

/// Entries behind one.
pub(crate) const ENTRIES: &str =
    concat!(head!(), ", e.entry FROM entries e WHERE e.entry > ? ORDER BY e.entry LIMIT ?");

/// Parked rows of an account behind one.
pub(crate) const PARKED: &str = concat!(
    head!(),
    ", r.row, r.copy, iif(r.copy = 0, e.sealed_body, e.server_body), r.address, r.notify,
         r.private, r.envelope, r.folder, r.flags, r.orcpt
     FROM rows r CROSS JOIN entries e ON e.entry = r.row >> 16
     WHERE r.state = 'parked' AND r.account = ? AND r.row > ? ORDER BY r.row LIMIT ?"
);

/// The first account behind one that has parked rows.
pub(crate) const PARKED_ACCOUNT: &str =
    "SELECT min(account) FROM rows WHERE state = 'parked' AND account > ?";

/// What is parked for an account.
pub(crate) const USAGE: &str =
    "SELECT count(*), ifnull(sum(size), 0) FROM rows WHERE state = 'parked' AND account = ?";

/// What is held back of an account's mail.
pub(crate) const HELD_USAGE: &str =
    "SELECT count(*), ifnull(sum(size), 0) FROM rows WHERE state = 'held' AND account = ?";

/// Rows that are due, the most overdue first, apart from the crowded ones.
pub(crate) const DUE: &str = "SELECT row, domain, kind FROM rows
     WHERE state = 'due' AND crowded = 0 AND next_attempt <= ? ORDER BY next_attempt LIMIT ?";

/// The first domain behind one that has crowded rows.
pub(crate) const CROWDED_DOMAIN: &str =
    "SELECT min(domain) FROM rows WHERE state = 'due' AND crowded = 1 AND domain > ?";

/// Crowded rows of a domain.
pub(crate) const CROWDED: &str = "SELECT row FROM rows
     WHERE state = 'due' AND crowded = 1 AND domain = ? AND next_attempt <= ? ORDER BY next_attempt LIMIT ?";

/// One row that is due.
pub(crate) const DUE_ROW: &str = concat!(
    head!(),
    ", r.row, r.address, r.notify, r.orcpt, r.attempts, r.reply, r.forward, r.delay_told
     FROM rows r CROSS JOIN entries e ON e.entry = r.row >> 16
     WHERE r.row = ? AND r.state = 'due'"
);

/// The next time at which one is due.
pub(crate) const NEXT_DUE: &str =
    "SELECT min(next_attempt) FROM rows WHERE state = 'due' AND crowded = 0";

/// Some rows that wait for one address.
pub(crate) const WAITING: &str = concat!(
    head!(),
    ", r.row, r.orcpt, e.server_key
     FROM rows r CROSS JOIN entries e ON e.entry = r.row >> 16
     WHERE r.state = 'waiting' AND r.domain = ? AND r.address = ? LIMIT ?"
);

/// The first domain behind one that has waiting rows.
pub(crate) const WAITING_DOMAIN: &str =
    "SELECT min(domain) FROM rows WHERE state = 'waiting' AND domain > ?";

/// The addresses of a domain for which rows wait.
pub(crate) const WAITING_ADDRESSES: &str =
    "SELECT DISTINCT address FROM rows WHERE state = 'waiting' AND domain = ?";

/// An entry's rows.
pub(crate) const ROWS: &str =
    "SELECT row, address, kind, state, account, envelope IS NOT NULL, next_attempt, attempts, reply, notify, security
     FROM rows WHERE row BETWEEN ? AND ? ORDER BY row";

/// The entry of a message.
pub(crate) const ENTRY_OF: &str = "SELECT entry FROM entries WHERE id = ?";

/// How many messages there are.
pub(crate) const COUNT_ENTRIES: &str = "SELECT count(*) FROM entries";
/// How many parked rows there are; and so on.
pub(crate) const COUNT_PARKED: &str = "SELECT count(*) FROM rows WHERE state = 'parked'";
pub(crate) const COUNT_DUE: &str =
    "SELECT (SELECT count(*) FROM rows WHERE state = 'due' AND crowded = 0)
          + (SELECT count(*) FROM rows WHERE state = 'due' AND crowded = 1)";
pub(crate) const COUNT_WAITING: &str = "SELECT count(*) FROM rows WHERE state = 'waiting'";
pub(crate) const COUNT_HELD: &str = "SELECT count(*) FROM rows WHERE state = 'held'";

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::schema::SCHEMA;

    fn plan(sql: &str) -> Vec<String> {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(&SCHEMA.concat()).unwrap();
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        // Parameters stay NULL: the plan does not depend on them.
        let mut steps = statement.raw_query();
        let mut plan = Vec::new();
        while let Some(step) = steps.next().unwrap() {
            plan.push(step.get("detail").unwrap());
        }
        plan
    }

    #[test]
    fn every_question_has_its_index() {
        const BY_ENTRY: &str = "SEARCH e USING INTEGER PRIMARY KEY (rowid=?)";
        let steps: [(&str, &[&str]); 20] = [
            (ENTRY, &[BY_ENTRY]),
            (ENTRIES, &["SEARCH e USING INTEGER PRIMARY KEY (rowid>?)"]),
            (PARKED, &["SEARCH r USING INDEX rows_parked (account=? AND row>?)", BY_ENTRY]),
            (PARKED_ACCOUNT, &["SEARCH rows USING COVERING INDEX rows_parked (account>?)"]),
            (USAGE, &["SEARCH rows USING COVERING INDEX rows_parked (account=?)"]),
            (HELD_USAGE, &["SEARCH rows USING COVERING INDEX rows_held (account=?)"]),
            (DUE, &["SEARCH rows USING COVERING INDEX rows_due (next_attempt<?)"]),
            (CROWDED_DOMAIN, &["SEARCH rows USING COVERING INDEX rows_crowded (domain>?)"]),
            (
                CROWDED,
                &["SEARCH rows USING COVERING INDEX rows_crowded (domain=? AND next_attempt<?)"],
            ),
            (DUE_ROW, &["SEARCH r USING INTEGER PRIMARY KEY (rowid=?)", BY_ENTRY]),
            (NEXT_DUE, &["SEARCH rows USING COVERING INDEX rows_due"]),
            (WAITING, &["SEARCH r USING INDEX rows_waiting (domain=?)", BY_ENTRY]),
            (WAITING_DOMAIN, &["SEARCH rows USING COVERING INDEX rows_waiting (domain>?)"]),
            (ROWS, &["SEARCH rows USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"]),
            (ENTRY_OF, &["SEARCH entries USING COVERING INDEX sqlite_autoindex_entries_1 (id=?)"]),
            (COUNT_ENTRIES, &["SCAN entries USING COVERING INDEX sqlite_autoindex_entries_1"]),
            (COUNT_PARKED, &["SCAN rows USING COVERING INDEX rows_parked"]),
            (
                COUNT_DUE,
                &[
                    "SCAN CONSTANT ROW",
                    "SCALAR SUBQUERY 1",
                    "SCAN rows USING COVERING INDEX rows_due",
                    "SCALAR SUBQUERY 2",
                    "SCAN rows USING COVERING INDEX rows_crowded",
                ],
            ),
            (COUNT_WAITING, &["SCAN rows USING COVERING INDEX rows_waiting"]),
            (COUNT_HELD, &["SCAN rows USING COVERING INDEX rows_held"]),
        ];
        for (sql, expected) in steps {
            assert_eq!(plan(sql), expected, "{sql}");
        }
    }
}
