//! Figures of several runs, their medians, and how they are shown.

use serde::Serialize;

/// The figures of one run, in the order in which they are shown.
#[derive(Default)]
pub(crate) struct Figures(Vec<(String, &'static str, f64)>);

impl Figures {
    pub(crate) fn add(&mut self, name: impl Into<String>, unit: &'static str, value: f64) {
        self.0.push((name.into(), unit, value));
    }
}

/// All runs of a command.
#[derive(Serialize)]
pub(crate) struct Report {
    title: String,
    figures: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    name: String,
    unit: &'static str,
    median: f64,
    runs: Vec<f64>,
}

impl Report {
    pub(crate) fn new(title: String, runs: Vec<Figures>) -> Self {
        let mut figures: Vec<Line> = Vec::new();
        for (name, unit, value) in runs.into_iter().flat_map(|run| run.0) {
            match figures.iter_mut().find(|line| line.name == name && line.unit == unit) {
                Some(line) => line.runs.push(value),
                None => figures.push(Line { name, unit, median: 0.0, runs: vec![value] }),
            }
        }
        for line in &mut figures {
            line.median = median(&line.runs);
        }
        Self { title, figures }
    }

    pub(crate) fn title(&self) -> &str {
        &self.title
    }

    /// Name, unit and median of each figure.
    pub(crate) fn medians(&self) -> impl Iterator<Item = (&str, &'static str, f64)> {
        self.figures.iter().map(|line| (line.name.as_str(), line.unit, line.median))
    }

    pub(crate) fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// One line a figure: name, median, unit, and the values of the runs if there was more than one.
    pub(crate) fn table(&self) -> String {
        let name = self.figures.iter().map(|line| line.name.chars().count()).max().unwrap_or(0);
        let unit = self.figures.iter().map(|line| line.unit.chars().count()).max().unwrap_or(0);
        let mut text = format!("{}\n", self.title);
        for line in &self.figures {
            let median = shown(line.median);
            text.push_str(&format!("  {:name$}  {median:>9}  {:unit$}", line.name, line.unit));
            if line.runs.len() > 1 {
                let runs: Vec<String> = line.runs.iter().map(|value| shown(*value)).collect();
                text.push_str(&format!("  ({})", runs.join(" ")));
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// As many digits as a measurement deserves.
pub(crate) fn shown(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        middle if middle >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The middle value, or the mean of the two in the middle; 0 of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which this share of the values lies, between neighbours in proportion; 0 of nothing.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * sorted.len().saturating_sub(1) as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    match (sorted.get(low), sorted.get(high)) {
        (Some(low), Some(high)) => low + (high - low) * place.fract(),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_medians() {
        let run = |value| {
            let mut figures = Figures::default();
            figures.add("accepted", "messages/s", value);
            figures
        };
        let report = Report::new("title".to_owned(), vec![run(1.0), run(300.0), run(20.0)]);
        assert_eq!(report.table(), "title\n  accepted       20.0  messages/s  (1.00 300 20.0)");
    }

    #[test]
    fn quantiles() {
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 1.0), 3.0);
    }
}
