//! Character sets of mail to Unicode.

use encoding_rs::Encoding;
use std::borrow::Cow;

/// Octets as text. Unknown character sets, and `us-ascii` with 8-bit octets, are read as UTF-8 if they are that, and
/// as windows-1252 otherwise; what is malformed becomes U+FFFD. A language suffix (`utf-8*en`, RFC 2231) is ignored.
pub fn decode_charset<'a>(label: &[u8], octets: &'a [u8]) -> Cow<'a, str> {
    let label = label.split(|octet| *octet == b'*').next().unwrap_or_default().trim_ascii();
    let unsure = label.is_empty()
        || label.eq_ignore_ascii_case(b"us-ascii")
        || label.eq_ignore_ascii_case(b"ascii");
    if !unsure {
        if let Some(encoding) = Encoding::for_label_no_replacement(label) {
            return encoding.decode_without_bom_handling(octets).0;
        }
        // The WHATWG set lacks a few that mail uses, UTF-7 among them.
        if let Some(decode) = mail_parser::decoders::charsets::map::charset_decoder(label) {
            return Cow::Owned(decode(octets));
        }
    }
    match std::str::from_utf8(octets) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => encoding_rs::WINDOWS_1252.decode_without_bom_handling(octets).0,
    }
}
