//! The rows of the comparison, and how they are printed.

use serde::Serialize;

use super::Row;
use crate::report::{median, shown};
use crate::spent::Spent;

/// What one measurement of one server gave.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Measure {
    /// Messages a second, until the last one is where it is to be.
    pub(crate) rate: f64,
    /// Messages a second, until the last one was accepted.
    pub(crate) accepted: f64,
    /// Server CPU, milliseconds a message.
    pub(crate) cpu: f64,
    /// The load program's, without that of Postfix's programs.
    pub(crate) client: f64,
    /// Flushes of the disk a message; `None` where the kernel does not count them.
    pub(crate) flushes: Option<f64>,
    /// KiB written a message.
    pub(crate) written: f64,
}

impl Measure {
    pub(crate) fn new(rate: f64, accepted: f64, spent: Spent) -> Self {
        let Spent { cpu, own, flushes, written } = spent;
        Self { rate, accepted, cpu, client: own, flushes, written }
    }

    /// The median of each figure.
    fn of(all: &[Self]) -> Option<Self> {
        let middle = |figure: fn(&Self) -> f64| median(&all.iter().map(figure).collect::<Vec<_>>());
        let first = all.first()?;
        Some(Self {
            rate: middle(|one| one.rate),
            accepted: middle(|one| one.accepted),
            cpu: middle(|one| one.cpu),
            client: middle(|one| one.client),
            flushes: first.flushes.map(|_| middle(|one| one.flushes.unwrap_or_default())),
            written: middle(|one| one.written),
        })
    }
}

/// Both servers' measurements of a row.
#[derive(Serialize)]
pub(super) struct Line {
    name: String,
    pub(super) ours: Vec<Measure>,
    pub(super) theirs: Vec<Measure>,
}

/// All rows.
#[derive(Serialize)]
pub(super) struct Table {
    title: String,
    rows: Vec<Line>,
}

impl Table {
    pub(super) fn new(title: String, rows: &[Row]) -> Self {
        let line = |row: &Row| Line { name: row.name(), ours: Vec::new(), theirs: Vec::new() };
        Self { title, rows: rows.iter().map(line).collect() }
    }

    pub(super) fn line(&mut self, row: usize) -> &mut Line {
        &mut self.rows[row] // as many as `new` was given
    }

    pub(super) fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// Medians, and how many times Letterlock's is the other's. Without another server its columns are left out.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!(
            "{}\n\n| | messages/s | | ratio | server CPU, ms | | flushes | | KiB written | |\n\
             |---|---|---|---|---|---|---|---|---|---|\n\
             | | Letterlock | peer | | Letterlock | peer | Letterlock | peer | Letterlock | peer |\n",
            self.title
        );
        for line in &self.rows {
            let (ours, theirs) = (Measure::of(&line.ours), Measure::of(&line.theirs));
            let pair = |figure: fn(&Measure) -> Option<f64>| {
                let one = |side: &Option<Measure>| {
                    side.as_ref().and_then(figure).map_or("–".to_owned(), shown)
                };
                format!("{} | {}", one(&ours), one(&theirs))
            };
            let ratio = ours.zip(theirs).filter(|(_, theirs)| theirs.rate > 0.0);
            let ratio = ratio.map_or("–".to_owned(), |(o, t)| shown(o.rate / t.rate));
            text.push_str(&format!(
                "| {} | {} | {ratio} | {} | {} | {} |\n",
                line.name,
                pair(|one| Some(one.rate)),
                pair(|one| Some(one.cpu)),
                pair(|one| one.flushes),
                pair(|one| Some(one.written)),
            ));
        }
        text.truncate(text.trim_end().len());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_medians_and_their_ratio() {
        let measure = |rate| {
            let spent = Spent { cpu: 0.5, own: 0.1, flushes: None, written: 100.0 };
            Measure::new(rate, rate, spent)
        };
        let row = Row::Inbound { connections: 8, size: 4096, messages: 9 };
        let mut table = Table::new("title".to_owned(), &[row]);
        for rate in [1.0, 900.0, 300.0] {
            table.line(0).ours.push(measure(rate));
        }
        table.line(0).theirs.push(measure(30.0));
        let text = table.markdown();
        let last = text.lines().last().unwrap();
        assert_eq!(
            last,
            "| in, 4 KiB, 8 connections | 300 | 30.0 | 10.0 | 0.500 | 0.500 | – | – | 100 | 100 |"
        );
    }
}
