//! The handle's operations on folders. Each takes names in any spelling and answers normalised ones.

use jiff::Timestamp;
use letterlock_imap_wire::SpecialUse;

use crate::change_jobs::Transfer;
use crate::changes;
use crate::error::MailboxError;
use crate::folder_row::FolderRow;
use crate::folders;
use crate::handle::Handle;
use crate::name::{INBOX, normalise};
use crate::types::{Changes, Folder, FolderId, ModSeq, SelectMode, Selected, Status, all_uids};

impl Handle {
    /// All folders by name, and the names that are only there because others lie under them.
    ///
    /// # Errors
    /// What storage reports.
    pub async fn folders(&self) -> Result<Vec<Folder>, MailboxError> {
        self.live()?.read(|conn, _| folders::list(conn)).await
    }

    /// All subscribed names, ascending, whether there is such a folder or not (RFC 9051 §6.3.7).
    ///
    /// # Errors
    /// What storage reports.
    pub async fn subscriptions(&self) -> Result<Vec<String>, MailboxError> {
        self.live()?.read(|conn, _| Ok(folders::subscriptions(conn)?.into_iter().collect())).await
    }

    /// Makes a folder, and those above it that are missing. Durable.
    ///
    /// # Errors
    /// [`MailboxError::AlreadyExists`], [`MailboxError::BadName`], [`MailboxError::SpecialUse`],
    /// [`MailboxError::Limit`], or what storage reports.
    pub async fn create(
        &self,
        name: &str,
        special_use: Option<SpecialUse>,
    ) -> Result<Folder, MailboxError> {
        let name = normalise(name)?;
        self.run(|live, this| async move {
            let folder =
                live.durable(move |work| folders::create(work, &name, special_use)).await?;
            this.feed().list_changed();
            Ok(folder)
        })
        .await
    }

    /// Deletes a folder with its messages. Those under it stay; the name is then listed without an id. Durable.
    ///
    /// # Errors
    /// [`MailboxError::Forbidden`] for INBOX; [`MailboxError::NoSuchFolder`], also for a name that is only there
    /// because of others; or what storage reports.
    pub async fn delete(&self, name: &str) -> Result<(), MailboxError> {
        let name = normalise(name)?;
        self.run(|live, this| async move {
            let folder = live.durable(move |work| folders::delete(work, &name)).await?;
            this.feed().gone(folder);
            this.feed().list_changed();
            this.sweep_soon();
            Ok(())
        })
        .await
    }

    /// Renames a folder and what lies under it. Of INBOX the messages move to a new folder of that name, and
    /// INBOX stays, with what lies under it (RFC 9051 §6.3.6). Durable; a power cut while a large INBOX is moved
    /// leaves some messages here and some there, none lost.
    ///
    /// # Errors
    /// [`MailboxError::NoSuchFolder`], [`MailboxError::AlreadyExists`], [`MailboxError::BadName`],
    /// [`MailboxError::Forbidden`] if the new name lies under the old one, or what storage reports.
    pub async fn rename(&self, from: &str, to: &str) -> Result<(), MailboxError> {
        let (from, to) = (normalise(from)?, normalise(to)?);
        if from == INBOX {
            return self.rename_inbox(to).await;
        }
        self.run(|live, this| async move {
            live.durable(move |work| folders::rename(work, &from, &to)).await?;
            this.feed().list_changed();
            Ok(())
        })
        .await
    }

    async fn rename_inbox(&self, to: String) -> Result<(), MailboxError> {
        self.run(|live, this| async move {
            let inbox =
                live.read(|conn, _| Ok(FolderRow::by_name(conn, INBOX)?.folder_id())).await?;
            let target = to.clone();
            live.durable(move |work| folders::create(work, &target, None)).await?;
            this.feed().inbox_renamed(to.clone());
            this.carry_all(&live, inbox, all_uids(), to, Transfer::Move, Timestamp::now()).await?;
            Ok(())
        })
        .await
    }

    /// Subscribes a name or ends its subscription. Durable.
    ///
    /// # Errors
    /// [`MailboxError::BadName`] or what storage reports.
    pub async fn subscribe(&self, name: &str, subscribed: bool) -> Result<(), MailboxError> {
        let name = normalise(name)?;
        self.run(|live, this| async move {
            if live.durable(move |work| folders::subscribe(work, &name, subscribed)).await? {
                this.feed().list_changed();
            }
            Ok(())
        })
        .await
    }

    /// A folder's figures; its counters are kept, so this costs the same for any size.
    ///
    /// # Errors
    /// [`MailboxError::NoSuchFolder`] or what storage reports.
    pub async fn status(&self, name: &str) -> Result<Status, MailboxError> {
        let name = normalise(name)?;
        self.live()?.read(move |conn, _| FolderRow::by_name(conn, &name)?.status(conn)).await
    }

    /// The figures of all folders, by name: for LIST-STATUS (RFC 5819).
    ///
    /// # Errors
    /// What storage reports.
    pub async fn status_all(&self) -> Result<Vec<(String, Status)>, MailboxError> {
        self.live()?
            .read(|conn, _| {
                FolderRow::all(conn)?
                    .into_iter()
                    .map(|row| Ok((row.name.clone(), row.status(conn)?)))
                    .collect()
            })
            .await
    }

    /// The names and figures of these folders; those that are gone are left out.
    ///
    /// # Errors
    /// What storage reports.
    pub async fn statuses(
        &self,
        folders: Vec<FolderId>,
    ) -> Result<Vec<(String, Status)>, MailboxError> {
        self.live()?
            .read(move |conn, _| {
                let mut found = Vec::with_capacity(folders.len());
                for folder in folders {
                    match FolderRow::by_id(conn, folder) {
                        Ok(row) => found.push((row.name.clone(), row.status(conn)?)),
                        Err(MailboxError::NoSuchFolder) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(found)
            })
            .await
    }

    /// Opens a folder.
    ///
    /// # Errors
    /// [`MailboxError::NoSuchFolder`] or what storage reports.
    pub async fn select(&self, name: &str, mode: SelectMode) -> Result<Selected, MailboxError> {
        let name = normalise(name)?;
        changes::select(&*self.live()?, name, mode).await
    }

    /// What changed in the folder after `since`.
    ///
    /// # Errors
    /// [`MailboxError::NoSuchFolder`] if it was deleted, or what storage reports.
    pub async fn changes(&self, folder: FolderId, since: ModSeq) -> Result<Changes, MailboxError> {
        changes::changes(&*self.live()?, folder, since).await
    }
}
