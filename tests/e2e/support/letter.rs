//! A stranger and what he writes.

/// Who writes to the accounts. Nobody knows the domain, so that no policy applies.
pub(crate) const BOB: &str = "bob@elsewhere.test";

/// A small message of Bob's.
pub(crate) fn message(subject: &str) -> Vec<u8> {
    format!(
        "From: Bob <{BOB}>\r\nTo: you\r\nSubject: {subject}\r\nMessage-ID: <{subject}@elsewhere.test>\r\n\
         Date: Fri, 20 Nov 2026 10:00:00 +0000\r\n\r\nThe text of {subject}.\r\n"
    )
    .into_bytes()
}
