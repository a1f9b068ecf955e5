//! `verify`: whether everything on disk is what it should be.
//!
//! Server files are looked at from outside (the hash over each page) and inside (SQLite's own check, and whether they
//! agree with each other). Mailboxes are checked and mended by their own crate; of a locked one only the outside can be
//! seen, and the answer says so.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use letterlock_directory::{Account, KeyMode};
use letterlock_mailbox::{AccountState as MailboxState, Expected, MailboxError, Repair, Report};
use letterlock_vault::{AccountId, Disk, Key, SlotKind, slot, verify_file};

use crate::progress::Reporter;
use crate::{Admin, AdminError, Response, VerifiedRow};

/// How many accounts with parked mail are asked for at once.
const PAGE: u32 = 1000;

/// After how long what looks left over is looked at again.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// Why a mailbox is looked at from outside only.
const LOCKED: &str = "locked";

impl Admin {
    /// Carries out `verify`.
    pub(crate) async fn verify(
        &self,
        address: Option<String>,
        repair: bool,
        reporter: &Reporter,
    ) -> Result<Response, AdminError> {
        let accounts: Vec<Arc<Account>> = match &address {
            Some(address) => vec![self.find_account(address)?],
            None => self.directory.snapshot().accounts().cloned().collect(),
        };
        let files: &[&str] = if address.is_none() { &["directory", "queue", "state"] } else { &[] };
        let of = (files.len() + accounts.len()) as u64;
        let mut rows = Vec::new();
        for (done, name) in (0..).zip(files) {
            reporter.tell(&format!("{name}.db"), done, of);
            rows.push(self.verify_server_file(name, repair).await?);
        }
        if address.is_none() {
            rows.extend(self.strange_folders().await?);
        }
        for (done, account) in (files.len() as u64..).zip(&accounts) {
            reporter.tell(&account.address.to_string(), done, of);
            rows.extend(self.verify_as_it_is(account.id, repair, reporter).await);
        }
        reporter.tell("", of, of);
        Ok(Response::Verified(rows))
    }

    async fn verify_server_file(
        &self,
        name: &str,
        repair: bool,
    ) -> Result<VerifiedRow, AdminError> {
        let file = format!("{name}.db");
        let mut row = VerifiedRow::new(&file);
        let key = self.server_key.file_keys(name).integrity;
        outside(&mut row, self.data_dir.join(&file), key).await;
        let inside = match name {
            "directory" => self.directory.verify().await.map_err(|error| error.to_string()),
            "queue" => self.queue.verify().await.map_err(|error| error.to_string()),
            _ => self.state.verify().await.map_err(|error| error.to_string()),
        };
        match inside {
            Ok(found) => row.found.extend(found),
            Err(error) => row.found.push(format!("cannot be read: {error}")),
        }
        if !row.found.is_empty() {
            row.advice = Some(format!("restore {file} from a backup"));
        }
        if name == "queue" {
            self.verify_parked(&mut row, repair).await?;
        }
        Ok(row)
    }

