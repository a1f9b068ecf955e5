//! Durable points of many databases, taken together.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::storage::Storage;

use super::connection::SyncPoint;
use super::executor::{Inner, MAX_SYNC_FAILURES, State};
use super::job::Job;
use super::{Database, VaultError};

/// From how many files with something to sync on one file system the whole of it is synced
/// at once. One `syncfs` waits once instead of once for each file, but also for whatever
/// other programs left unwritten there. Measured on ext4 with 18 frames a file
/// (`cargo bench -p letterlock-vault --bench sync`): even at 16 files on a quiet disk, and
/// 1.3 times as fast at 32; beside other writers, even at about 32.
pub(super) const TOGETHER: usize = 32;

/// One that has something to sync, and where.
struct Pending {
    at: usize,
    path: PathBuf,
    point: SyncPoint,
}

impl Database {
    /// [`Database::sync`] for many at once, with one answer for each, in their order.
    ///
    /// Where few of them on a file system have anything to sync, each file is synced; where
    /// there are many, all of the file system is, once. If that fails, the files are synced
    /// one by one after all, so that only those are answered with an error that have one.
    pub async fn sync_many(databases: &[Database]) -> Vec<Result<(), VaultError>> {
        let mut answers: Vec<Option<Result<(), VaultError>>> = Vec::new();
        let mut pending = Vec::new();
        let asked = databases.iter().map(|database| {
            let database = database.clone();
            tokio::spawn(async move { database.run(Job::SyncPoint).await })
        });
        for (at, asked) in asked.collect::<Vec<_>>().into_iter().enumerate() {
            answers.push(match asked.await.unwrap_or(Err(VaultError::Panicked)) {
                Ok(None) => Some(Ok(())),
                Ok(Some(point)) => {
                    let path = databases.get(at).map(Database::path).unwrap_or_default();
                    pending.push(Pending { at, path, point });
                    None
                }
                Err(error) => Some(Err(error)),
            });
        }
        let (together, mut alone) = grouped(databases, pending).await;
        for group in together {
            alone.extend(sync_group(databases, group, &mut answers).await);
        }
        let alone = alone.into_iter().filter_map(|Pending { at, .. }| {
            let database = databases.get(at)?.clone();
            Some((at, tokio::spawn(async move { database.sync().await })))
        });
        for (at, synced) in alone.collect::<Vec<_>>() {
            if let Some(answer) = answers.get_mut(at) {
                *answer = Some(synced.await.unwrap_or(Err(VaultError::Panicked)));
            }
        }
        answers.into_iter().map(|answer| answer.unwrap_or(Err(VaultError::Closed))).collect()
    }

    fn storage(&self) -> Arc<dyn Storage> {
        Arc::clone(self.0.0.pool.storage())
    }
}

/// Parts them into groups that are synced together, and those that are synced alone.
async fn grouped(
    databases: &[Database],
    pending: Vec<Pending>,
) -> (Vec<Vec<Pending>>, Vec<Pending>) {
    if pending.len() < TOGETHER {
        return (Vec::new(), pending);
    }
    let storages: Vec<_> =
        pending.iter().map(|one| databases.get(one.at).map(Database::storage)).collect();
    let look = move || {
        let mut groups: HashMap<Option<u64>, Vec<Pending>> = HashMap::new();
        for (one, storage) in pending.into_iter().zip(storages) {
            let place = storage.and_then(|storage| storage.filesystem(&one.path));
            groups.entry(place).or_default().push(one);
        }
        let (mut together, mut alone) = (Vec::new(), Vec::new());
        for (place, group) in groups {
            match place {
                Some(_) if group.len() >= TOGETHER => together.push(group),
                _ => alone.extend(group),
            }
        }
        (together, alone)
    };
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}

/// Syncs the file system of a group, and answers its members; all of them come back if that
/// failed.
async fn sync_group(
    databases: &[Database],
    group: Vec<Pending>,
    answers: &mut [Option<Result<(), VaultError>>],
) -> Vec<Pending> {
    let Some(first) = group.first() else { return group };
    let Some(storage) = databases.get(first.at).map(Database::storage) else { return group };
    let path = first.path.clone();
    let synced = tokio::task::spawn_blocking(move || storage.sync_filesystem(&path)).await;
    if let Ok(Err(error)) = &synced {
        tracing::warn!(%error, "not synced together");
    }
    if !matches!(synced, Ok(Ok(()))) {
        return group;
    }
    for Pending { at, point, .. } in group {
        if let (Some(database), Some(answer)) = (databases.get(at), answers.get_mut(at)) {
            let told = database.ask(|reply| Job::Reached(point, reply)).await;
            // Closed meanwhile: what was to be synced was synced nevertheless.
            *answer = Some(match told {
                Err(VaultError::Closed) => Ok(()),
                told => told,
            });
        }
    }
    Vec::new()
}

impl Inner {
    pub(super) fn sync_point(&self, state: &mut State) -> Result<Option<SyncPoint>, VaultError> {
        if state.sync_failures >= MAX_SYNC_FAILURES {
            return Err(VaultError::SyncFailed);
        }
        // Closed cleanly: everything is on disk.
        Ok(state.live.as_ref().and_then(|live| live.sync_point()))
    }
}
