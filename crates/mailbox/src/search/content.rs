//! What a search sees of a message: decoded and folded, computed when first asked for.

use std::cell::OnceCell;

use bytes::Bytes;
use jiff::civil::Date;
use letterlock_imap_wire::date::parse_message_date;
use letterlock_imap_wire::mime::header::find;
use letterlock_imap_wire::mime::{Tree, header::header_length};
use letterlock_imap_wire::text::{fold, header_text, header_values, inner_headers, text_parts};

/// A message that was read, or only its header.
#[derive(Debug)]
pub(super) struct Content {
    header: Bytes,
    whole: Option<Bytes>,
    folded_header: OnceCell<String>,
    folded_body: OnceCell<Vec<String>>,
}

impl Content {
    /// The header block alone.
    pub(super) fn header(header: Bytes) -> Self {
        Self { header, whole: None, folded_header: OnceCell::new(), folded_body: OnceCell::new() }
    }

    /// A whole message.
    pub(super) fn whole(message: Bytes) -> Self {
        let header = message.slice(..header_length(&message));
        Self { whole: Some(message), ..Self::header(header) }
    }

    /// The day of the Date field, in its own zone.
    pub(super) fn sent(&self) -> Option<Date> {
        find(&self.header, "Date")
            .and_then(parse_message_date)
            .map(letterlock_imap_wire::InternalDate::date)
    }

    /// Whether a field of that name has the (folded) text in its value; an empty text asks for the field alone.
    pub(super) fn header_has(&self, name: &str, part: &str) -> bool {
        header_values(&self.header, name)
            .iter()
            .any(|value| part.is_empty() || fold(value).contains(part))
    }

    /// Whether the (folded) text is in the body: the text parts, and headers of messages within. None if the
    /// body was not read.
    pub(super) fn body_has(&self, part: &str) -> Option<bool> {
        let message = self.whole.as_ref()?;
        let texts = self.folded_body.get_or_init(|| {
            let tree = Tree::parse(message);
            let parts = text_parts(&tree).map(|part| fold(&part.text));
            parts.chain(inner_headers(&tree).map(|header| fold(&header))).collect()
        });
        Some(part.is_empty() || texts.iter().any(|text| text.contains(part)))
    }

    /// Whether the (folded) text is in header or body. None if the body was not read and the header has it not.
    pub(super) fn text_has(&self, part: &str) -> Option<bool> {
        let header = self.folded_header.get_or_init(|| fold(&header_text(&self.header)));
        if header.contains(part) { Some(true) } else { self.body_has(part) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] =
        b"From: =?utf-8?q?J=C3=B6rg?= <j@example.org>\r\nSubject: Stra\xc3\x9fe\r\n\
        Date: Mon, 1 Jan 2024 01:00:00 +0300\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\
        Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe aus K=F6ln\r\n";

    #[test]
    fn decoded_and_folded() {
        let whole = Content::whole(Bytes::from_static(MESSAGE));
        assert!(whole.header_has("from", &fold("J\u{d6}RG")));
        assert!(whole.header_has("subject", &fold("STRASSE")));
        assert!(whole.header_has("Date", "") && !whole.header_has("Cc", ""));
        assert_eq!(whole.body_has(&fold("gr\u{fc}sse AUS")), Some(true));
        assert_eq!(whole.body_has(&fold("j\u{f6}rg")), Some(false));
        assert_eq!(whole.text_has(&fold("j\u{f6}rg")), Some(true));
        assert_eq!(whole.text_has("k\u{f6}lle"), Some(false));
        // The day as it is written, not as it is in UTC.
        assert_eq!(whole.sent(), Some(jiff::civil::date(2024, 1, 1)));
    }

    #[test]
    fn a_header_alone_leaves_the_body_open() {
        let header = Content::header(Bytes::from_static(&MESSAGE[..60]));
        assert_eq!(header.text_has("example.org"), Some(true));
        assert_eq!(header.text_has("aus"), None);
        assert_eq!(header.body_has("aus"), None);
    }
}
