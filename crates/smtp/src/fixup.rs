//! What submission looks at and completes in a message's header (RFC 6409 §8).

use std::borrow::Cow;

use jiff::Timestamp;
use letterlock_address::{Domain, Mailbox};
use letterlock_smtp_wire::header;
use letterlock_vault::DeliveryId;
use mail_parser::{HeaderName, MessageParser};

use crate::received::date;

/// Who a message says that it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    /// One field with one address.
    One(Mailbox),
    /// No From field.
    Missing,
    /// Several fields or addresses, or none that can be read: a reader could show another
    /// author than the one that was checked.
    Unusable,
}

/// Finds the author.
pub(crate) fn author(message: &[u8]) -> Author {
    match header::count(message, "From") {
        0 => return Author::Missing,
        1 => {}
        _ => return Author::Unusable,
    }
    let section = &message[..header::section_length(message)];
    let parsed = MessageParser::new()
        .header_address(HeaderName::From)
        .default_header_ignore()
        .parse_headers(section);
    let mut addresses = parsed
        .as_ref()
        .and_then(|parsed| parsed.from())
        .map(|from| {
            from.iter().filter_map(|address| address.address.as_deref()).collect::<Vec<_>>()
        })
        .unwrap_or_default()
        .into_iter();
    match (addresses.next().and_then(|address| address.parse().ok()), addresses.next()) {
        (Some(author), None) => Author::One(author),
        _ => Author::Unusable,
    }
}

/// Removes Bcc (also that of somebody who sent the message on, RFC 5322 §3.6.6) and adds Date and Message-ID where they are missing (RFC 6409 §8.2, §8.3).
pub(crate) fn complete<'a>(
    message: &'a [u8],
    domain: &Domain,
    id: DeliveryId,
    now: Timestamp,
) -> Cow<'a, [u8]> {
    let without_bcc = header::remove(message, |field| field.is("Bcc") || field.is("Resent-Bcc"));
    let mut missing = String::new();
    if header::find(message, "Date").is_none() {
        missing.push_str(&format!("Date: {}\r\n", date(now)));
    }
    if header::find(message, "Message-ID").is_none() {
        missing.push_str(&format!(
            "Message-ID: <{}@{domain}>\r\n",
            id.to_string().to_ascii_lowercase()
        ));
    }
    if missing.is_empty() {
        return without_bcc;
    }
    let mut completed = missing.into_bytes();
    completed.extend_from_slice(&without_bcc);
    Cow::Owned(completed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(message: &str) -> Author {
        author(message.as_bytes())
    }

    #[test]
    fn one_author_or_none_that_can_be_trusted() {
        let ann = Author::One("ann@example.test".parse().unwrap());
        assert_eq!(of("From: Ann <ann@example.test>\r\n\r\nx"), ann);
        assert_eq!(of("from:\r\n \"A, nn\" <ann@example.test>\r\n\r\n"), ann);
        assert_eq!(of("Subject: x\r\n\r\nFrom: ann@example.test\r\n"), Author::Missing);
        assert_eq!(
            of("From: ann@example.test\r\nFrom: bob@example.test\r\n\r\n"),
            Author::Unusable
        );
        assert_eq!(of("From: ann@example.test, bob@example.test\r\n\r\n"), Author::Unusable);
        assert_eq!(of("From: nobody\r\n\r\n"), Author::Unusable);
        assert_eq!(of("From:\r\n\r\n"), Author::Unusable);
    }

    #[test]
    fn what_is_missing_is_added_and_bcc_goes() {
        let (id, now) = (DeliveryId::generate(), Timestamp::from_second(1_700_000_000).unwrap());
        let domain = Domain::parse("example.test").unwrap();
        let message = b"From: a@example.test\r\nBcc: b@example.test,\r\n c@example.test\r\nResent-Bcc: d@example.test\r\nSubject: s\r\n\r\nbody\r\n";
        let completed =
            String::from_utf8(complete(message, &domain, id, now).into_owned()).unwrap();
        assert_eq!(
            completed,
            format!(
                "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <{}@example.test>\r\nFrom: \
                 a@example.test\r\nSubject: s\r\n\r\nbody\r\n",
                id.to_string().to_ascii_lowercase()
            )
        );
        let whole = b"Date: x\r\nMessage-ID: <y>\r\n\r\nbody";
        assert!(matches!(complete(whole, &domain, id, now), Cow::Borrowed(_)));
    }
}
