//! Answers as tables for people or JSON for programs, on standard output.

use std::io::{self, Write};

use letterlock_admin::{Check, Response};

use crate::Failure;
use crate::cli::Format;

/// Writes to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_some(text).map(drop)
}

/// Writes a part of something longer; whether anybody still reads.
pub(crate) fn print_some(text: &str) -> Result<bool, Failure> {
    put(&mut io::stdout().lock(), text)
}

/// Whoever reads may have seen enough, as in `… | head`: that is no failure.
fn put(out: &mut impl Write, text: &str) -> Result<bool, Failure> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::from(error).context("cannot write to standard output").into())
        }
        written => Ok(written.is_ok()),
    }
}

/// How an answer is printed.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    json: bool,
}

impl Style {
    /// For people.
    pub(crate) const TEXT: Style = Style { json: false };
    /// For programs.
    #[cfg(test)]
    pub(crate) const JSON: Style = Style { json: true };

    pub(crate) fn is_json(self) -> bool {
        self.json
    }
}

impl From<Format> for Style {
    fn from(format: Format) -> Style {
        Style { json: format.json }
    }
}

/// Prints an answer. A check that found something wrong is a failure.
pub(crate) fn response(response: Response, style: Style) -> Result<(), Failure> {
    let wrong = match &response {
        Response::Checks(checks) => checks.iter().filter(|check| !check.ok).count(),
        Response::Verified(rows) => rows.iter().map(|row| row.found.len()).sum(),
        _ => 0,
    };
    let complaint = match &response {
        Response::Verified(_) => "things are wrong",
        _ => "of the records are missing or wrong",
    };
    if style.json {
        json(&response)?
    } else {
        print(&text(&response))?
    }
    if wrong > 0 {
        return Err(Failure::Failed(anyhow::anyhow!("{wrong} {complaint}")));
    }
    Ok(())
}

/// The bare rows, without the name of the answer's kind around them.
fn json(response: &Response) -> Result<(), Failure> {
    let value = serde_json::to_value(response).map_err(anyhow::Error::from)?;
    let inner = match value {
        serde_json::Value::Object(map) => {
            map.into_iter().next().map(|(_, value)| value).unwrap_or_default()
        }
        other => other,
    };
    print(&format!("{inner:#}\n"))
}

fn text(response: &Response) -> String {
    match response {
        Response::Done(sentence) => format!("{sentence}\n"),
        // Each alone on its line: scripts read them.
        Response::Made(secrets) => {
            secrets.iter().map(|s| format!("{}\n", s.secret.expose().as_str())).collect()
        }
        Response::Domains(rows) => domains(rows),
        Response::Domain(domain) => list(&[
            ("domain", domain.row.domain.clone()),
            ("unicode", domain.unicode.clone()),
            ("accounts", domain.row.accounts.to_string()),
            ("contact", or_dash(domain.row.contact.as_deref())),
            ("dkim", domain.dkim.join(", ")),
        ]),
        Response::Records(records) => records.iter().map(zone_lines).collect(),
        Response::Checks(checks) => checks.iter().map(check_line).collect(),
        Response::Accounts(rows) => accounts(rows),
        Response::Account(details) => account(details),
        Response::Sessions(rows) => sessions(rows),
        Response::AppPasswords(rows) => app_passwords(rows),
        Response::Aliases(rows) => table(
            &["ADDRESS", "TARGETS"],
            rows.iter().map(|r| vec![r.address.clone(), r.targets.join(" ")]),
        ),
        Response::Verified(rows) => rows.iter().map(verified).collect(),
        Response::Queue(page) => queue_table(&page.rows),
        Response::Trace(trace) => {
            let lines = trace.lines.iter().map(|line| format!("{}  {}\n", line.at, line.what));
            format!("{}\n{}", trace.id, lines.collect::<String>())
        }
        Response::Suppressed(rows) => table(
            &["ADDRESS", "SINCE", "UNTIL", "REASON"],
            rows.iter().map(|r| {
                vec![r.address.clone(), r.since.clone(), r.until.clone(), r.reason.clone()]
            }),
        ),
        Response::Entry(entry) => queue_entry(entry),
    }
}

fn domains(rows: &[letterlock_admin::DomainRow]) -> String {
    table(
        &["DOMAIN", "ACCOUNTS", "CONTACT"],
        rows.iter()
            .map(|r| vec![r.domain.clone(), r.accounts.to_string(), or_dash(r.contact.as_deref())]),
    )
}

fn accounts(rows: &[letterlock_admin::AccountRow]) -> String {
    table(
        &["ADDRESS", "KEYS", "STATE", "MAILBOX", "QUOTA", "ID"],
        rows.iter().map(|r| {
            vec![
                r.address.clone(),
                r.keys.clone(),
                state(r),
                r.mailbox.clone(),
                quota(r),
                r.id.clone(),
            ]
        }),
    )
}

fn account(account: &letterlock_admin::AccountDetails) -> String {
    list(&[
        ("address", account.row.address.clone()),
        ("name", or_dash(account.name.as_deref())),
        ("id", account.row.id.clone()),
        ("keys", account.row.keys.clone()),
        ("state", state(&account.row)),
        ("mailbox", account.row.mailbox.clone()),
        (
            "used",
            account
                .used
                .map_or_else(|| "unknown while locked".into(), |used| format!("{used} bytes")),
        ),
        (
            "messages",
            account.messages.map_or_else(|| "unknown while locked".into(), |n| n.to_string()),
        ),
        ("quota", quota(&account.row)),
        ("imap without", or_dash(disabled(&account.row).as_deref())),
        ("parked", account.parked.to_string()),
        ("created", account.created.clone()),
        ("credentials", account.credentials.join(", ")),
        ("sessions", account.sessions.to_string()),
    ])
}

