//! What is advertised, by state. Each name stands here only if all of it works.

use letterlock_login::sasl::Mechanism;

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
const ALWAYS: &[&str] = &["IMAP4rev1", "IMAP4rev2", "LITERAL+", "ID", "ENABLE"];

/// What needs a login to be of use. Most of it is part of IMAP4rev2; clients of IMAP4rev1 look for the single names.
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
];

/// The capabilities before login.
pub(crate) fn before_login(security: Security) -> Vec<String> {
    let mut names: Vec<String> = ALWAYS.iter().map(|&name| name.to_owned()).collect();
    names.push("SASL-IR".to_owned());
    if security != Security::Tls {
        names.push("STARTTLS".to_owned());
    }
    if security == Security::Plain {
        names.push("LOGINDISABLED".to_owned());
    } else {
        names.extend(
            Mechanism::ALL.into_iter().map(|mechanism| format!("AUTH={}", mechanism.name())),
        );
    }
    names
}

/// The capabilities after login.
pub(crate) fn after_login() -> Vec<String> {
    ALWAYS.iter().chain(AFTER_LOGIN).map(|&name| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_offered_only_where_they_are_taken() {
        let plain = before_login(Security::Plain);
        assert!(
            plain.iter().any(|name| name == "STARTTLS")
                && plain.iter().any(|name| name == "LOGINDISABLED")
        );
        assert!(!plain.iter().any(|name| name.starts_with("AUTH=")));
        let tls = before_login(Security::Tls);
        assert!(tls.iter().any(|name| name == "AUTH=PLAIN"));
        assert!(!tls.iter().any(|name| name == "STARTTLS" || name == "LOGINDISABLED"));
        let allowed = before_login(Security::PlainAllowed);
        assert!(
            allowed.iter().any(|name| name == "STARTTLS")
                && allowed.iter().any(|name| name == "AUTH=LOGIN")
        );
        let after = after_login();
        assert!(after.iter().any(|name| name == "IDLE"));
        assert!(!after.iter().any(|name| name.starts_with("AUTH=") || name == "STARTTLS"));
    }
}
