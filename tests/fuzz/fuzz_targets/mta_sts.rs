//! What strangers publish about their transport: the MTA-STS record and policy.
#![no_main]

use letterlock_transport_policy::sts::{Mode, Policy, Record, find};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(record) = Record::parse(text)
    {
        assert!((1..=32).contains(&record.id.len()));
        assert!(record.id.bytes().all(|octet| octet.is_ascii_alphanumeric()));
        assert_eq!(Record::parse(&format!("v=STSv1; id={}", record.id)), Some(record.clone()));
        assert_eq!(find(&["v=spf1 -all", text]), Some(record));
        assert_eq!(find(&[text, text]), None);
    }
    if let Ok(policy) = Policy::parse(data) {
        assert!(policy.mode == Mode::None || !policy.mx.is_empty());
        assert_eq!(Policy::parse(policy.to_string().as_bytes()).as_ref(), Ok(&policy));
        for name in &policy.mx {
            let host = name.replacen('*', "x", 1);
            assert!(policy.names(&host), "{name} does not name {host}");
        }
        assert!(!policy.names(""));
    }
});