    /// Mail that waits for accounts that are no more can be opened by nobody.
    async fn verify_parked(&self, row: &mut VerifiedRow, repair: bool) -> Result<(), AdminError> {
        let mut after = None;
        loop {
            let page = self.queue.parked_accounts(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(*last);
            for account in page {
                if self.directory.snapshot().account(account).is_some() {
                    continue;
                }
                if repair {
                    let count = self.queue.discard_account(account).await?;
                    row.repaired.push(format!(
                        "{count} messages for the removed account {account} are gone, whose key nobody has"
                    ));
                } else {
                    row.found.push(format!("mail waits for {account}, which is no account"));
                    row.advice.get_or_insert_with(|| "--repair discards it".to_owned());
                }
            }
        }
    }

    /// Folders of accounts that the directory does not know, and still does not a moment later: an account's file is made
    /// before its entry, and removed after it.
    async fn strange_folders(&self) -> Result<Vec<VerifiedRow>, AdminError> {
        let mut strange = self.unknown_folders().await?;
        if !strange.is_empty() {
            tokio::time::sleep(SECOND_LOOK).await;
            let still = self.unknown_folders().await?;
            strange.retain(|name| still.contains(name));
        }
        let rows = strange.into_iter().map(|name| {
            let mut row = VerifiedRow::new(&format!("accounts/{name}"));
            row.found.push("belongs to no account".to_owned());
            row.advice = Some(
                "nobody has a key to it; move it away, unless an older directory.db is to be restored"
                    .to_owned(),
            );
            row
        });
        Ok(rows.collect())
    }

    async fn unknown_folders(&self) -> Result<Vec<String>, AdminError> {
        let folder = self.data_dir.join("accounts");
        let listed = tokio::task::spawn_blocking(move || names(&folder)).await;
        let mut listed =
            listed.map_err(|_| AdminError::Failed("the server is shutting down".into()))?;
        let snapshot = self.directory.snapshot();
        let known: HashSet<String> =
            snapshot.accounts().map(|account| account.id.to_string()).collect();
        listed.retain(|name| !known.contains(name));
        Ok(listed)
    }

    /// Checks an account as the directory has it by now, since others may have taken long; again if its keys were
    /// changed meanwhile. Nothing if it is no more.
    async fn verify_as_it_is(
        &self,
        id: AccountId,
        repair: bool,
        reporter: &Reporter,
    ) -> Option<VerifiedRow> {
        let now = || self.directory.snapshot().account(id);
        let mut account = now()?;
        loop {
            let row = self.verify_account(&account, repair, reporter).await;
            let after = now()?;
            let same = after.secrets.epoch == account.secrets.epoch;
            if same || row.found.is_empty() {
                return Some(row);
            }
            account = after;
        }
    }

    async fn verify_account(
        &self,
        account: &Account,
        repair: bool,
        reporter: &Reporter,
    ) -> VerifiedRow {
        let mut row = VerifiedRow::new(&account.address.to_string());
        row.found.extend(self.slots_in_trouble(account));
        if !row.found.is_empty() {
            row.advice = Some("restore directory.db from a backup".to_owned());
        }
        if account.mode == KeyMode::ServerHeld
            && let Err(error) = self.login.unlock_server_held(account).await
        {
            row.found.push(format!("cannot be unlocked: {error}"));
        }
        let checked = match self.mailboxes.state(account.id) {
            MailboxState::Locked => self.verify_locked(account, &mut row).await,
            _ if repair => self.repair_mailbox(account, &mut row, reporter).await,
            _ => self.verify_open(account, &mut row, reporter).await,
        };
        match checked {
            Ok(()) => {}
            // By its owner's last session, in the middle of the check.
            Err(MailboxError::Locked) => row.not_checked = Some(LOCKED.to_owned()),
            Err(error) => row.found.push(format!("cannot be read: {error}")),
        }
        if !row.found.is_empty() && row.not_checked.is_some() {
            row.advice.get_or_insert_with(|| {
                "more can be said and mended while it is unlocked; or restore it from a backup"
                    .to_owned()
            });
        }
        row
    }

    /// By the outer hashes: all that can be seen without the key.
    async fn verify_locked(
        &self,
        account: &Account,
        row: &mut VerifiedRow,
    ) -> Result<(), MailboxError> {
        let epoch = account.secrets.epoch;
        let key = self.server_key.integrity_key(account.id, epoch);
        let report = self.mailboxes.verify_locked(account.id, epoch, key).await?;
        row.not_checked = Some(LOCKED.to_owned());
        take(row, &report);
        Ok(())
    }

    async fn verify_open(
        &self,
        account: &Account,
        row: &mut VerifiedRow,
        reporter: &Reporter,
    ) -> Result<(), MailboxError> {
        let progress = progress_of(account, reporter);
        let report = self.mailboxes.verify(account.id, &self.expected(account), progress).await?;
        take(row, &report);
        if !report.is_clean() {
            row.advice.get_or_insert_with(|| "--repair does what is said behind each".to_owned());
        }
        Ok(())
    }

    /// Mends what can be mended in place; where pages are damaged, writes the file anew from what can be read.
    async fn repair_mailbox(
        &self,
        account: &Account,
        row: &mut VerifiedRow,
        reporter: &Reporter,
    ) -> Result<(), MailboxError> {
        let expected = self.expected(account);
        let progress = progress_of(account, reporter);
        let after = match self.mailboxes.repair(account.id, &expected, progress).await {
            Ok((before, after)) => {
                row.pages = u64::from(after.pages);
                let mended =
                    before.findings.iter().filter(|finding| !after.findings.contains(finding));
                row.repaired.extend(mended.map(ToString::to_string));
                after.findings
            }
            // In the middle of the mending, which needs more of the file than the check does.
            Err(MailboxError::Damaged(text)) => {
                tracing::warn!(account = %account.id, text, "cannot be mended in place");
                return self.salvage(account, row, reporter).await;
            }
            Err(error) => return Err(error),
        };
        let kept = after.iter().filter(|finding| finding.repair != Repair::Salvage);
        row.found.extend(kept.map(ToString::to_string));
        if after.iter().all(|finding| finding.repair != Repair::Salvage) {
            return Ok(());
        }
        self.salvage(account, row, reporter).await
    }

    /// Writes the file anew from what can be read.
    async fn salvage(
        &self,
        account: &Account,
        row: &mut VerifiedRow,
        reporter: &Reporter,
    ) -> Result<(), MailboxError> {
        let handle = self.mailboxes.handle(account.id).ok_or(MailboxError::Locked)?;
        let secrets = handle.secrets()?;
        let progress = progress_of(account, reporter);
        let salvaged = self.mailboxes.salvage((*secrets).clone(), progress).await?;
        row.repaired.push(format!(
            "the file was written anew from what could be read and is locked now: {} messages, {} of them without \
             flags and dates, {} places that could not be read; the damaged file stays beside it",
            salvaged.messages, salvaged.without_flags, salvaged.gaps
        ));
        row.found.extend(salvaged.left.findings.iter().map(ToString::to_string));
        Ok(())
    }

    fn expected(&self, account: &Account) -> Expected {
        let mark = self.directory.snapshot().mark(account.id);
        Expected { sealing: Some(account.secrets.sealing_public()), mark: Some(mark) }
    }

    /// What can be said of an account's credentials without having one.
    fn slots_in_trouble(&self, account: &Account) -> Vec<String> {
        let mut found = Vec::new();
        for slot in account.slots.iter().map(|named| &named.slot) {
            let sound = match slot.kind {
                SlotKind::Password => slot::password_cost(slot).is_ok(),
                SlotKind::Server => slot::open_server(account.id, slot, &self.server_key)
                    .is_ok_and(|key| {
                        account.secrets.open(account.id, &key, &self.server_key).is_ok()
                    }),
                SlotKind::Organisation => slot::organisation_fingerprint(slot).is_some(),
                // Their data is a sealed key and says nothing of itself.
                SlotKind::AppPassword | SlotKind::Recovery => !slot.data.is_empty(),
            };
            if !sound {
                found.push(format!("credential {} is damaged", slot.id));
            }
        }
        let server = account.slots.iter().any(|named| named.slot.kind == SlotKind::Server);
        if server != (account.mode == KeyMode::ServerHeld) {
            found.push(format!("the keys are {}, the credentials are not", account.mode.as_str()));
        }
        found
    }
}

/// Checks the hash of every page, without any key that reads them.
async fn outside(row: &mut VerifiedRow, path: PathBuf, integrity: Key) {
    let checked = tokio::task::spawn_blocking(move || verify_file(&Disk, &path, &integrity)).await;
    match checked {
        Ok(Ok(found)) => {
            row.pages = u64::from(found.pages);
            row.found.extend(found.damaged.iter().map(|page| format!("page {page} is damaged")));
        }
        Ok(Err(error)) => row.found.push(format!("cannot be read: {error}")),
        Err(_) => row.not_checked = Some("the server is shutting down".to_owned()),
    }
}

/// Takes over what the mailbox found.
fn take(row: &mut VerifiedRow, report: &Report) {
    row.pages = u64::from(report.pages);
    row.found.extend(report.findings.iter().map(ToString::to_string));
}

/// How far one mailbox has come.
fn progress_of(account: &Account, reporter: &Reporter) -> letterlock_mailbox::Progress {
    let (reporter, on) = (reporter.clone(), account.address.to_string());
    Box::new(move |done, of| reporter.tell(&on, done, of))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
