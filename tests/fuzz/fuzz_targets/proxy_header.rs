//! The header of the PROXY protocol, in both versions.
#![no_main]

use letterlock_net::proxy::{HeaderReader, ProxyProgress};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (mut reader, mut rest, mut needs) = (HeaderReader::new(), data, HeaderReader::FIRST);
    let mut read = 0;
    while let Some((now, behind)) = rest.split_at_checked(needs) {
        (rest, read) = (behind, read + now.len());
        match reader.feed(now) {
            Ok(ProxyProgress::Needs(more)) => {
                assert!(more > 0);
                needs = more;
            }
            Ok(ProxyProgress::Done(_)) => {
                // A header ends with itself: the same without what follows is the same header.
                let mut again = HeaderReader::new();
                assert!(matches!(again.feed(&data[..read]), Ok(ProxyProgress::Done(_))));
                return;
            }
            Err(_) => return,
        }
    }
});
