//! The server's own key: it seals what the server must read without anyone's password.
//!
//! It stands in `server.key` in the data directory, or comes from systemd's credentials. It is
//! never part of a backup: without it directory, queue, state and audit cannot be read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::key::KEY_LEN;
use crate::{AccountId, FileKeys, Key};

/// Name of the key's file in the data directory.
const FILE: &str = "server.key";
/// Name of a key that is not complete yet.
const NEW_FILE: &str = "server.key.new";
/// Name of the key among systemd's credentials (`LoadCredential=letterlock-server-key:…`).
const CREDENTIAL: &str = "letterlock-server-key";
/// Files that are worth nothing without the key they were written under.
const SEALED: [&str; 4] = ["directory.db", "queue.db", "state.db", "audit.db"];

/// Why there is no server key.
#[derive(Debug, thiserror::Error)]
pub enum ServerKeyError {
    /// Others than the owner can read the file.
    #[error(
        "{path} can be read by others (mode {mode:04o}); if nobody has read it yet: chmod 600 {path}"
    )]
    Exposed {
        /// The key's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not a regular file of 32 octets.
    #[error("{path} is not a server key: a regular file of 32 octets is expected")]
    NotAKey {
        /// The key's file.
        path: PathBuf,
    },
    /// There is no key, but there are databases that were written under one. A new key would
    /// not open them, so none is made.
    #[error(
        "{key} is missing, but {database} was written under it; put the key back from where it is kept safe"
    )]
    Lost {
        /// Where the key should be.
        key: PathBuf,
        /// The first database found.
        database: PathBuf,
    },
    /// Reading or writing failed.
    #[error("{path}: {error}")]
    Io {
        /// What was read or written.
        path: PathBuf,
        /// The system's answer.
        #[source]
        error: io::Error,
    },
}

/// The key of this server. `Debug` prints nothing of it.
#[derive(Clone, Debug)]
pub struct ServerKey(Key);

impl ServerKey {
    /// Loads the key: `letterlock-server-key` in `credentials` if it is there, else `server.key`
    /// in `data_dir`; if there is neither and no database yet, a new `server.key` is made,
    /// durably. `credentials` is the value of `$CREDENTIALS_DIRECTORY`. The caller holds the
    /// data directory's lock, so that two processes don't make two keys.
    ///
    /// # Errors
    /// See [`ServerKeyError`]. A key that others can read is refused. (For a credential this
    /// means "others" alone: systemd grants the service's user access by an ACL, and the mask
    /// of an ACL shows as the group's bits.)
    pub fn load_or_create(
        data_dir: &Path,
        credentials: Option<&Path>,
    ) -> Result<Self, ServerKeyError> {
        if let Some(directory) = credentials
            && let Some(key) = load(&directory.join(CREDENTIAL), 0o007)?
        {
            return Ok(Self(key));
        }
        let path = data_dir.join(FILE);
        if let Some(key) = load(&path, 0o077)? {
            return Ok(Self(key));
        }
        if let Some(database) =
            SEALED.map(|name| data_dir.join(name)).into_iter().find(|p| p.exists())
        {
            return Err(ServerKeyError::Lost { key: path, database });
        }
        let key = Key::random();
        create(data_dir, &key).map_err(|error| ServerKeyError::Io { path, error })?;
        Ok(Self(key))
    }

    /// A server key that was kept elsewhere.
    pub fn from_key(key: Key) -> Self {
        Self(key)
    }

    /// The keys of the server's own database `name` (`directory`, `queue`, …).
    pub fn file_keys(&self, name: &str) -> FileKeys {
        FileKeys {
            page: self.0.derive("server file page", name.as_bytes()),
            integrity: self.0.derive("server file integrity", name.as_bytes()),
        }
    }

    /// The key of the outer hash over an account's file of this epoch: it finds damage in a
    /// file that the server cannot read.
    pub fn integrity_key(&self, account: AccountId, epoch: u32) -> Key {
        self.0.derive("account file integrity", &with_epoch(account, epoch))
    }

    /// A key for a purpose named by `label`, and in it for what `context` names.
    pub fn derive(&self, label: &str, context: &[u8]) -> Key {
        // "use " keeps callers' labels apart from those of this crate.
        self.0.derive(&format!("use {label}"), context)
    }

    /// The key that wraps the account keys of server-held accounts.
    pub(crate) fn slot_key(&self, account: AccountId) -> Key {
        self.0.derive("account slot", &account.to_bytes())
    }
}

/// Account and epoch in a row, as a context of derivation.
pub(crate) fn with_epoch(account: AccountId, epoch: u32) -> [u8; 20] {
    let mut context = [0; 20];
    context[..16].copy_from_slice(&account.to_bytes());
    context[16..].copy_from_slice(&epoch.to_be_bytes());
    context
}

