//! What is advertised, by state. Each name stands here only if all of it works; what the configuration switches off vanishes,
//! and so does what needs it.

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
    "SEARCH=FUZZY",
    "MULTISEARCH",
    "UIDONLY",
    "UNAUTHENTICATE",
];

/// Without these nobody could talk to the server at all.
const INDISPENSABLE: &[&str] = &["IMAP4REV1", "LITERAL+"];

/// What goes with another name that is switched off.
const NEEDS: &[(&str, &str)] = &[
    ("QRESYNC", "CONDSTORE"),
    ("SORT=DISPLAY", "SORT"),
    ("ESORT", "SORT"),
    ("SEARCHRES", "ESEARCH"),
    ("PARTIAL", "ESEARCH"),
    ("MULTISEARCH", "ESEARCH"),
    ("QUOTA=RES-STORAGE", "QUOTA"),
    ("QUOTA", "QUOTA=RES-STORAGE"),
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
];

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
#[derive(Debug)]
pub(crate) struct Capabilities {
    /// In upper case.
    off: BTreeSet<String>,
    message_size: u64,
}

impl Capabilities {
    /// All but those that are switched off, with the largest message that APPEND takes.
    pub(crate) fn new(disabled: &[String], message_size: u64) -> Self {
        let mut off: BTreeSet<String> =
            disabled.iter().map(|name| name.to_ascii_uppercase()).collect();
        for name in INDISPENSABLE {
            if off.remove(*name) {
                tracing::warn!(capability = name, "IMAP cannot do without this capability");
            }
        }
        let known =
            |name: &str| name == "SASL-IR" || all().any(|one| one.eq_ignore_ascii_case(name));
        for name in off.iter().filter(|name| !known(name)) {
            tracing::warn!(capability = name, "there is no such IMAP capability to switch off");
        }
        // Twice, since what is needed may itself need something.
        for _ in 0..2 {
            let lost = NEEDS.iter().filter(|(_, needed)| off.contains(*needed));
            let lost: Vec<String> = lost.map(|(name, _)| (*name).to_owned()).collect();
            off.extend(lost);
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

fn all() -> impl Iterator<Item = &'static str> {
    ALWAYS.iter().chain(AFTER_LOGIN).copied()
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
        let rev1 = without(&["LIST-EXTENDED", "IMAP4rev1", "NONSENSE"]);
        assert!(
            !has(&rev1, "LIST-METADATA") && !has(&rev1, "IMAP4rev2") && has(&rev1, "IMAP4rev1")
        );
    }

    #[test]
    fn every_dependency_is_a_name() {
        let known =
            |name: &str| name == "SASL-IR" || all().any(|one| one.eq_ignore_ascii_case(name));
        assert!(NEEDS.iter().all(|(name, needed)| known(name) && known(needed)));
        assert!(OF_REV2.iter().all(|name| known(name)));
    }
}
