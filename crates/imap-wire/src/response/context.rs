//! ESEARCH responses that tell how the result of an earlier search changed (RFC 5267 §4.3).

use super::{mailbox, put, string};
use crate::mailbox_name::NameForm;
use crate::sequence::NumberSet;

/// Which search a response is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Correlator<'a> {
    /// The tag of its command.
    pub tag: &'a str,
    /// For ESEARCH commands: the mailbox and its UIDVALIDITY (RFC 7377 §2.1).
    pub mailbox: Option<(&'a str, NameForm, u32)>,
    /// The numbers are UIDs.
    pub uid: bool,
}

/// What became of messages of the result: each with the place where it is put, or from where it is taken; places count
/// from 1, and 0 is wherever the order of the mailbox has it. A client takes one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextChange {
    /// ADDTO; at least one.
    Added(Vec<(u32, NumberSet)>),
    /// REMOVEFROM; at least one.
    Removed(Vec<(u32, NumberSet)>),
}

/// `* ESEARCH (TAG "B01") UID ADDTO (0 32768:32769)`
pub fn context(out: &mut Vec<u8>, correlator: Correlator<'_>, change: &ContextChange) {
    out.extend_from_slice(b"* ESEARCH (TAG ");
    string(out, correlator.tag.as_bytes());
    if let Some((name, form, uid_validity)) = correlator.mailbox {
        out.extend_from_slice(b" MAILBOX ");
        mailbox(out, name, form);
        put(out, format_args!(" UIDVALIDITY {uid_validity}"));
    }
    out.extend_from_slice(if correlator.uid { b") UID " } else { b") " });
    let (word, pairs) = match change {
        ContextChange::Added(pairs) => ("ADDTO", pairs),
        ContextChange::Removed(pairs) => ("REMOVEFROM", pairs),
    };
    for (index, (place, messages)) in pairs.iter().enumerate() {
        match index {
            0 => put(out, format_args!("{word} ({place} {messages}")),
            _ => put(out, format_args!(" {place} {messages}")),
        }
    }
    out.extend_from_slice(b")\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Scanner;
    use crate::sequence;
    use proptest::prelude::*;

    fn written(correlator: Correlator<'_>, change: &ContextChange) -> String {
        let mut out = Vec::new();
        context(&mut out, correlator, change);
        String::from_utf8(out).unwrap()
    }

    fn set(numbers: &[u32]) -> NumberSet {
        numbers.iter().copied().collect()
    }

    #[test]
    fn the_responses_of_the_rfc() {
        let search = Correlator { tag: "B01", mailbox: None, uid: true };
        assert_eq!(
            written(search, &ContextChange::Added(vec![(0, set(&[32768, 32769]))])),
            "* ESEARCH (TAG \"B01\") UID ADDTO (0 32768:32769)\r\n"
        );
        let pairs = vec![(1, set(&[2733])), (1, set(&[2732])), (1, set(&[2731]))];
        let numbers = Correlator { uid: false, ..search };
        assert_eq!(
            written(numbers, &ContextChange::Removed(pairs)),
            "* ESEARCH (TAG \"B01\") REMOVEFROM (1 2733 1 2732 1 2731)\r\n"
        );
        let several = Correlator { mailbox: Some(("a b", NameForm::Utf8, 7)), ..search };
        assert_eq!(
            written(several, &ContextChange::Removed(vec![(0, set(&[9]))])),
            "* ESEARCH (TAG \"B01\" MAILBOX \"a b\" UIDVALIDITY 7) UID REMOVEFROM (0 9)\r\n"
        );
    }

    /// What a client reads.
    fn read(line: &str) -> Option<(bool, ContextChange)> {
        let rest = line.strip_prefix("* ESEARCH (TAG \"t\") ")?.strip_suffix("\r\n")?;
        let (uid, rest) = rest.strip_prefix("UID ").map_or((false, rest), |rest| (true, rest));
        let mut scanner = Scanner::new(rest.as_bytes(), 2);
        let word = scanner.keyword().ok()?;
        scanner.space().ok()?;
        let pairs = scanner.list(|scanner| {
            let place = scanner.number()?;
            scanner.space()?;
            let set = sequence::scan(scanner)?;
            Ok((place, set.resolve(0).unwrap_or_default()))
        });
        scanner.finish().ok()?;
        Some((
            uid,
            match word.as_str() {
                "ADDTO" => ContextChange::Added(pairs.ok()?),
                _ => ContextChange::Removed(pairs.ok()?),
            },
        ))
    }

    proptest! {
        #[test]
        fn changes_round_trip(
            uid: bool,
            added: bool,
            pairs in proptest::collection::vec((0u32..9, proptest::collection::vec(1u32..50, 1..6)), 1..6),
        ) {
            let pairs: Vec<_> = pairs.into_iter().map(|(at, numbers)| (at, set(&numbers))).collect();
            let change = if added { ContextChange::Added(pairs) } else { ContextChange::Removed(pairs) };
            let line = written(Correlator { tag: "t", mailbox: None, uid }, &change);
            prop_assert_eq!(read(&line), Some((uid, change)));
        }
    }
}
