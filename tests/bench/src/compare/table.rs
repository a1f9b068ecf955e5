//! Two servers side by side: every row is a cost, so less is better, and its ratio is how many times less it is here.

use serde::Serialize;

use crate::report::{median, shown};

/// Whose figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Letterlock's.
    Ours,
    /// The other server's.
    Theirs,
}

/// The figures of both servers, row by row in the order in which the rows were first noted.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

/// One step's figures, one a round.
#[derive(Serialize)]
struct Row {
    name: String,
    unit: &'static str,
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

/// A row as it is printed.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    row: &'a Row,
    ours_median: Option<f64>,
    theirs_median: Option<f64>,
    /// The other server's median ÷ Letterlock's: above 1 Letterlock costs less.
    ratio: Option<f64>,
}

impl Row {
    fn shown(&self) -> Shown<'_> {
        let of = |values: &[f64]| (!values.is_empty()).then(|| median(values));
        let (ours_median, theirs_median) = (of(&self.ours), of(&self.theirs));
        let ratio = match (ours_median, theirs_median) {
            (Some(ours), Some(theirs)) if ours > 0.0 => Some(theirs / ours),
            _ => None,
        };
        Shown { row: self, ours_median, theirs_median, ratio }
    }
}

impl Table {
    /// Notes one figure of one round.
    pub(crate) fn note(&mut self, name: &str, unit: &'static str, whose: Whose, value: f64) {
        let place = self.rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
            let name = name.to_owned();
            self.rows.push(Row { name, unit, ours: Vec::new(), theirs: Vec::new() });
            self.rows.len() - 1
        });
        let row = &mut self.rows[place];
        match whose {
            Whose::Ours => row.ours.push(value),
            Whose::Theirs => row.theirs.push(value),
        }
    }

    /// All figures, with medians and ratios.
    pub(crate) fn json(&self, title: &str) -> anyhow::Result<String> {
        let rows: Vec<_> = self.rows.iter().map(Row::shown).collect();
        Ok(serde_json::to_string_pretty(&serde_json::json!({ "title": title, "rows": rows }))?)
    }

    /// A Markdown table: the step, both medians, and the ratio.
    pub(crate) fn markdown(&self, title: &str) -> String {
        let mut text =
            format!("{title}\n\n| Step | Letterlock | the other | ratio |\n|---|---|---|---|\n");
        for row in self.rows.iter().map(Row::shown) {
            let figure = |value: Option<f64>| match value {
                Some(value) => format!("{} {}", shown(value), row.row.unit),
                None => "–".to_owned(),
            };
            let ratio = row.ratio.map_or("–".to_owned(), shown);
            let (ours, theirs) = (figure(row.ours_median), figure(row.theirs_median));
            text.push_str(&format!("| {} | {ours} | {theirs} | {ratio} |\n", row.row.name));
        }
        text.truncate(text.trim_end().len());
        text
    }

    /// The same for a terminal, with the values of all rounds.
    pub(crate) fn text(&self, title: &str) -> String {
        let name = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        let mut text =
            format!("{title}\n  {:name$}  {:>10}  {:>10}  {:>7}\n", "", "ours", "other", "ratio");
        for row in self.rows.iter().map(Row::shown) {
            let figure = |value: Option<f64>| value.map_or("-".to_owned(), shown);
            let list =
                |values: &[f64]| values.iter().copied().map(shown).collect::<Vec<_>>().join(" ");
            text.push_str(&format!(
                "  {:name$}  {:>10}  {:>10}  {:>7}  {}",
                row.row.name,
                figure(row.ours_median),
                figure(row.theirs_median),
                figure(row.ratio),
                row.row.unit,
            ));
            if row.row.ours.len() > 1 || row.row.theirs.len() > 1 {
                text.push_str(&format!("  ({} | {})", list(&row.row.ours), list(&row.row.theirs)));
            }
            text.push('\n');
        }
        text.truncate(text.trim_end().len());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_medians() {
        let mut table = Table::default();
        for value in [1.0, 100.0, 2.0] {
            table.note("step", "ms", Whose::Ours, value);
        }
        table.note("step", "ms", Whose::Theirs, 5.0);
        table.note("theirs alone", "KiB", Whose::Theirs, 5.0);
        let text = table.markdown("title");
        assert!(
            text.ends_with(
                "| step | 2.00 ms | 5.00 ms | 2.50 |\n| theirs alone | – | 5.00 KiB | – |"
            ),
            "{text}"
        );
    }
}
