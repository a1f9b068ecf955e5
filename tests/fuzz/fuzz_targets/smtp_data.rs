//! Message data: DATA and BDAT in any division, and dot-stuffing undone.
#![no_main]

use letterlock_smtp_wire::data::{
    BdatReader, DataReader, DataState, LineRule, Summary, dot_stuff, has_bare_newline,
};
use libfuzzer_sys::fuzz_target;

/// The message, what is known about it, and where the data ended.
fn read(data: &[u8], step: usize) -> (Vec<u8>, Summary, Option<usize>) {
    let mut reader = DataReader::new(4_096);
    let mut out = Vec::new();
    let mut total = 0;
    for chunk in data.chunks(step) {
        let progress = reader.feed(chunk, &mut out);
        total += progress.consumed;
        if progress.state == DataState::Done {
            return (out, reader.summary(), Some(total));
        }
    }
    (out, reader.summary(), None)
}

fuzz_target!(|data: &[u8]| {
    let step = data.first().map_or(1, |first| usize::from(first % 16) + 1);
    let (whole, summary, end) = read(data, data.len().max(1));
    let (parts, divided, divided_end) = read(data, step);
    assert_eq!(end, divided_end);
    if let Some(end) = end {
        assert!(data[..end].ends_with(b".\r\n"));
        assert_eq!(summary.fault, divided.fault);
        if summary.fault.is_none() {
            assert_eq!(whole, parts);
            assert_eq!(summary, divided);
            assert!(!has_bare_newline(&whole));
        }
    }

    let mut bdat = BdatReader::new(u64::MAX, LineRule::Crlf);
    let mut out = Vec::new();
    for chunk in data.chunks(step) {
        bdat.chunk(chunk.len() as u64, false);
        assert_eq!(bdat.feed(chunk, &mut out).state, DataState::Done);
    }
    bdat.chunk(0, true);
    assert_eq!(bdat.summary().fault.is_some(), has_bare_newline(data));

    if !has_bare_newline(data) && data.len() < 4_000 {
        let mut wire = Vec::new();
        dot_stuff(data, &mut wire);
        let (message, summary, end) = read(&wire, step);
        assert_eq!((summary.fault, end), (None, Some(wire.len())));
        let mut expected = data.to_vec();
        if !expected.is_empty() && !expected.ends_with(b"\r\n") {
            expected.extend_from_slice(b"\r\n");
        }
        assert_eq!(message, expected);
    }
});
