//! Where mailbox files stand, and how a new one gets to its place.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use letterlock_vault::{AccountId, OpenMode, Pool, Storage, VaultError};
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
pub(crate) async fn prepare(
    pool: &Pool,
    data_dir: &Path,
    path: &Path,
) -> Result<PathBuf, MailboxError> {
    let (storage, data_dir, path) =
        (Arc::clone(pool.storage()), data_dir.to_owned(), path.to_owned());
    let draft = path.with_extension("new");
    let free = blocking(move || {
        if storage.exists(&path)? {
            return Ok(false);
        }
        if let Some(dir) = path.parent() {
            make_private_dir(dir)?;
        }
        sync_dir(&data_dir)?;
        Ok(true)
    })
    .await?;
    if !free {
        return Err(MailboxError::AlreadyExists);
    }
    pool.remove(&draft).await?;
    Ok(draft)
}

/// Puts a draft, closed and synced, in its place.
pub(crate) async fn publish(
    pool: &Pool,
    data_dir: &Path,
    draft: PathBuf,
    path: PathBuf,
) -> Result<(), MailboxError> {
    let (storage, accounts) = (Arc::clone(pool.storage()), data_dir.join("accounts"));
    blocking(move || {
        forget_log(storage.as_ref(), &draft)?;
        storage.rename(&draft, &path)?;
        storage.sync_dir(&path)?;
        sync_dir(&accounts)
    })
    .await
}

/// Removes the log of a draft, whose content is in the main file since the close. Where there was no room for that, or
/// the disk refused, closing does not fail, and the log has it still: such a draft is of no use.
fn forget_log(storage: &dyn Storage, draft: &Path) -> io::Result<()> {
    let log = log_of(draft);
    if !storage.exists(&log)? {
        return Ok(());
    }
    if !storage.open(&log, OpenMode::Existing)?.is_empty()? {
        return Err(io::Error::other("a new mailbox file was not written to its end"));
    }
    storage.delete(&log)
}

/// A missing file must not be made anew by opening it.
pub(crate) async fn check_there(pool: &Pool, path: &Path) -> Result<(), MailboxError> {
    if exists(pool, path.to_owned()).await? {
        Ok(())
    } else {
        Err(MailboxError::damaged("the account has no mailbox file"))
    }
}

async fn exists(pool: &Pool, path: PathBuf) -> Result<bool, MailboxError> {
    let storage = Arc::clone(pool.storage());
    blocking(move || storage.exists(&path)).await
}

/// So many damaged files of an account are kept; then somebody has to look at them first.
const DAMAGED: u32 = 10;

/// Where a damaged file is kept: those of later times have a number.
fn damaged_file(path: &Path, number: u32) -> PathBuf {
    match number {
        0 => path.with_extension("db.damaged"),
        number => path.with_extension(format!("db.damaged{number}")),
    }
}

/// The number of the latest damaged file that is kept.
fn latest_damaged(storage: &dyn Storage, path: &Path) -> io::Result<Option<u32>> {
    for number in (0..DAMAGED).rev() {
        if storage.exists(&damaged_file(path, number))? {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// Where the next damaged file can be kept. None of those that are there is overwritten: the first may have more of the
/// mail than the others.
fn next_damaged(storage: &dyn Storage, path: &Path) -> io::Result<Option<PathBuf>> {
    let number = latest_damaged(storage, path)?.map_or(0, |number| number + 1);
    Ok((number < DAMAGED).then(|| damaged_file(path, number)))
}

/// Before a damaged file is written anew: there has to be a place for it.
pub(crate) async fn check_place_of_damaged(pool: &Pool, path: &Path) -> Result<(), MailboxError> {
    let (storage, path) = (Arc::clone(pool.storage()), path.to_owned());
    if blocking(move || next_damaged(storage.as_ref(), &path)).await?.is_some() {
        Ok(())
    } else {
        Err(MailboxError::damaged(
            "it was written anew too often; remove the damaged files beside it",
        ))
    }
}

/// Puts a draft, closed and synced, in the place of a damaged file, which is kept under a name of its own, with its log.
/// After a crash in between [`put_back_damaged`] has both where they were: so the log goes second, and comes back first.
pub(crate) async fn replace_damaged(
    pool: &Pool,
    draft: PathBuf,
    path: PathBuf,
) -> Result<(), MailboxError> {
    let storage = Arc::clone(pool.storage());
    blocking(move || {
        forget_log(storage.as_ref(), &draft)?;
        let aside = next_damaged(storage.as_ref(), &path)?
            .ok_or_else(|| io::Error::other("too many damaged files beside the mailbox"))?;
        // The log of a damaged file that somebody removed.
        if storage.exists(&log_of(&aside))? {
            storage.delete(&log_of(&aside))?;
        }
        storage.rename(&path, &aside)?;
        storage.sync_dir(&path)?;
        if storage.exists(&log_of(&path))? {
            storage.rename(&log_of(&path), &log_of(&aside))?;
            storage.sync_dir(&path)?;
        }
        storage.rename(&draft, &path)?;
        storage.sync_dir(&path)
    })
    .await
}

/// After a crash in the middle of [`replace_damaged`]: the damaged file gets its name back.
pub(crate) async fn put_back_damaged(pool: &Pool, path: PathBuf) -> Result<(), MailboxError> {
    let storage = Arc::clone(pool.storage());
    blocking(move || {
        if storage.exists(&path)? {
            return Ok(());
        }
        let Some(number) = latest_damaged(storage.as_ref(), &path)? else { return Ok(()) };
        let aside = damaged_file(&path, number);
        if storage.exists(&log_of(&aside))? {
            storage.rename(&log_of(&aside), &log_of(&path))?;
            storage.sync_dir(&path)?;
        }
        storage.rename(&aside, &path)?;
        storage.sync_dir(&path)
    })
    .await
}

/// Removes what a rotation left that was cut short: the next epoch's file, which the directory does not name, or
/// the last one's.
pub(crate) async fn remove_other_epochs(
    pool: &Pool,
    data_dir: &Path,
    account: AccountId,
    epoch: u32,
) -> Result<(), MailboxError> {
    for other in [epoch.checked_sub(1), epoch.checked_add(1)].into_iter().flatten() {
        let path = mailbox_file(data_dir, account, other);
        let (storage, file) = (Arc::clone(pool.storage()), path.clone());
        let left = blocking(move || {
            let mut unfinished = file.as_os_str().to_owned();
            unfinished.push(".new");
            Ok(storage.exists(&file)?
                || storage.exists(unfinished.as_ref())?
                || storage.exists(&log_of(&file))?)
        });
        if left.await? {
            pool.remove(&path).await?;
            tracing::info!(account = %account, epoch = other, "a mailbox file of another epoch was removed");
        }
    }
    Ok(())
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
