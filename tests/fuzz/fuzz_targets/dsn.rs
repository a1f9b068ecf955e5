//! What strangers write as a report about a delivery.
#![no_main]

use letterlock_smtp_wire::dsn::{self, MOST_OCTETS, MOST_RECIPIENTS};
use letterlock_smtp_wire::header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(report) = dsn::parse(data) else { return };
    assert!(report.recipients.len() <= MOST_RECIPIENTS && report.original.len() <= MOST_OCTETS);
    assert_eq!(
        header::section_length(&report.original),
        report.original.len(),
        "a header and no body"
    );
    for told in &report.recipients {
        assert!(matches!(told.status.class, 2 | 4 | 5));
        let named = [&told.final_recipient, &told.original_recipient, &told.actual_recipient];
        for address in named.into_iter().flatten() {
            let text = address.to_string();
            assert!(!text.contains(['\r', '\n', '\0']), "{text:?}");
            assert_eq!(text.parse().as_ref(), Ok(address));
        }
    }
});
