//! Message ids out of Message-ID, In-Reply-To and References.

use crate::mime::header::unfold;

/// Of a longer list the newest count: those name the parents.
const MOST: usize = 100;

/// The ids between angle brackets, in the order of the field; white space inside is left out, as some mailers fold there.
pub fn message_ids(raw: &[u8]) -> Vec<Vec<u8>> {
    let line = unfold(raw);
    let mut ids: Vec<Vec<u8>> = Vec::new();
    let mut rest: &[u8] = &line;
    while let Some(start) = memchr::memchr(b'<', rest) {
        rest = &rest[start + 1..];
        let Some(end) = memchr::memchr2(b'>', b'<', rest) else { break };
        // Another opening bracket: what came before it is no id.
        if rest[end] == b'>' {
            let id: Vec<u8> =
                rest[..end].iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
            if !id.is_empty() {
                ids.push(id);
            }
        }
        rest = &rest[end..];
    }
    ids.split_off(ids.len().saturating_sub(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_field() {
        let ids = |raw: &str| {
            let ids = message_ids(raw.as_bytes());
            ids.into_iter().map(|id| String::from_utf8(id).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(ids(" <a@b>\r\n\t<c@d> (comment) <e@ f>"), ["a@b", "c@d", "e@f"]);
        assert_eq!(ids("Your mail of Tuesday <x@y>"), ["x@y"]);
        assert_eq!(ids("<<a@b>> <> <open"), ["a@b"]);
        assert!(ids("nothing").is_empty());
        assert_eq!(message_ids(&b"<a>".repeat(500)).len(), MOST);
        assert_eq!(message_ids(&b"<".repeat(100_000)).len(), 0);
    }
}