/// The key in the file at `path`, if there is one; none of the `forbidden` permissions may be set.
fn load(path: &Path, forbidden: u32) -> Result<Option<Key>, ServerKeyError> {
    let failed = |error| ServerKeyError::Io { path: path.to_owned(), error };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    // Asked of the open file, so that nobody can exchange it in between.
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & forbidden != 0 {
        return Err(ServerKeyError::Exposed { path: path.to_owned(), mode });
    }
    // One octet more than a key has shows a file that is too long.
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_LEN + 1));
    if metadata.is_file() {
        file.take(KEY_LEN as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    match Key::from_slice(&bytes) {
        Some(key) => Ok(Some(key)),
        None => Err(ServerKeyError::NotAKey { path: path.to_owned() }),
    }
}

/// Writes a new key so that after any crash there is the whole key or none.
fn create(data_dir: &Path, key: &Key) -> io::Result<()> {
    let (new, path) = (data_dir.join(NEW_FILE), data_dir.join(FILE));
    // Left over from a crash: it was never used.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(key.expose())?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    File::open(data_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn made_once_then_loaded() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join(NEW_FILE), b"torn").unwrap();
        let made = ServerKey::load_or_create(data.path(), None).unwrap();
        let path = data.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read(&path).unwrap(), made.0.expose());
        assert!(!data.path().join(NEW_FILE).exists());
        fs::write(data.path().join("queue.db"), b"x").unwrap();
        assert_eq!(ServerKey::load_or_create(data.path(), None).unwrap().0, made.0);
    }

    #[test]
    fn a_credential_comes_first() {
        let (data, credentials) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let own = ServerKey::load_or_create(data.path(), Some(credentials.path())).unwrap();
        let path = credentials.path().join(CREDENTIAL);
        fs::write(&path, [9; 32]).unwrap();
        mode(&path, 0o440);
        let given = ServerKey::load_or_create(data.path(), Some(credentials.path())).unwrap();
        assert_eq!(given.0, Key::from_bytes([9; 32]));
        assert_ne!(given.0, own.0);
        mode(&path, 0o444);
        let error = ServerKey::load_or_create(data.path(), Some(credentials.path())).unwrap_err();
        assert!(matches!(error, ServerKeyError::Exposed { mode: 0o444, .. }), "{error}");
    }

    #[test]
    fn an_exposed_key_is_refused() {
        let data = tempfile::tempdir().unwrap();
        ServerKey::load_or_create(data.path(), None).unwrap();
        for bits in [0o640, 0o604, 0o660, 0o610, 0o644] {
            mode(&data.path().join(FILE), bits);
            let error = ServerKey::load_or_create(data.path(), None).unwrap_err();
            assert!(matches!(error, ServerKeyError::Exposed { mode, .. } if mode == bits));
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        mode(&data.path().join(FILE), 0o400);
        ServerKey::load_or_create(data.path(), None).unwrap();
    }

    #[test]
    fn a_file_of_another_shape_is_refused() {
        for content in [&b""[..], &[1; 31], &[1; 33], &[1; 64]] {
            let data = tempfile::tempdir().unwrap();
            let path = data.path().join(FILE);
            fs::write(&path, content).unwrap();
            mode(&path, 0o600);
            let error = ServerKey::load_or_create(data.path(), None).unwrap_err();
            assert!(matches!(error, ServerKeyError::NotAKey { .. }), "{error}");
            assert_eq!(fs::read(&path).unwrap(), content, "left as it was");
        }
    }

    #[test]
    fn a_lost_key_is_not_replaced() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("directory.db"), b"sealed").unwrap();
        let error = ServerKey::load_or_create(data.path(), None).unwrap_err();
        assert!(matches!(error, ServerKeyError::Lost { .. }), "{error}");
        assert!(!data.path().join(FILE).exists());
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        let data = tempfile::tempdir().unwrap();
        let error = ServerKey::load_or_create(&data.path().join("no"), None).unwrap_err();
        assert!(matches!(error, ServerKeyError::Io { .. }), "{error}");
    }

    #[test]
    fn purposes_have_keys_of_their_own() {
        let key = ServerKey::from_key(Key::from_bytes([1; 32]));
        let (one, two) = (AccountId::generate(), AccountId::from_bytes([0; 16]));
        let keys = [
            key.file_keys("queue").page,
            key.file_keys("queue").integrity,
            key.file_keys("state").page,
            key.integrity_key(one, 0),
            key.integrity_key(one, 1),
            key.integrity_key(two, 0),
            key.slot_key(one),
            key.slot_key(two),
            key.derive("account slot", &one.to_bytes()),
            key.derive("server file page", b"queue"),
        ];
        for (at, left) in keys.iter().enumerate() {
            assert!(keys[at + 1..].iter().all(|right| left != right), "{at}");
        }
        assert_eq!(key.integrity_key(one, 1), key.clone().integrity_key(one, 1));
        assert_eq!(format!("{key:?}"), "ServerKey(Key(..))");
    }
}
