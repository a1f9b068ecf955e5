//! The part of a report that people read.

use std::fmt::Write;
use std::time::Duration;

use super::{Action, Notice, Told, date};
use crate::finding::Speaker;

/// Lines are broken behind this many characters where there is a space.
const WIDTH: usize = 76;

/// Says what happened, in plain words: the gravest first.
pub(super) fn explain(notice: &Notice<'_>) -> String {
    let mut text = String::new();
    paragraph("", &format!("This is the mail server {}.", notice.hostname), &mut text);
    let received = date(notice.received_at);
    for group in GROUPS {
        let told: Vec<&Told<'_>> =
            notice.told.iter().filter(|told| group.contains(&told.action)).collect();
        let Some(action) = told.first().map(|told| told.action) else { continue };
        let [head, tail] = frame(action, told.len() == 1, notice);
        text.push_str("\r\n");
        paragraph("", &format!("The message that you sent on {received} {head}"), &mut text);
        for told in &told {
            let _ = write!(text, "\r\n  {}\r\n", told.recipient); // writing to a String cannot fail
            if let Some(reason) = reason(told, notice.expire) {
                paragraph("    ", &reason, &mut text);
            }
        }
        text.push_str("\r\n");
        paragraph("", &tail, &mut text);
    }
    text
}

/// Recipients that are told of together.
const GROUPS: [&[Action]; 5] = [
    &[Action::Failed, Action::Expired],
    &[Action::Delayed],
    &[Action::Expanded],
    &[Action::Relayed],
    &[Action::Delivered],
];

/// What stands before and behind the recipients.
fn frame(action: Action, single: bool, notice: &Notice<'_>) -> [String; 2] {
    let these = if single { "this recipient" } else { "these recipients" };
    let [head, tail] = match action {
        Action::Failed | Action::Expired => {
            let tail = if single { "This address" } else { "These addresses" };
            return [
                format!("could not be delivered to {these}:"),
                format!(
                    "{tail} will not be tried again. If others were among the recipients, they are not concerned. \
                     Please check the spelling, or show this report to those who look after the recipient's mail; \
                     what the servers said stands in it word for word."
                ),
            ];
        }
        Action::Delayed => {
            let until = date(notice.until);
            return [
                format!("has not been delivered yet to {these}:"),
                format!(
                    "You need not do anything: it is tried again until {until}. If it cannot be delivered by then, \
                     you will hear of it."
                ),
            ];
        }
        Action::Expanded => [
            "was passed on to all who stand behind",
            "Whether they got it will not be reported one by one.",
        ],
        Action::Relayed => [
            "was handed over for",
            "The server that took it does not report delivery. You will hear of it only if it tells of a failure.",
        ],
        Action::Delivered => ["is in the mailbox of", "This is what you had asked to be told."],
    };
    [format!("{head} {these}:"), tail.to_owned()]
}

/// What was found; `None` where there is nothing to be said beside the address.
fn reason(told: &Told<'_>, expire: Duration) -> Option<String> {
    let finding = told.finding?;
    let (text, span) = (&finding.text, span(expire));
    Some(match (told.action, &finding.speaker) {
        (Action::Failed, Speaker::Host(host)) => format!("The server {host} refused it: {text}"),
        (Action::Failed, Speaker::Here) => format!("It cannot be sent: {finding}"),
        (Action::Expired, Speaker::Host(host)) => {
            format!("It was tried for {span}. At last the server {host} said: {text}")
        }
        (Action::Expired, Speaker::Here) => format!("It was tried for {span}. At last: {finding}"),
        (_, Speaker::Host(host)) => format!("The server {host} said: {text}"),
        (_, Speaker::Here) => format!("At last: {finding}"),
    })
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
