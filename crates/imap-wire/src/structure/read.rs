//! What SORT needs, out of a stored ENVELOPE: opening the message, or only its header, would cost many times more.

/// The fields of an envelope by which messages are sorted (RFC 5256, RFC 5957). Values are as they stand in the message:
/// encoded-words are not decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvelopeFields {
    /// Date
    pub date: Option<Vec<u8>>,
    /// Subject
    pub subject: Option<Vec<u8>>,
    /// The first address of From.
    pub from: Option<FirstAddress>,
    /// The first address of To.
    pub to: Option<FirstAddress>,
    /// The first address of Cc.
    pub cc: Option<FirstAddress>,
}

/// The first entry of an address list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FirstAddress {
    /// The display name.
    pub name: Option<Vec<u8>>,
    /// The local part, or the name of a group.
    pub mailbox: Option<Vec<u8>>,
    /// The domain; none for a group.
    pub host: Option<Vec<u8>>,
}

/// Reads an envelope that [`super::envelope`] wrote. What is malformed gives what came before it.
pub fn envelope_fields(stored: &[u8]) -> EnvelopeFields {
    let mut fields = EnvelopeFields::default();
    // No error is of use to anybody: an envelope that is broken sorts as an empty one.
    let _ = Reader(stored).envelope(&mut fields);
    fields
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn envelope(&mut self, fields: &mut EnvelopeFields) -> Option<()> {
        self.octet(b'(')?;
        fields.date = self.string()?;
        self.octet(b' ')?;
        fields.subject = self.string()?;
        for list in ["from", "sender", "reply-to", "to", "cc"] {
            self.octet(b' ')?;
            let first = self.addresses()?;
            match list {
                "from" => fields.from = first,
                "to" => fields.to = first,
                "cc" => fields.cc = first,
                _ => {}
            }
        }
        Some(())
    }

    fn octet(&mut self, octet: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[octet])?;
        Some(())
    }

    /// The list is read to its end; the inner `None` is an empty one.
    fn addresses(&mut self) -> Option<Option<FirstAddress>> {
        if let Some(rest) = self.0.strip_prefix(b"NIL") {
            self.0 = rest;
            return Some(None);
        }
        self.octet(b'(')?;
        let mut first = None;
        while self.octet(b'(').is_some() {
            let name = self.string()?;
            self.octet(b' ')?;
            self.string()?;
            self.octet(b' ')?;
            let mailbox = self.string()?;
            self.octet(b' ')?;
            let host = self.string()?;
            self.octet(b')')?;
            first.get_or_insert(FirstAddress { name, mailbox, host });
        }
        self.octet(b')')?;
        Some(first)
    }

    /// `nstring`; the inner `None` is NIL.
    fn string(&mut self) -> Option<Option<Vec<u8>>> {
        if let Some(rest) = self.0.strip_prefix(b"NIL") {
            self.0 = rest;
            return Some(None);
        }
        match self.0.first()? {
            b'"' => self.quoted().map(Some),
            b'{' => self.literal().map(Some),
            _ => None,
        }
    }

    fn quoted(&mut self) -> Option<Vec<u8>> {
        let mut value = Vec::new();
        let mut at = 1;
        loop {
            match self.0.get(at)? {
                b'"' => break,
                b'\\' => {
                    value.push(*self.0.get(at + 1)?);
                    at += 2;
                }
                octet => {
                    value.push(*octet);
                    at += 1;
                }
            }
        }
        self.0 = &self.0[at + 1..];
        Some(value)
    }

    fn literal(&mut self) -> Option<Vec<u8>> {
        let end = self.0.iter().position(|octet| *octet == b'}')?;
        let length: usize = std::str::from_utf8(&self.0[1..end]).ok()?.parse().ok()?;
        let rest = self.0[end + 1..].strip_prefix(b"\r\n")?;
        let value = rest.get(..length)?.to_vec();
        self.0 = &rest[length..];
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structure::envelope;
    use proptest::prelude::*;

    fn first(name: Option<&str>, mailbox: &str, host: Option<&str>) -> Option<FirstAddress> {
        let octets = |text: &str| text.as_bytes().to_vec();
        Some(FirstAddress {
            name: name.map(octets),
            mailbox: Some(octets(mailbox)),
            host: host.map(octets),
        })
    }

    #[test]
    fn what_was_written_is_read() {
        let message = "Date: Mon, 7 Feb 1994 21:52:25 -0800\r\nSubject: a \"quoted\" \\ one\r\n\
            From: \"B, C\" <b@c.example>, d@e.example\r\nTo: Team: x@y.example, z@y.example;\r\nCc: k\u{e4}se@f.example\r\n\r\n";
        let fields = envelope_fields(&envelope(message.as_bytes()));
        assert_eq!(fields.date.as_deref(), Some(&b"Mon, 7 Feb 1994 21:52:25 -0800"[..]));
        assert_eq!(fields.subject.as_deref(), Some(&b"a \"quoted\" \\ one"[..]));
        assert_eq!(fields.from, first(Some("B, C"), "b", Some("c.example")));
        assert_eq!(fields.to, first(None, "Team", None));
        assert_eq!(fields.cc, first(None, "k\u{e4}se", Some("f.example")));
        assert_eq!(envelope_fields(&envelope(b"\r\n")), EnvelopeFields::default());
    }

    proptest! {
        #[test]
        fn reading_is_total(octets in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..300) {
            envelope_fields(&octets);
            let mut message = b"Subject: ".to_vec();
            message.extend(&octets);
            let stored = envelope(&message);
            envelope_fields(&stored[..cut.min(stored.len())]);
        }
    }
}
