//! The part of a report that people read.

use std::fmt::Write;
use std::time::Duration;

use super::{Failure, Notice, Reason, date};
use crate::finding::Speaker;

/// Lines are broken behind this many characters where there is a space.
const WIDTH: usize = 76;

/// Says what happened, in plain words.
pub(super) fn explain(notice: &Notice<'_>) -> String {
    let mut text = String::new();
    paragraph("", &format!("This is the mail server {}.", notice.hostname), &mut text);
    text.push_str("\r\n");
    let (head, tail) = match notice.failures {
        [_] => ("this recipient", "This address"),
        _ => ("these recipients", "These addresses"),
    };
    let received = date(notice.received_at);
    let line = format!("The message that you sent on {received} could not be delivered to {head}:");
    paragraph("", &line, &mut text);
    for failure in notice.failures {
        let _ = write!(text, "\r\n  {}\r\n", failure.recipient); // writing to a String cannot fail
        paragraph("    ", &reason(failure, notice.expire), &mut text);
    }
    text.push_str("\r\n");
    let line = format!(
        "{tail} will not be tried again. If others were among the recipients, they are not concerned. Please check \
         the spelling, or show this report to those who look after the recipient's mail; what the servers said \
         stands in it word for word."
    );
    paragraph("", &line, &mut text);
    text
}

fn reason(failure: &Failure<'_>, expire: Duration) -> String {
    let finding = failure.finding;
    match (failure.reason, &finding.speaker) {
        (Reason::Final, Speaker::Host(host)) => {
            format!("The server {host} refused it: {}", finding.text)
        }
        (Reason::Final, Speaker::Here) => format!("It cannot be sent: {finding}"),
        (Reason::Expired, Speaker::Host(host)) => {
            let span = span(expire);
            format!("It was tried for {span}. At last the server {host} said: {}", finding.text)
        }
        (Reason::Expired, Speaker::Here) => {
            format!("It was tried for {}. At last: {finding}", span(expire))
        }
    }
}

/// A span of time in words: the largest unit that it is at least two of.
fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    let units = [(86_400, "days"), (3_600, "hours"), (60, "minutes")];
    match units.into_iter().find(|(unit, _)| seconds >= 2 * unit) {
        Some((unit, name)) => format!("{} {name}", seconds / unit),
        None if seconds == 1 => "1 second".to_owned(),
        None => format!("{seconds} seconds"),
    }
}

/// Appends text in lines that are not too long.
fn paragraph(indent: &str, text: &str, out: &mut String) {
    let mut column = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            out.push_str("\r\n");
            column = 0;
        }
        let space = if column == 0 { indent } else { " " };
        out.push_str(space);
        out.push_str(word);
        column += space.len() + length;
    }
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (seconds, words) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (90, "90 seconds"),
            (300, "5 minutes"),
            (86_400, "24 hours"),
            (432_000, "5 days"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn lines_are_short() {
        let mut out = String::new();
        paragraph("  ", &"word ".repeat(100), &mut out);
        assert!(out.lines().all(|line| line.len() <= WIDTH && line.starts_with("  word")));
        assert_eq!(out.matches("word").count(), 100);
    }
}
