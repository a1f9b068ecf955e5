//! Logins at smarthosts, read from files that only their owner can read.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::client::Login;
use crate::error::RelayError;

/// What others than its owner may do with a file.
const OTHERS: u32 = 0o077;

/// Reads the files, by smarthost.
pub(crate) fn load(
    files: &BTreeMap<String, PathBuf>,
) -> Result<BTreeMap<String, Login>, RelayError> {
    files.iter().map(|(host, file)| Ok((key(host), read(file)?))).collect()
}

/// As a next hop writes itself: addresses of IPv6 without brackets.
fn key(host: &str) -> String {
    host.replace(['[', ']'], "")
}

fn read(file: &Path) -> Result<Login, RelayError> {
    let bad = |reason: String| RelayError::Login { file: file.to_owned(), reason };
    let meta = std::fs::metadata(file).map_err(|error| bad(format!("cannot be read: {error}")))?;
    if meta.mode() & OTHERS != 0 {
        return Err(bad("can be read by others than its owner: chmod 600".to_owned()));
    }
    let text = std::fs::read_to_string(file).map(Zeroizing::new);
    let text = text.map_err(|error| bad(format!("cannot be read: {error}")))?;
    let mut lines = text.lines();
    match (lines.next(), lines.next()) {
        (Some(user), Some(password)) if !user.is_empty() && !password.is_empty() => {
            Ok(Login { user: user.to_owned(), password: Zeroizing::new(password.to_owned()) })
        }
        _ => Err(bad("must have the user in its first line and the password in its second".into())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_login_is_nobody_elses_business() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("login");
        let write = |text: &str, mode: u32| {
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            load(&BTreeMap::from([("[2001:db8::1]:587".to_owned(), file.clone())]))
        };
        let logins = write("me\nsecret\n", 0o600).unwrap();
        let login = &logins["2001:db8::1:587"];
        assert_eq!((login.user.as_str(), login.password.as_str()), ("me", "secret"));
        assert!(!format!("{login:?}").contains("secret"));
        assert!(write("me\nsecret\n", 0o640).unwrap_err().to_string().contains("others"));
        assert!(write("me\n", 0o600).is_err());
        std::fs::remove_file(&file).unwrap();
        let gone = BTreeMap::from([("h:1".to_owned(), file.clone())]);
        assert!(load(&gone).unwrap_err().to_string().contains("cannot be read"));
    }
}
