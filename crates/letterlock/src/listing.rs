//! A list that may be long, printed page by page as it comes.

use letterlock_admin::QueueRow;

use crate::Failure;
use crate::render::{Style, print, print_some, queue_table};

/// What of it was printed.
pub(crate) struct Listing {
    style: Style,
    rows: usize,
}

impl Listing {
    pub(crate) fn new(style: Style) -> Self {
        Self { style, rows: 0 }
    }

    /// Prints some more rows; whether anybody wants to see what follows.
    pub(crate) fn page(&mut self, rows: &[QueueRow]) -> Result<bool, Failure> {
        let text = match self.style.is_json() {
            true => self.json(rows)?,
            false => self.table(rows),
        };
        self.rows += rows.len();
        print_some(&text)
    }

    /// Prints what closes it.
    pub(crate) fn end(self) -> Result<(), Failure> {
        match (self.style.is_json(), self.rows) {
            (false, _) => Ok(()),
            (true, 0) => print("[]\n"),
            (true, _) => print("\n]\n"),
        }
    }

    /// Parts of one array.
    fn json(&self, rows: &[QueueRow]) -> Result<String, Failure> {
        let mut text = String::new();
        for (place, row) in rows.iter().enumerate() {
            text.push_str(if self.rows + place == 0 { "[\n  " } else { ",\n  " });
            let row = serde_json::to_string_pretty(row).map_err(anyhow::Error::from)?;
            text.push_str(&row.replace('\n', "\n  "));
        }
        Ok(text)
    }

    /// The header stands before the first page only.
    fn table(&self, rows: &[QueueRow]) -> String {
        let table = queue_table(rows);
        match self.rows {
            0 => table,
            _ => table.split_once('\n').map_or_else(String::new, |(_, rows)| rows.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str) -> QueueRow {
        QueueRow {
            id: id.to_owned(),
            received: "2025-01-02T03:04:05Z".to_owned(),
            from: None,
            recipients: 1,
            states: vec!["due".to_owned()],
            next_attempt: None,
        }
    }

    /// All that is printed, in pages of this size.
    fn printed(rows: &[QueueRow], page: usize, json: bool) -> String {
        let mut listing = Listing::new(if json { Style::JSON } else { Style::TEXT });
        let mut text = String::new();
        for rows in rows.chunks(page) {
            let part = if json { listing.json(rows) } else { Ok(listing.table(rows)) };
            text.push_str(&part.unwrap_or_else(|_| panic!("a page")));
            listing.rows += rows.len();
        }
        text
    }

    #[test]
    fn pages_make_the_same_as_the_whole() {
        let rows: Vec<QueueRow> = ["one", "two", "three"].map(row).into();
        let whole = serde_json::to_string_pretty(&rows).unwrap();
        for page in 1..4 {
            assert_eq!(printed(&rows, page, true) + "\n]", whole);
            assert_eq!(printed(&rows, page, false).matches("RECEIVED").count(), 1);
            assert_eq!(printed(&rows, page, false).lines().count(), 4);
        }
    }
}
