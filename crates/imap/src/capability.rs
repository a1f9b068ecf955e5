//! What is advertised, by state. Each name stands here only if all of it works; what is switched off, for all in the
//! configuration or for one account, vanishes, and so does what needs it.

use std::collections::BTreeSet;

use letterlock_login::sasl::Ground;

/// How a connection is protected, as far as passwords are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    /// Plain text: STARTTLS is offered, and logging in needs it.
    Plain,
    /// Plain text where the configuration allows passwords in the clear.
    PlainAllowed,
    /// TLS.
    Tls,
}

/// What holds in every state.
const ALWAYS: &[&str] = &["IMAP4rev1", "IMAP4rev2", "LITERAL+", "ID", "ENABLE", "LANGUAGE"];

/// What needs a login to be of use. Some of it is part of IMAP4rev2; clients of IMAP4rev1 look for the single names.
const AFTER_LOGIN: &[&str] = &[
    "IDLE",
    "NAMESPACE",
    "UIDPLUS",
    "MOVE",
    "UNSELECT",
    "CHILDREN",
    "SPECIAL-USE",
    "CREATE-SPECIAL-USE",
    "LIST-EXTENDED",
    "LIST-STATUS",
    "STATUS=SIZE",
    "ESEARCH",
    "SEARCHRES",
    "BINARY",
    "MULTIAPPEND",
    "WITHIN",
    "CONDSTORE",
    "QRESYNC",
    "SORT",
    "SORT=DISPLAY",
    "ESORT",
    "THREAD=ORDEREDSUBJECT",
    "THREAD=REFERENCES",
    "I18NLEVEL=1",
    "PARTIAL",
    "QUOTA",
    "QUOTA=RES-STORAGE",
    "QUOTA=RES-MESSAGE",
    "ACL",
    "RIGHTS=texk",
    "LIST-MYRIGHTS",
    "METADATA",
    "LIST-METADATA",
    "OBJECTID",
    "SAVEDATE",
    "PREVIEW",
    "UTF8=ACCEPT",
    "COMPRESS=DEFLATE",
    "APPENDLIMIT",
    "INPROGRESS",
    "REPLACE",
    "CATENATE",
    "SEARCH=FUZZY",
    "MULTISEARCH",
    "UIDONLY",
    "UNAUTHENTICATE",
    "NOTIFY",
    "CONTEXT=SEARCH",
    "CONTEXT=SORT",
];

/// What goes with another name that is switched off.
const NEEDS: &[(&str, &str)] = &[
    ("QRESYNC", "CONDSTORE"),
    ("SORT=DISPLAY", "SORT"),
    ("ESORT", "SORT"),
    ("SEARCHRES", "ESEARCH"),
    ("PARTIAL", "ESEARCH"),
    ("MULTISEARCH", "ESEARCH"),
    ("QUOTA=RES-STORAGE", "QUOTA"),
    ("QUOTA=RES-MESSAGE", "QUOTA"),
    ("RIGHTS=TEXK", "ACL"),
    ("LIST-MYRIGHTS", "ACL"),
    ("LIST-METADATA", "METADATA"),
    ("LIST-STATUS", "LIST-EXTENDED"),
    ("LIST-MYRIGHTS", "LIST-EXTENDED"),
    ("LIST-METADATA", "LIST-EXTENDED"),
    ("CREATE-SPECIAL-USE", "SPECIAL-USE"),
    ("UTF8=ACCEPT", "ENABLE"),
    ("QRESYNC", "ENABLE"),
    ("UIDONLY", "ENABLE"),
    // RFC 5267 §4.1, §4.4: PARTIAL is part of both, and CANCELUPDATE.
    ("CONTEXT=SEARCH", "ESEARCH"),
    ("CONTEXT=SEARCH", "PARTIAL"),
    ("CONTEXT=SORT", "ESORT"),
    ("CONTEXT=SORT", "CONTEXT=SEARCH"),
];

/// The resources that quotas are about.
const RESOURCES: &[&str] = &["QUOTA=RES-STORAGE", "QUOTA=RES-MESSAGE"];

/// What IMAP4rev2 contains (RFC 9051, Appendix E): without one of them it is not whole.
const OF_REV2: &[&str] = &[
    "NAMESPACE",
    "UNSELECT",
    "UIDPLUS",
    "ESEARCH",
    "SEARCHRES",
    "ENABLE",
    "IDLE",
    "SASL-IR",
    "LIST-EXTENDED",
    "LIST-STATUS",
    "MOVE",
    "SPECIAL-USE",
    "BINARY",
    "STATUS=SIZE",
    "CHILDREN",
];

/// What this server offers.
#[derive(Debug, Clone)]
pub(crate) struct Capabilities {
    /// In upper case.
    off: BTreeSet<String>,
    message_size: u64,
}

impl Capabilities {
    /// All but those that are switched off, with the largest message that APPEND takes.
    pub(crate) fn new(disabled: &[String], message_size: u64) -> Self {
        Self { off: BTreeSet::new(), message_size }.without(disabled)
    }

    /// What is left of these when more is switched off.
    pub(crate) fn without(&self, disabled: &[String]) -> Self {
        let Self { mut off, message_size } = self.clone();
        off.extend(disabled.iter().map(|name| name.to_ascii_uppercase()));
        // Twice, since what is needed may itself need something.
        for _ in 0..2 {
            let lost = NEEDS.iter().filter(|(_, needed)| off.contains(*needed));
            let lost: Vec<String> = lost.map(|(name, _)| (*name).to_owned()).collect();
            off.extend(lost);
            // RFC 9208 §3.1: QUOTA comes with at least one resource.
            if RESOURCES.iter().all(|name| off.contains(*name)) {
                off.insert("QUOTA".to_owned());
            }
        }
        if OF_REV2.iter().any(|name| off.contains(*name)) {
            off.insert("IMAP4REV2".to_owned());
        }
        Self { off, message_size }
    }

