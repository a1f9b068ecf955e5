//! SELECT and EXAMINE with the parameters of RFC 7162.

use super::scan_mailbox;
use crate::mailbox_name::MailboxName;
use crate::scan::{Scanned, Scanner, syntax};
use crate::sequence::{SequenceSet, scan_closed};

/// SELECT or EXAMINE.
#[derive(Debug, Clone, PartialEq)]
pub struct SelectCommand {
    /// The mailbox.
    pub mailbox: MailboxName,
    /// `CONDSTORE` was given (RFC 7162 §3.1.8).
    pub condstore: bool,
    /// `QRESYNC (…)` was given (RFC 7162 §3.2.5).
    pub qresync: Option<QresyncParameter>,
}

/// What a client remembers of a mailbox.
#[derive(Debug, Clone, PartialEq)]
pub struct QresyncParameter {
    /// The UIDVALIDITY it knows.
    pub uid_validity: u32,
    /// The mod-sequence up to which it knows everything; not zero.
    pub modseq: u64,
    /// The UIDs it knows; all if absent. Without `*`.
    pub known_uids: Option<SequenceSet>,
    /// Sample pairs of sequence numbers and their UIDs, both sets without `*`.
    pub sequence_match: Option<(SequenceSet, SequenceSet)>,
}

pub(super) fn scan(scanner: &mut Scanner<'_>) -> Scanned<SelectCommand> {
    let mut command =
        SelectCommand { mailbox: scan_mailbox(scanner)?, condstore: false, qresync: None };
    if scanner.eat(b' ') {
        scanner.list(|scanner| {
            match scanner.keyword()?.as_str() {
                "CONDSTORE" => command.condstore = true,
                "QRESYNC" => {
                    scanner.space()?;
                    command.qresync = Some(scan_qresync(scanner)?);
                }
                _ => return syntax("unknown parameter of SELECT"),
            }
            Ok(())
        })?;
    }
    Ok(command)
}

fn scan_qresync(scanner: &mut Scanner<'_>) -> Scanned<QresyncParameter> {
    scanner.expect(b'(', "QRESYNC needs a list")?;
    let uid_validity = scanner.nz_number()?;
    scanner.space()?;
    let modseq = scanner.number64()?;
    if modseq == 0 {
        return syntax("zero is no mod-sequence");
    }
    let mut parameter =
        QresyncParameter { uid_validity, modseq, known_uids: None, sequence_match: None };
    let mut more = scanner.eat(b' ');
    if more && scanner.peek() != Some(b'(') {
        parameter.known_uids = Some(scan_closed(scanner)?);
        more = scanner.eat(b' ');
    }
    if more {
        scanner.expect(b'(', "the sequence match data is malformed")?;
        let numbers = scan_closed(scanner)?;
        scanner.space()?;
        parameter.sequence_match = Some((numbers, scan_closed(scanner)?));
        scanner.expect(b')', "the sequence match data is malformed")?;
    }
    scanner.expect(b')', "QRESYNC's list does not end")?;
    Ok(parameter)
}
