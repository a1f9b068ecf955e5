//! The names of the IMAP capabilities that can be switched off, for all accounts here or for one in the directory.

use std::fmt;

use crate::nearest::nearest;

/// Every IMAP capability that can be switched off, as IMAP spells it. Without IMAP4rev1, LITERAL+, STARTTLS and a way to
/// log in nobody could talk to the server at all: these are not among them.
pub const IMAP_CAPABILITIES: &[&str] = &[
    "ACL",
    "APPENDLIMIT",
    "BINARY",
    "CATENATE",
    "CHILDREN",
    "COMPRESS=DEFLATE",
    "CONDSTORE",
    "CONTEXT=SEARCH",
    "CONTEXT=SORT",
    "CREATE-SPECIAL-USE",
    "ENABLE",
    "ESEARCH",
    "ESORT",
    "I18NLEVEL=1",
    "ID",
    "IDLE",
    "IMAP4rev2",
    "INPROGRESS",
    "LANGUAGE",
    "LIST-EXTENDED",
    "LIST-METADATA",
    "LIST-MYRIGHTS",
    "LIST-STATUS",
    "METADATA",
    "MOVE",
    "MULTIAPPEND",
    "MULTISEARCH",
    "NAMESPACE",
    "NOTIFY",
    "OBJECTID",
    "PARTIAL",
    "PREVIEW",
    "QRESYNC",
    "QUOTA",
    "QUOTA=RES-MESSAGE",
    "QUOTA=RES-STORAGE",
    "REPLACE",
    "RIGHTS=texk",
    "SASL-IR",
    "SAVEDATE",
    "SEARCH=FUZZY",
    "SEARCHRES",
    "SORT",
    "SORT=DISPLAY",
    "SPECIAL-USE",
    "STATUS=SIZE",
    "THREAD=ORDEREDSUBJECT",
    "THREAD=REFERENCES",
    "UIDONLY",
    "UIDPLUS",
    "UNAUTHENTICATE",
    "UNSELECT",
    "UTF8=ACCEPT",
    "WITHIN",
];

/// A name that is none of [`IMAP_CAPABILITIES`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownCapability {
    name: String,
    /// The name that may have been meant.
    pub nearest: Option<&'static str>,
}

impl fmt::Display for UnknownCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no IMAP capability that can be switched off", self.name)?;
        self.nearest.map_or(Ok(()), |name| write!(f, ": did you mean {name}?"))
    }
}

impl std::error::Error for UnknownCapability {}

/// The capability of this name as IMAP spells it; letters may be of either case.
///
/// # Errors
/// [`UnknownCapability`], with the nearest name if one is near.
pub fn imap_capability(name: &str) -> Result<&'static str, UnknownCapability> {
    let found = IMAP_CAPABILITIES.iter().find(|one| one.eq_ignore_ascii_case(name));
    found.copied().ok_or_else(|| UnknownCapability {
        name: name.to_owned(),
        nearest: nearest(name, IMAP_CAPABILITIES.iter().copied()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_capability_is_told_the_nearest() {
        assert_eq!(imap_capability("rights=TEXK"), Ok("RIGHTS=texk"));
        let wrong = imap_capability("QRESINC").unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "\"QRESINC\" is no IMAP capability that can be switched off: did you mean QRESYNC?"
        );
        assert_eq!(imap_capability("IMAP4rev1").unwrap_err().nearest, Some("IMAP4rev2"));
        assert_eq!(imap_capability("").unwrap_err().nearest, None);
        assert!(IMAP_CAPABILITIES.is_sorted_by(|one, next| one < next));
    }
}
