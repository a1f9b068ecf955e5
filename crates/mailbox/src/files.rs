//! Where mailbox files stand, and how a new one gets to its place.

use std::io;
use std::path::{Path, PathBuf};

use letterlock_vault::{AccountId, VaultError};
use tokio::task::spawn_blocking;

use crate::error::MailboxError;

/// The folder of an account's files.
fn account_dir(data_dir: &Path, account: AccountId) -> PathBuf {
    data_dir.join("accounts").join(account.to_string())
}

/// The mailbox file of an epoch; that of epoch 0 has no number in its name.
pub(crate) fn mailbox_file(data_dir: &Path, account: AccountId, epoch: u32) -> PathBuf {
    let name = if epoch == 0 { "mailbox.db".to_owned() } else { format!("mailbox.{epoch}.db") };
    account_dir(data_dir, account).join(name)
}

/// The log that SQLite keeps beside a file.
fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> Result<R, MailboxError> {
    match spawn_blocking(work).await {
        Ok(result) => Ok(result.map_err(VaultError::from)?),
        Err(_) => Err(MailboxError::Locked),
    }
}

/// Makes the account's folder, and names a file in it that can be written: a draft left by a crash is removed.
pub(crate) async fn prepare(data_dir: &Path, path: &Path) -> Result<PathBuf, MailboxError> {
    let (data_dir, path) = (data_dir.to_owned(), path.to_owned());
    let draft = path.with_extension("new");
    let ready = draft.clone();
    let free = blocking(move || {
        if path.try_exists()? {
            return Ok(false);
        }
        if let Some(dir) = path.parent() {
            make_private_dir(dir)?;
        }
        sync_dir(&data_dir)?;
        for old in [log_of(&ready), ready] {
            remove_if_there(&old)?;
        }
        Ok(true)
    })
    .await?;
    if free { Ok(draft) } else { Err(MailboxError::AlreadyExists) }
}

/// Puts a draft, closed and synced, in its place.
pub(crate) async fn publish(
    data_dir: &Path,
    draft: PathBuf,
    path: PathBuf,
) -> Result<(), MailboxError> {
    let accounts = data_dir.join("accounts");
    blocking(move || {
        // Its content is in the main file since the close.
        remove_if_there(&log_of(&draft))?;
        std::fs::rename(&draft, &path)?;
        if let Some(dir) = path.parent() {
            sync_dir(dir)?;
        }
        sync_dir(&accounts)
    })
    .await
}

/// A missing file must not be made anew by opening it.
pub(crate) async fn check_there(path: &Path) -> Result<(), MailboxError> {
    let path = path.to_owned();
    if blocking(move || path.try_exists()).await? {
        Ok(())
    } else {
        Err(MailboxError::damaged("the account has no mailbox file"))
    }
}

/// Removes all files of an account.
pub(crate) async fn destroy(data_dir: &Path, account: AccountId) -> Result<(), MailboxError> {
    let (dir, accounts) = (account_dir(data_dir, account), data_dir.join("accounts"));
    blocking(move || match std::fs::remove_dir_all(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_dir(&accounts),
    })
    .await
}

fn make_private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    std::fs::File::open(dir)?.sync_all()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_epochs() {
        let account = AccountId::generate();
        let first = mailbox_file(Path::new("/data"), account, 0);
        assert_eq!(first, PathBuf::from(format!("/data/accounts/{account}/mailbox.db")));
        assert!(mailbox_file(Path::new("/data"), account, 3).ends_with("mailbox.3.db"));
        assert!(log_of(&first).ends_with("mailbox.db-wal"));
    }
}