fn sessions(rows: &[letterlock_admin::SessionRow]) -> String {
    table(
        &["ID", "PROTOCOL", "ADDRESS", "SINCE"],
        rows.iter()
            .map(|r| vec![r.id.to_string(), r.protocol.clone(), r.ip.clone(), r.since.clone()]),
    )
}

fn app_passwords(rows: &[letterlock_admin::AppPasswordRow]) -> String {
    table(
        &["ID", "NAME", "SCRAM", "CREATED", "LAST USED"],
        rows.iter().map(|r| {
            let scram = if r.scram { "yes" } else { "no" }.to_owned();
            let used = or_dash(r.last_used.as_deref());
            vec![r.id.to_string(), r.name.clone(), scram, r.created.clone(), used]
        }),
    )
}

fn queue_entry(entry: &letterlock_admin::QueueDetails) -> String {
    let recipients = table(
        &["RECIPIENT", "STATE", "TRIES", "NEXT", "SECURITY", "LAST REPLY"],
        entry.details.iter().map(|r| {
            let next = or_dash(r.next_attempt.as_deref());
            vec![
                r.address.clone(),
                r.state.clone(),
                r.attempts.to_string(),
                next,
                or_dash(r.security.as_deref()),
                or_dash(r.last_reply.as_deref()),
            ]
        }),
    );
    format!("{}{recipients}", queue_table(std::slice::from_ref(&entry.row)))
}

pub(crate) fn queue_table(rows: &[letterlock_admin::QueueRow]) -> String {
    table(
        &["ID", "RECEIVED", "FROM", "RECIPIENTS", "STATES", "NEXT"],
        rows.iter().map(|r| {
            let from =
                r.from.as_ref().map_or_else(|| "sealed".to_owned(), |from| format!("<{from}>"));
            vec![
                r.id.clone(),
                r.received.clone(),
                from,
                r.recipients.to_string(),
                r.states.join(","),
                or_dash(r.next_attempt.as_deref()),
            ]
        }),
    )
}

/// The record as a zone file has it, and for long texts the one piece that web forms want.
fn zone_lines(record: &letterlock_admin::DnsRecord) -> String {
    let mut lines = format!("{} IN {} {}\n", record.name, record.kind, record.value);
    if let Some(text) = record.text.as_deref().filter(|text| text.len() > 255) {
        lines.push_str(&format!("; the same in one piece: {text}\n"));
    }
    lines
}

/// One line for what is sound, and one for each thing that is not.
fn verified(row: &letterlock_admin::VerifiedRow) -> String {
    let mark = if row.found.is_empty() { "ok     " } else { "WRONG  " };
    let mut text = format!("{mark}{}: {} pages whole", row.subject, row.pages);
    if let Some(why) = &row.not_checked {
        text.push_str(&format!("; not checked: {why}"));
    }
    text.push('\n');
    for found in &row.found {
        text.push_str(&format!("         {found}\n"));
    }
    for repaired in &row.repaired {
        text.push_str(&format!("         repaired: {repaired}\n"));
    }
    if let Some(advice) = row.advice.as_ref().filter(|_| !row.found.is_empty()) {
        text.push_str(&format!("         {advice}\n"));
    }
    text
}

fn check_line(check: &Check) -> String {
    let mark = if check.ok { "ok     " } else { "WRONG  " };
    format!("{mark}{} {}: {}\n", check.name, check.kind, check.finding)
}

fn state(account: &letterlock_admin::AccountRow) -> String {
    match account.state.as_str() {
        "disabled" => format!("disabled, mail {}", account.mail),
        other => other.to_owned(),
    }
}

fn quota(account: &letterlock_admin::AccountRow) -> String {
    let size = account.quota.map(letterlock_config::format_size);
    let messages = account.quota_messages.map(|number| format!("{number} messages"));
    let limits: Vec<String> = size.into_iter().chain(messages).collect();
    if limits.is_empty() { "none".to_owned() } else { limits.join(", ") }
}

fn disabled(account: &letterlock_admin::AccountRow) -> Option<String> {
    let names = &account.disabled_capabilities;
    (!names.is_empty()).then(|| names.join(" "))
}

fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

fn list(rows: &[(&str, String)]) -> String {
    rows.iter().map(|(name, value)| format!("{name:<12} {value}\n")).collect()
}

/// Columns as wide as their widest cell; the last one is not padded.
fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> =
        std::iter::once(header.iter().map(ToString::to_string).collect()).chain(rows).collect();
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_has_seen_enough_is_no_failure() {
        struct Gone(io::ErrorKind);
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(matches!(put(&mut Gone(io::ErrorKind::BrokenPipe), "x"), Ok(false)));
        assert!(matches!(put(&mut Vec::new(), "x"), Ok(true)));
        assert!(put(&mut Gone(io::ErrorKind::StorageFull), "x").is_err());
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".into(), "long cell".into()], vec!["longer".into(), "b".into()]];
        assert_eq!(
            table(&["X", "Y"], rows.into_iter()),
            "X       Y\na       long cell\nlonger  b\n"
        );
    }
}
