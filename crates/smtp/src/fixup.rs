//! What submission looks at and completes in a message's header (RFC 6409 §8).

use jiff::Timestamp;
use letterlock_address::{Domain, Mailbox};
use letterlock_sender_auth::strip_own_results;
use letterlock_smtp_wire::header::{self, Edit, Field};
use letterlock_vault::DeliveryId;
use mail_parser::{HeaderName, MessageParser};

use crate::addresses;
use crate::received::date;

/// Whom a field that is to name one person names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    /// One field with one address.
    One(Mailbox),
    /// No such field.
    Missing,
    /// Several fields or addresses, or none that can be read: a reader could show another
    /// author than the one that was checked.
    Unusable,
}

/// Finds the author.
pub(crate) fn author(message: &[u8]) -> Author {
    named(message, "From", HeaderName::From)
}

/// Finds who is said to have sent the message, if that is somebody else than its author (RFC 5322 §3.6.2).
pub(crate) fn sender(message: &[u8]) -> Author {
    named(message, "Sender", HeaderName::Sender)
}

fn named(message: &[u8], name: &str, header: HeaderName<'static>) -> Author {
    let mut fields = header::fields(message).filter(|field| field.is(name));
    let field = match (fields.next(), fields.next()) {
        (None, _) => return Author::Missing,
        (Some(field), None) => field,
        _ => return Author::Unusable,
    };
    // The parser sees this field alone, so that it cannot take another one for it.
    let parsed = MessageParser::new()
        .header_address(header.clone())
        .default_header_ignore()
        .parse_headers(&message[field.range]);
    let mut addresses = parsed
        .as_ref()
        .and_then(|parsed| parsed.header(header)?.as_address())
        .map(|found| {
            found.iter().filter_map(|address| address.address.as_deref()).collect::<Vec<_>>()
        })
        .unwrap_or_default()
        .into_iter();
    match (addresses.next().and_then(|address| address.parse().ok()), addresses.next()) {
        (Some(author), None) => Author::One(author),
        _ => Author::Unusable,
    }
}

/// What a message is completed with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion<'a> {
    /// The author's domain: that of a new Message-ID and of addresses that have none.
    pub(crate) domain: &'a Domain,
    /// Who sends for the author, where that is to be told.
    pub(crate) sender: Option<&'a Mailbox>,
    /// The message's name here.
    pub(crate) id: DeliveryId,
    /// For a missing Date.
    pub(crate) now: Timestamp,
    /// Our name: what only this server may say of a message goes (RFC 8601 §5).
    pub(crate) hostname: &'a str,
}

/// Removes Bcc (also that of somebody who sent the message on, RFC 5322 §3.6.6), completes addresses that have no
/// domain, and adds Sender, Date and Message-ID where they are missing (RFC 6409 §6.2, §8.1 to §8.3). Gives the new
/// fields, and what is behind them as it was.
pub(crate) fn complete<'a>(message: &'a [u8], with: &Completion<'_>) -> (Vec<u8>, &'a [u8]) {
    let Completion { domain, sender, id, now, hostname } = *with;
    let (section, rest) = message.split_at(header::section_length(message));
    let mut fields = Vec::with_capacity(section.len() + 256);
    if header::find(section, "Date").is_none() {
        fields.extend_from_slice(format!("Date: {}\r\n", date(now)).as_bytes());
    }
    if header::find(section, "Message-ID").is_none() {
        let id = id.to_string().to_ascii_lowercase();
        fields.extend_from_slice(format!("Message-ID: <{id}@{domain}>\r\n").as_bytes());
    }
    if let Some(sender) = sender {
        fields.extend_from_slice(format!("Sender: {sender}\r\n").as_bytes());
    }
    let honest = strip_own_results(section, hostname);
    fields.extend_from_slice(&header::edit(&honest, |field| {
        if field.is("Bcc") || field.is("Resent-Bcc") {
            Edit::Remove
        } else {
            qualified(field, domain.as_str())
        }
    }));
    (fields, rest)
}

/// The fields whose addresses are completed. From and Sender are not among them: whose they are is not guessed.
const ADDRESSES: [&str; 5] = ["To", "Cc", "Reply-To", "Resent-To", "Resent-Cc"];

fn qualified(field: &Field<'_>, domain: &str) -> Edit {
    if !ADDRESSES.iter().any(|name| field.is(name)) {
        return Edit::Keep;
    }
    match addresses::complete(field.raw_value, domain) {
        None => Edit::Keep,
        Some(value) => Edit::Replace([field.name, b":", &value].concat()),
    }
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
        let message = b"From: bob@example.test\r\nSender: ann@example.test\r\n\r\n";
        assert_eq!(sender(message), ann);
        assert_eq!(sender(b"From: bob@example.test\r\n\r\n"), Author::Missing);
        assert_eq!(sender(b"Sender: a@b.test\r\nSender: a@b.test\r\n\r\n"), Author::Unusable);
    }

    #[test]
    fn what_is_missing_is_added_and_bcc_goes() {
        let (id, now) = (DeliveryId::generate(), Timestamp::from_second(1_700_000_000).unwrap());
        let domain = Domain::parse("example.test").unwrap();
        let ann = "ann@example.test".parse().unwrap();
        let hostname = "mx.example.test";
        let with = Completion { domain: &domain, sender: Some(&ann), id, now, hostname };
        let message = b"From: a@example.test\r\nAuthentication-Results: mx.example.test; dkim=pass\r\nBcc: b@example.test,\r\n c@example.test\r\nResent-Bcc: d@example.test\r\nTo: bob, c@far.test\r\nSubject: bob\r\n\r\nbody\r\n";
        let whole = |message: &[u8], with: &Completion<'_>| {
            let (fields, rest) = complete(message, with);
            String::from_utf8([&fields, rest].concat()).unwrap()
        };
        let completed = whole(message, &with);
        assert_eq!(
            completed,
            format!(
                "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <{}@example.test>\r\nSender: \
                 ann@example.test\r\nFrom: a@example.test\r\nTo: bob@example.test, \
                 c@far.test\r\nSubject: bob\r\n\r\nbody\r\n",
                id.to_string().to_ascii_lowercase()
            )
        );
        let with = Completion { sender: None, ..with };
        for complete in [
            "Date: x\r\nMessage-ID: <y>\r\nTo: bob@far.test\r\n\r\nbody",
            "Date: x\r\nMessage-ID: <y>\r\nAuthentication-Results: mx.far.test; none\r\n\r\n",
            "Date: x\r\nMessage-ID: <y>",
        ] {
            assert_eq!(whole(complete.as_bytes(), &with), complete);
        }
    }
}
