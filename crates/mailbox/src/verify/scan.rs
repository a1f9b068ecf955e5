//! Rows found page by page, where SQLite does not find them any more.
//!
//! Which tables there are, and where they begin, stands on the first page and a few more; what leads from there to a
//! table's rows on inner pages. Where one of these is damaged, the rows behind it are there all the same: every page
//! that opens is looked at, and a row is known by its columns, which no two tables here have alike. Pages that were
//! given up hold zeros (`secure_delete`), so what is found was there.

use std::sync::Arc;

use letterlock_vault::{FileKeys, Pages, Storage, VaultError};
use rusqlite::types::{Type, Value};

use super::cells::{Cell, cells};
use crate::error::MailboxError;

/// So many octets of rows are handed out at once, about.
const TOGETHER: usize = 1 << 20;

/// A row of a table, with all its columns.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    pub(super) table: &'static str,
    pub(super) values: Vec<Value>,
}

/// A file whose pages are looked at in turn. Nobody has it open.
pub(super) struct Scan {
    pages: Arc<Pages>,
    next: u32,
    /// Pages that did not open, of those looked at.
    pub(super) unreadable: u64,
    /// Whether any row was found.
    pub(super) found: bool,
}

impl Scan {
    pub(super) async fn begin(
        storage: &Arc<dyn Storage>,
        path: std::path::PathBuf,
        keys: FileKeys,
    ) -> Result<Self, MailboxError> {
        let storage = Arc::clone(storage);
        let opened =
            tokio::task::spawn_blocking(move || Pages::open(storage.as_ref(), &path, &keys));
        let pages = opened.await.map_err(|_| MailboxError::Locked)?.map_err(VaultError::from)?;
        // The first page is SQLite's own.
        Ok(Self { pages: Arc::new(pages), next: 2, unreadable: 0, found: false })
    }

    /// Looks at all pages from the first.
    pub(super) fn restart(&mut self) {
        (self.next, self.unreadable) = (2, 0);
    }

    /// The rows of the next pages that `wanted` says yes to, by their table; None at the end.
    pub(super) async fn rows(
        &mut self,
        wanted: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<Option<Vec<Found>>, MailboxError> {
        if self.next > self.pages.count() {
            return Ok(None);
        }
        let (pages, from) = (Arc::clone(&self.pages), self.next);
        let looked = tokio::task::spawn_blocking(move || look(&pages, from, &wanted));
        let looked = looked.await.map_err(|_| MailboxError::Locked)?.map_err(VaultError::from)?;
        (self.next, self.unreadable) = (looked.next, self.unreadable + looked.unreadable);
        self.found |= !looked.found.is_empty();
        Ok(Some(looked.found))
    }
}

/// What some pages hold, and where to go on.
struct Looked {
    found: Vec<Found>,
    next: u32,
    unreadable: u64,
}

fn look(pages: &Pages, from: u32, wanted: &dyn Fn(&str) -> bool) -> std::io::Result<Looked> {
    let mut looked = Looked { found: Vec::new(), next: from, unreadable: 0 };
    let mut octets = 0;
    while looked.next <= pages.count() && octets < TOGETHER {
        let content = pages.read(looked.next)?;
        looked.next += 1;
        // So that a long way without rows ends as well.
        octets += 256;
        let Some(content) = content else {
            looked.unreadable += 1;
            continue;
        };
        let mut refused = None;
        let mut overflow = |page| match pages.read(page) {
            Ok(content) => content.map(|content| content.to_vec()),
            Err(error) => {
                refused = Some(error);
                None
            }
        };
        let rows = cells(&content, &mut overflow);
        if let Some(error) = refused {
            // The row is not lost: it may be read the next time.
            return Err(error);
        }
        for row in rows.into_iter().filter_map(recognise) {
            if wanted(row.table) {
                octets += row.values.iter().map(length).sum::<usize>();
                looked.found.push(row);
            }
        }
    }
    Ok(looked)
}

fn length(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Blob(blob) => blob.len(),
        _ => 8,
    }
}

/// Which table a row is of; None for those of indexes, the word index and SQLite.
pub(super) fn recognise(cell: Cell) -> Option<Found> {
    let Cell { rowid, mut values } = cell;
    let shape: Vec<Type> = values.iter().map(Value::data_type).collect();
    let table = match rowid {
        Some(id) => table_of(&shape, id, &values)?,
        None => keyed_table_of(&shape)?,
    };
    // A key that is the row's id stands as NULL in its column.
    if let (Some(id), Some(first)) = (rowid, values.first_mut()) {
        *first = Value::Integer(id);
    }
    Some(Found { table, values })
}

/// Of the tables with row ids.
fn table_of(shape: &[Type], id: i64, values: &[Value]) -> Option<&'static str> {
    use Type::{Blob, Integer as Int, Null, Text};
    match shape {
        [Null, Text, Blob, Int, Int, Int, Int, Int, Blob] => Some("meta"),
        [Null, Text | Null, Int, Text | Null, rest @ ..]
            if rest.len() == 10 && rest.iter().all(|kind| *kind == Int) =>
        {
            Some("folders")
        }
        [Null, Int, Int, Int, Blob, Int, Blob, Blob] => Some("bodies"),
        [Null, Blob, Blob] => Some("headers"),
        // A piece begins with how it is packed; where that is the layout's version, zstd's magic number follows.
        [Null, Blob] => match values {
            [_, Value::Blob(data)] if data.starts_with(&[1, 0]) => Some("layouts"),
            _ => Some("chunks"),
        },
        [Null, Int] => Some("lost"),
        [Null, Int, Int] => Some("released"),
        [Null, Int, Blob] if id == 1 => Some("sealing_next"),
        _ => None,
    }
}

/// Of the tables without row ids, whose inner pages hold rows as well.
fn keyed_table_of(shape: &[Type]) -> Option<&'static str> {
    use Type::{Blob, Integer as Int, Null, Text};
    match shape {
        [Int, Int, Int, Int, Int, Text | Null, Int, Int, Int, Int, Int, Int] => Some("messages"),
        [Int, Int, Int, Int] => Some("expunged"),
        [Text] => Some("subscriptions"),
        [Int, Text] => Some("keywords"),
        [Blob, Text] => Some("delivered"),
        [Int, Text, Blob] => Some("annotations"),
        _ => None,
    }
}
