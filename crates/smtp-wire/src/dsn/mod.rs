//! Reports about deliveries, as other servers write them: the fields of RFC 3464 in the `multipart/report` of RFC 6522,
//! with the types of RFC 6533 beside those of ASCII.
//!
//! [`parse`] reads what can be read and says nothing of the rest. It is total and bounded: it looks at the first
//! [`MOST_OCTETS`] of a message, at its own parts and never at the parts of a part, and at [`MOST_RECIPIENTS`]
//! recipients. A report proves nothing: anybody can write one. Whether it is about a message that was really sent is
//! for the caller to find out, by what it returns of that message's header.

mod mime;

use letterlock_address::Mailbox;

use crate::reply::EnhancedCode;
use crate::{header, xtext};

/// What is looked at of a message. The status stands in front of what is returned, so that a longer report loses only
/// the end of the returned message.
pub const MOST_OCTETS: usize = 256 * 1024;
/// Recipients that are read of one report.
pub const MOST_RECIPIENTS: usize = 200;
/// Parts that are looked at.
const MOST_PARTS: usize = 16;

/// What a report says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who reports (`Reporting-MTA`), without the type of the name.
    pub reporter: Option<String>,
    /// The ENVID of the message (`Original-Envelope-Id`).
    pub envid: Option<String>,
    /// The recipients, in the order of the report; those without a usable action or status are left out.
    pub recipients: Vec<Recipient>,
    /// The header section of the returned message, as far as it came back; empty if nothing did.
    pub original: Vec<u8>,
}

/// What a report says of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// Whom the reporter was to deliver to (`Final-Recipient`).
    pub final_recipient: Option<Mailbox>,
    /// Whom the sender had named (`Original-Recipient`).
    pub original_recipient: Option<Mailbox>,
    /// Whom some servers name beside it, where an alias leads on (`X-Actual-Recipient`).
    pub actual_recipient: Option<Mailbox>,
    /// What became of the message.
    pub action: Action,
    /// Why. Where the report says no more than "failed" (X.0.0), this is what the diagnosis says.
    pub status: EnhancedCode,
    /// What a server said about it (`Diagnostic-Code`), without the type.
    pub diagnostic: Option<String>,
}

/// What became of a message (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is given up.
    Failed,
    /// It is tried again.
    Delayed,
    /// It is in the mailbox.
    Delivered,
    /// A server without DSN took it over.
    Relayed,
    /// It went on to several recipients.
    Expanded,
}

impl Action {
    fn parse(text: &str) -> Option<Self> {
        let actions = [
            ("failed", Self::Failed),
            ("delayed", Self::Delayed),
            ("delivered", Self::Delivered),
            ("relayed", Self::Relayed),
            ("expanded", Self::Expanded),
        ];
        let word = first_word(text);
        actions.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, is)| is)
    }
}

/// Reads a message as a report; `None` if it is none.
pub fn parse(message: &[u8]) -> Option<Report> {
    let message = &message[..message.len().min(MOST_OCTETS)];
    let boundary = mime::report_boundary(message)?;
    let body = &message[header::body_start(message)..];
    let mut report: Option<Report> = None;
    for part in mime::parts(body, &boundary).take(MOST_PARTS) {
        let (kind, content) = mime::open(part);
        match (kind.as_str(), &mut report) {
            ("message/delivery-status" | "message/global-delivery-status", None) => {
                report = Some(status(&content));
            }
            (
                "text/rfc822-headers"
                | "message/rfc822-headers"
                | "message/global-headers"
                | "message/rfc822"
                | "message/global",
                Some(report),
            ) if report.original.is_empty() => {
                report.original = content[..header::section_length(&content)].to_vec();
            }
            _ => {}
        }
    }
    report
}

/// The fields of RFC 3464 §2: a group for the message, then one for each recipient, with empty lines between them.
fn status(content: &[u8]) -> Report {
    let mut groups = groups(content);
    let about_message = groups.next().unwrap_or_default();
    let mut recipients: Vec<Recipient> = Vec::new();
    // Some servers forget the empty line behind the first group, or the group itself.
    recipients.extend(recipient(about_message));
    recipients.extend(groups.filter_map(recipient).take(MOST_RECIPIENTS));
    recipients.truncate(MOST_RECIPIENTS);
    Report {
        reporter: value(about_message, "Reporting-MTA").map(|name| untyped(&name).to_owned()),
        envid: value(about_message, "Original-Envelope-Id"),
        recipients,
        original: Vec::new(),
    }
}

/// Header sections one after the other, without the empty lines between them.
fn groups(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = content;
    std::iter::from_fn(move || {
        while let Some(behind) = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")) {
            rest = behind;
        }
        let length = header::section_length(rest);
        let (group, behind) = rest.split_at(length);
        rest = behind;
        // An empty group that is not at the end would be one empty line more, and those are passed over.
        (!group.is_empty()).then_some(group)
    })
}

fn recipient(group: &[u8]) -> Option<Recipient> {
    let action = Action::parse(&value(group, "Action")?)?;
    let diagnostic = value(group, "Diagnostic-Code").map(|text| untyped(&text).to_owned());
    let stated = EnhancedCode::parse(first_word(&value(group, "Status")?))?;
    Some(Recipient {
        final_recipient: address(group, "Final-Recipient"),
        original_recipient: address(group, "Original-Recipient"),
        actual_recipient: address(group, "X-Actual-Recipient"),
        action,
        status: refined(stated, diagnostic.as_deref()),
        diagnostic,
    })
}

/// The status, or what the diagnosis says where the status says no more than its class.
fn refined(stated: EnhancedCode, diagnostic: Option<&str>) -> EnhancedCode {
    if (stated.subject, stated.detail) != (0, 0) {
        return stated;
    }
    // `550 5.1.1 no such user`, `550-5.1.1 no such user`.
    let mut words = diagnostic.unwrap_or_default().split([' ', '-']);
    let said = words.by_ref().take(3).find_map(EnhancedCode::parse);
    said.filter(|said| said.class == stated.class).unwrap_or(stated)
}

/// The value of the first field of this name, unfolded; octets that are no UTF-8 are replaced.
fn value(group: &[u8], name: &str) -> Option<String> {
    let value = header::find(group, name)?.value().into_owned();
    Some(String::from_utf8_lossy(&value).into_owned())
}

/// What stands behind the type of a typed name (RFC 3464 §2.1.2).
fn untyped(text: &str) -> &str {
    text.split_once(';').map_or(text, |(_, name)| name).trim()
}

/// An address with its type: `rfc822; ann@example.org` or `utf-8; jörg@example.org`. Angle brackets and comments behind
/// it are passed over.
fn address(group: &[u8], name: &str) -> Option<Mailbox> {
    let text = value(group, name)?;
    let (kind, typed) = text.split_once(';').unwrap_or(("rfc822", &text));
    let typed = typed.trim();
    let bare = match typed.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        Some((bare, _)) => bare,
        None => typed,
    };
    let parse = |text: &str| match kind.trim().eq_ignore_ascii_case("utf-8") {
        true => xtext::decode_utf8_address(text)?.parse().ok(),
        false => text.parse().ok(),
    };
    // A quoted local part may have spaces; elsewhere a comment follows one.
    parse(bare).or_else(|| parse(first_word(bare)))
}

fn first_word(text: &str) -> &str {
    text.split_ascii_whitespace().next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
