//! The log: to standard error, text on a terminal and JSON otherwise.
//!
//! IP and mail addresses stand in fields of fixed names ([`PERSONAL`]). At `info` and above
//! they are written as pseudonyms, the same for the same address while the process lives,
//! so that a log can be read and kept without telling who writes to whom. What nobody may
//! ever see, passwords and keys, has types that do not print.

use std::fmt;
use std::io::IsTerminal;

use jiff::Timestamp;
use letterlock_config::{Log, LogAddresses, LogFormat};
use letterlock_vault::Key;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::Failure;

/// Fields that hold an address of a person or of a machine that is not ours.
const PERSONAL: [&str; 4] = ["ip", "user", "from", "to"];

/// Starts the log as the configuration says. Called once, before anything is logged.
pub(crate) fn start(log: &Log) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&log.level)
        .map_err(|error| Failure::Usage(format!("[log] level = {:?}: {error}", log.level)))?;
    let terminal = std::io::stderr().is_terminal();
    let lines = Lines {
        json: match log.format {
            LogFormat::Json => true,
            LogFormat::Text => false,
            LogFormat::Auto => !terminal,
        },
        colours: terminal,
        pseudonyms: (log.addresses == LogAddresses::Pseudonym).then(Key::random),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .event_format(lines)
        .init();
    Ok(())
}

/// How an event becomes a line.
struct Lines {
    json: bool,
    colours: bool,
    /// Makes the pseudonyms; `None` writes addresses in clear.
    pseudonyms: Option<Key>,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        let mut fields = Fields { lines: self, level, values: Map::new() };
        event.record(&mut fields);
        if self.json {
            let mut whole = Map::new();
            whole.insert("timestamp".into(), Timestamp::now().to_string().into());
            whole.insert("level".into(), level.as_str().into());
            whole.insert("target".into(), target.into());
            whole.append(&mut fields.values);
            return writeln!(line, "{}", Value::Object(whole));
        }
        self.text(&mut line, level, fields.values)
    }
}

impl Lines {
    fn text(
        &self,
        line: &mut Writer<'_>,
        level: Level,
        mut values: Map<String, Value>,
    ) -> fmt::Result {
        let (on, off) = if self.colours { (colour(level), "\x1b[0m") } else { ("", "") };
        write!(line, "{:.3} {on}{level:>5}{off}", Timestamp::now())?;
        if let Some(Value::String(message)) = values.remove("message") {
            write!(line, " {}", printable(&message))?;
        }
        for (name, value) in values {
            match value {
                Value::String(text) => write!(line, " {name}={}", printable(&text))?,
                other => write!(line, " {name}={other}")?,
            }
        }
        writeln!(line)
    }

    /// The value as it may be written.
    fn shown(&self, field: &str, level: Level, value: String) -> String {
        match &self.pseudonyms {
            Some(key) if level <= Level::INFO && PERSONAL.contains(&field) => {
                let mark = key.derive("log pseudonym", value.as_bytes());
                let [a, b, c, d, ..] = *mark.expose();
                format!("~{a:02x}{b:02x}{c:02x}{d:02x}")
            }
            _ => value,
        }
    }
}

/// A line is a line: what a peer said cannot begin another one.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[34m",
    }
}

/// Collects an event's fields.
struct Fields<'a> {
    lines: &'a Lines,
    level: Level,
    values: Map<String, Value>,
}

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: String) {
        let shown = self.lines.shown(field.name(), self.level, value);
        self.values.insert(field.name().to_owned(), shown.into());
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.values.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.values.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.values.insert(field.name().to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pseudonyms: bool) -> Lines {
        Lines { json: true, colours: false, pseudonyms: pseudonyms.then(Key::random) }
    }

    #[test]
    fn addresses_are_pseudonyms_at_info_and_above() {
        let lines = lines(true);
        let shown = |field, level| lines.shown(field, level, "192.0.2.1".into());
        assert!(shown("ip", Level::INFO).starts_with('~'));
        assert_eq!(
            shown("ip", Level::INFO),
            shown("from", Level::ERROR),
            "the same address is the same pseudonym"
        );
        assert_eq!(shown("ip", Level::DEBUG), "192.0.2.1");
        assert_eq!(shown("delivery", Level::INFO), "192.0.2.1");
        assert_ne!(shown("ip", Level::INFO), lines.shown("ip", Level::INFO, "192.0.2.2".into()));
    }

    #[test]
    fn addresses_are_in_clear_where_the_configuration_says_so() {
        assert_eq!(lines(false).shown("ip", Level::INFO, "192.0.2.1".into()), "192.0.2.1");
    }

    #[test]
    fn what_a_peer_says_cannot_begin_a_line() {
        assert_eq!(printable("a\r\nb"), "a\u{fffd}\u{fffd}b");
    }
}
