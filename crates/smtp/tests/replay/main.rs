//! Whole sessions from octets: whatever comes, and however it is cut, the server keeps to its rules.

mod play;

use play::{check, play};
use proptest::prelude::*;

/// Pieces of what clients say, good and bad.
fn words() -> impl Strategy<Value = Vec<u8>> {
    let known: &[&[u8]] = &[
        b"EHLO c.test\r\n",
        b"HELO c.test\r\n",
        b"MAIL FROM:<a@b.test>\r\n",
        b"MAIL FROM:<> BODY=BINARYMIME\r\n",
        b"MAIL FROM:<a@b.test> HOLDFOR=5 RET=FULL\r\n",
        b"RCPT TO:<ann@a.test>\r\n",
        b"RCPT TO:<postmaster> NOTIFY=NEVER\r\n",
        b"DATA\r\n",
        b"Subject: x\r\n\r\n.\r\n",
        b"..\r\n",
        b"\r\n.\r\n",
        b"\n.\n",
        b"\r.\r",
        b"BDAT 3\r\n",
        b"BDAT 0 LAST\r\n",
        b"BDAT 4 LAST\r\n",
        b"a\r\n",
        b"a\nb\0",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"QUIT\r\n",
        b"STARTTLS\r\n",
        b"AUTH PLAIN AGEAcmlnaHQ=\r\n",
        b"AUTH LOGIN\r\n",
        b"AUTH SCRAM-SHA-256 bixhLHI=\r\n",
        b"*\r\n",
        b"\r\n",
    ];
    prop_oneof![
        9 => proptest::sample::select(known.to_vec()).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..300),
    ]
}

proptest! {
    #[test]
    fn any_session_keeps_the_rules_however_it_is_cut(
        words in proptest::collection::vec(words(), 0..24),
        submission in any::<bool>(),
        step in 1_usize..40,
    ) {
        let octets = words.concat();
        let whole = play(submission, &[&octets]);
        check(&whole);
        let pieces: Vec<&[u8]> = octets.chunks(step).collect();
        prop_assert_eq!(play(submission, &pieces), whole);
    }

    #[test]
    fn nothing_is_answered_before_it_is_whole(
        words in proptest::collection::vec(words(), 0..12),
        cut in 0_usize..200,
    ) {
        let octets = words.concat();
        let cut = cut.min(octets.len());
        let (begun, whole) = (play(false, &[&octets[..cut]]), play(false, &[&octets]));
        prop_assert!(whole.said.starts_with(&begun.said));
        prop_assert!(whole.accepted.starts_with(&begun.accepted));
    }
}

#[test]
fn messages_do_get_through() {
    let outcome = play(
        false,
        &[b"EHLO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<ann@a.test>\r\nBDAT 2\r\na\rBDAT 1 LAST\r\n\n"],
    );
    assert_eq!(outcome.accepted.len(), 1, "{}", String::from_utf8_lossy(&outcome.said));
    assert_eq!(outcome.accepted[0].1, b"a\r\n");
}