    /// Whether the capability is offered; the name in upper case, without a value.
    pub(crate) fn offers(&self, name: &str) -> bool {
        !self.off.contains(name)
    }

    fn offered(&self, names: &'static [&'static str]) -> impl Iterator<Item = String> {
        names.iter().filter(|name| self.offers(&name.to_ascii_uppercase())).map(
            |name| match *name {
                // RFC 7889 §2: the same for all mailboxes.
                "APPENDLIMIT" => format!("APPENDLIMIT={}", self.message_size),
                name => name.to_owned(),
            },
        )
    }

    /// The capabilities before login, with the mechanisms that this ground offers.
    pub(crate) fn before_login(&self, security: Security, ground: &Ground) -> Vec<String> {
        let mut names: Vec<String> = self.offered(ALWAYS).collect();
        if self.offers("SASL-IR") {
            names.push("SASL-IR".to_owned());
        }
        if security != Security::Tls {
            names.push("STARTTLS".to_owned());
        }
        if security == Security::Plain {
            names.push("LOGINDISABLED".to_owned());
        } else {
            names.extend(ground.offers().map(|mechanism| format!("AUTH={}", mechanism.name())));
        }
        names
    }

    /// The capabilities after login.
    pub(crate) fn after_login(&self) -> Vec<String> {
        self.offered(ALWAYS).chain(self.offered(AFTER_LOGIN)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(names: &[&str]) -> Capabilities {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        Capabilities::new(&names, 1000)
    }

    #[test]
    fn passwords_are_offered_only_where_they_are_taken() {
        let capabilities = without(&[]);
        let plain = capabilities.before_login(Security::Plain, &Ground::default());
        assert!(
            plain.iter().any(|name| name == "STARTTLS")
                && plain.iter().any(|name| name == "LOGINDISABLED")
        );
        assert!(!plain.iter().any(|name| name.starts_with("AUTH=")));
        let tls = capabilities.before_login(Security::Tls, &Ground::default());
        assert!(tls.iter().any(|name| name == "AUTH=PLAIN"));
        assert!(!tls.iter().any(|name| name == "STARTTLS" || name == "LOGINDISABLED"));
        let allowed = capabilities.before_login(Security::PlainAllowed, &Ground::default());
        assert!(
            allowed.iter().any(|name| name == "STARTTLS")
                && allowed.iter().any(|name| name == "AUTH=LOGIN")
        );
        let after = capabilities.after_login();
        assert!(after.iter().any(|name| name == "IDLE"));
        assert!(after.iter().any(|name| name == "APPENDLIMIT=1000"));
        assert!(!after.iter().any(|name| name.starts_with("AUTH=") || name == "STARTTLS"));
    }

    #[test]
    fn what_is_switched_off_takes_along_what_needs_it() {
        let has = |capabilities: &Capabilities, name: &str| {
            capabilities.after_login().iter().any(|one| one.split('=').next() == Some(name))
        };
        let some = without(&["sort", "condstore", "appendlimit"]);
        assert!(!has(&some, "SORT") && !has(&some, "ESORT") && !has(&some, "QRESYNC"));
        assert!(!has(&some, "APPENDLIMIT") && has(&some, "IMAP4rev2"));
        let rev1 = without(&["LIST-EXTENDED"]);
        assert!(
            !has(&rev1, "LIST-METADATA") && !has(&rev1, "IMAP4rev2") && has(&rev1, "IMAP4rev1")
        );
    }

    #[test]
    fn an_account_has_less_than_all() {
        let all = without(&["SORT"]);
        let ann = all.without(&["NAMESPACE".to_owned(), "RIGHTS=texk".to_owned()]);
        assert!(all.offers("NAMESPACE") && all.offers("IMAP4REV2"));
        for name in ["SORT", "ESORT", "NAMESPACE", "IMAP4REV2", "RIGHTS=TEXK"] {
            assert!(!ann.offers(name), "{name}");
        }
        assert!(ann.offers("ACL") && ann.offers("IDLE"));
    }

    #[test]
    fn quota_stays_while_there_is_something_to_limit() {
        let messages = without(&["QUOTA=RES-STORAGE"]);
        assert!(messages.offers("QUOTA") && messages.offers("QUOTA=RES-MESSAGE"));
        let none = messages.without(&["QUOTA=RES-MESSAGE".to_owned()]);
        assert!(!none.offers("QUOTA"));
        assert!(!without(&["QUOTA"]).offers("QUOTA=RES-MESSAGE"));
    }

    /// What an operator can switch off is what there is.
    #[test]
    fn every_capability_can_be_switched_off_by_name() {
        let all: BTreeSet<&str> = ALWAYS.iter().chain(AFTER_LOGIN).copied().collect();
        let named: BTreeSet<&str> = letterlock_config::IMAP_CAPABILITIES.iter().copied().collect();
        let fixed: Vec<&&str> = all.difference(&named).collect();
        assert_eq!(fixed, [&"IMAP4rev1", &"LITERAL+"]);
        assert_eq!(named.difference(&all).collect::<Vec<_>>(), [&"SASL-IR"]);
    }

    #[test]
    fn every_dependency_is_a_name() {
        let known = |name: &str| letterlock_config::imap_capability(name).is_ok();
        assert!(NEEDS.iter().all(|(name, needed)| known(name) && known(needed)));
        assert!(OF_REV2.iter().chain(RESOURCES).all(|name| known(name)));
    }
}
