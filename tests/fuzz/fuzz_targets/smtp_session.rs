//! Whole SMTP sessions: a client's octets, in any division, into the framing and the session machine.
#![no_main]

#[path = "../../../crates/smtp/tests/replay/play.rs"]
mod play;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&first, octets)) = data.split_first() else { return };
    let submission = first & 1 == 1;
    let whole = play::play(submission, &[octets]);
    play::check(&whole);
    let pieces: Vec<&[u8]> = octets.chunks(usize::from(first / 2) + 1).collect();
    assert_eq!(play::play(submission, &pieces), whole);
});
