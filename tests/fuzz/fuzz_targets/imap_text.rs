//! Text of headers and bodies: encoded-words, parameters and character sets decode to something, whatever they are, and
//! folding for comparison is stable.
#![no_main]

use letterlock_imap_wire::mime::value::{MediaType, Value};
use letterlock_imap_wire::order::{base_subject, message_ids};
use letterlock_imap_wire::structure::{envelope, envelope_fields};
use letterlock_imap_wire::text::{decode_charset, decode_words, fold, header_value};
use libfuzzer_sys::fuzz_target;

const CHARSETS: [&str; 12] = [
    "", "us-ascii", "utf-8*en", "utf-7", "utf-16", "iso-2022-jp", "shift_jis", "gb18030", "big5",
    "euc-kr", "windows-1252", "x-unknown",
];

fuzz_target!(|data: &[u8]| {
    let Some((first, octets)) = data.split_first() else { return };
    let charset = CHARSETS[usize::from(*first) % CHARSETS.len()];
    for text in [
        decode_charset(charset.as_bytes(), octets).into_owned(),
        decode_words(octets),
        header_value(octets),
    ] {
        let folded = fold(&text);
        assert_eq!(fold(&folded), folded, "{text:?}");
        let base = base_subject(&text);
        assert!(base.text.len() <= text.len());
    }
    // One word of that character set, in both encodings.
    let q: String = octets.iter().take(60).map(|octet| format!("={octet:02X}")).collect();
    decode_words(format!("=?{charset}?Q?{q}?= =?{charset}?B?!!?=").as_bytes());
    let value = Value::parse(octets);
    value.parameters.iter().for_each(|(name, _)| assert!(!name.is_empty()));
    MediaType::parse(octets);
    message_ids(octets).iter().for_each(|id| assert!(!id.is_empty() && !id.contains(&b'<')));
    // As each field of an envelope; what is stored can be read back.
    for name in ["From", "Subject", "Date", "Message-ID", "In-Reply-To"] {
        let header = [name.as_bytes(), b": ", octets, b"\r\n\r\n"].concat();
        envelope_fields(&envelope(&header));
    }
});
