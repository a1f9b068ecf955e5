//! The TXT record at `_mta-sts.<domain>` (RFC 8461 §3.1).

/// A record: it says only that there is a policy, and by its id, that the policy changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// 1 to 32 letters and digits.
    pub id: String,
}

impl Record {
    /// Reads a record; `None` for what is none.
    pub fn parse(text: &str) -> Option<Self> {
        // The version stands at the very beginning (RFC 8461 §3.1).
        let (version, fields) = text.split_once(';')?;
        if version.trim_end_matches([' ', '\t']) != "v=STSv1" {
            return None;
        }
        let mut id = None;
        let mut fields = fields.split(';').map(trim).peekable();
        while let Some(field) = fields.next() {
            // Only the end of the record may be empty.
            if field.is_empty() && fields.peek().is_none() {
                break;
            }
            let (name, value) = field.split_once('=')?;
            if !is_name(name) || !is_value(value) {
                return None;
            }
            if name == "id" && id.is_none() {
                let fits = (1..=32).contains(&value.len())
                    && value.bytes().all(|octet| octet.is_ascii_alphanumeric());
                id = Some(fits.then(|| value.to_owned())?);
            }
        }
        Some(Self { id: id? })
    }
}

/// The record among the texts at a name. If not exactly one begins as it should, there is no policy.
pub fn find<T: AsRef<str>>(texts: &[T]) -> Option<Record> {
    let mut candidates = texts.iter().map(AsRef::as_ref).filter(|text| {
        text.strip_prefix("v=STSv1")
            .is_some_and(|rest| trim(rest).starts_with(';') || trim(rest).is_empty())
    });
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => Record::parse(only),
        _ => None,
    }
}

/// Without white space around it.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// `sts-ext-name`.
fn is_name(name: &str) -> bool {
    let inner = |octet: u8| octet.is_ascii_alphanumeric() || b"_-.".contains(&octet);
    (1..=32).contains(&name.len())
        && name.bytes().all(inner)
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
}

/// `sts-ext-value`.
fn is_value(value: &str) -> bool {
    !value.is_empty()
        && value.bytes().all(|octet| matches!(octet, 0x21..=0x3a | 0x3c | 0x3e..=0x7e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(text: &str) -> Option<String> {
        Record::parse(text).map(|record| record.id)
    }

    #[test]
    fn records() {
        for good in [
            "v=STSv1; id=20160831085700Z;",
            "v=STSv1;id=20160831085700Z",
            "v=STSv1 ;\tid=20160831085700Z ; ",
            "v=STSv1; ext-1=a/b; id=20160831085700Z; id=other",
        ] {
            assert_eq!(id(good).as_deref(), Some("20160831085700Z"), "{good}");
        }
        let long = format!("v=STSv1; id={}", "x".repeat(33));
        for bad in [
            "",
            "v=STSv1",
            "v=STSv1;",
            "id=1; v=STSv1",
            " v=STSv1; id=1",
            "v=STSv2; id=1",
            "v=stsv1; id=1",
            "v=STSv1; id=",
            "v=STSv1; id=a-b",
            "v=STSv1; id=1;; x=y",
            "v=STSv1 id=1",
            "v=STSv1; id=1; =x",
            "v=STSv1; id=1; x=ä",
            "v=STSv1; ID=1",
            &long,
        ] {
            assert_eq!(id(bad), None, "{bad}");
        }
    }

    #[test]
    fn one_record_among_others() {
        let one = Some(Record { id: "1".into() });
        assert_eq!(find(&["v=spf1 -all", "v=STSv1; id=1"]), one);
        assert_eq!(find(&["v=STSv1; id=1", "v=STSv1; id=1"]), None);
        assert_eq!(find(&["v=STSv1; id=1", "v=STSv10; id=2"]), one);
        assert_eq!(find::<&str>(&[]), None);
    }

    proptest! {
        #[test]
        fn what_is_read_is_an_id(text in ".{0,80}") {
            if let Some(record) = Record::parse(&text) {
                prop_assert!(text.contains(&record.id) && record.id.len() <= 32 && !record.id.is_empty());
            }
        }

        #[test]
        fn every_id_is_read(wanted in "[a-zA-Z0-9]{1,32}", space in "[ \t]{0,3}", end in "(;[ \t]?)?") {
            let text = format!("v=STSv1{space};{space}id={wanted}{space}{end}");
            prop_assert_eq!(id(&text), Some(wanted));
        }
    }
}
