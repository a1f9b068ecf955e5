//! A mailbox of hostile messages: envelopes read back, base subjects, threads, previews.
#![no_main]

use letterlock_imap_wire::mime::Tree;
use letterlock_imap_wire::mime::header::find;
use letterlock_imap_wire::order::{
    ThreadMessage, base_subject, by_references, by_subject, message_ids,
};
use letterlock_imap_wire::structure::{envelope, envelope_fields};
use letterlock_imap_wire::text::{fold, header_value, preview};
use libfuzzer_sys::fuzz_target;

fn message(number: usize, octets: &[u8]) -> ThreadMessage {
    let subject = find(octets, "Subject").map(header_value).unwrap_or_default();
    let mut base = base_subject(&subject);
    assert_eq!(base_subject(&base.text).text, base.text);
    base.text = fold(&base.text);
    ThreadMessage {
        number: number as u32 + 1,
        sent: octets.len() as i64,
        subject: base,
        id: find(octets, "Message-ID").and_then(|id| message_ids(id).into_iter().next()),
        references: find(octets, "References").map(message_ids).unwrap_or_default(),
    }
}

fuzz_target!(|data: &[u8]| {
    let pieces: Vec<&[u8]> = data.split(|octet| *octet == 0).take(200).collect();
    for piece in &pieces {
        let stored = envelope(piece);
        let fields = envelope_fields(&stored);
        // Nothing is read that was not there.
        assert!(fields.subject.is_none() || find(piece, "Subject").is_some());
        assert!(fields.from.is_none() || find(piece, "From").is_some());
        envelope_fields(piece);
        let text = preview(&Tree::parse(piece));
        assert!(text.chars().count() <= 200 && !text.contains(['\r', '\n']));
    }
    let messages: Vec<ThreadMessage> =
        pieces.iter().enumerate().map(|(number, piece)| message(number, piece)).collect();
    for threads in [by_references(&messages), by_subject(&messages)] {
        let mut out = Vec::new();
        threads.write(&mut out);
        let mut numbers: Vec<u32> = String::from_utf8(out)
            .expect("digits and parentheses")
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(1..=messages.len() as u32));
    }
});
