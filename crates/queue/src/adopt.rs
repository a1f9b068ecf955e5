//! What becomes of waiting mail when a role finds its holder.

use jiff::Timestamp;
use letterlock_address::{Domain, Mailbox, ReversePath};
use letterlock_vault::{AccountId, SealTo};
use rusqlite::{Row, Transaction, params};

use crate::error::QueueError;
use crate::model::{Filing, RowId, Seal};
use crate::operate::{PAGE, Unreadable};
use crate::prepare::seal_filing;
use crate::queue::{Queue, blocking};
use crate::schema::{self, Head};
use crate::settle;
use crate::sql::{self, HEAD_COLUMNS};

/// Where waiting mail goes.
#[derive(Clone)]
pub enum Adoption {
    /// Into an account's INBOX. Sealed for its owner, the mail cannot be read by the server any more.
    Local {
        /// Whose.
        account: AccountId,
        /// Who can read it until it is filed.
        seal: Seal,
    },
    /// To an address elsewhere, in place of the one it was sent to; due at once.
    Remote(Mailbox),
}

impl Queue {
    /// Domains whose role addresses have mail waiting.
    ///
    /// # Errors
    /// `Vault`, `Row`.
    pub async fn waiting_domains(&self) -> Result<Vec<Domain>, QueueError> {
        self.database
            .read(|connection| {
                let mut next = connection.prepare_cached(sql::WAITING_DOMAIN)?;
                let mut domains: Vec<Domain> = Vec::new();
                let mut last = String::new();
                while let Some(domain) =
                    next.query_row([&last], |row| row.get::<_, Option<String>>(0))?
                {
                    domains.push(schema::domain(&domain)?);
                    last = domain;
                }
                Ok(domains)
            })
            .await
    }

    /// The role addresses of a domain that have mail waiting, as they were written.
    ///
    /// # Errors
    /// `Vault`, `Row`.
    pub async fn waiting_addresses(&self, domain: &Domain) -> Result<Vec<Mailbox>, QueueError> {
        let domain = domain.clone();
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(sql::WAITING_ADDRESSES)?;
                let rows = statement.query_map([domain.as_str()], |row| row.get::<_, String>(0))?;
                rows.map(|address| schema::mailbox(&address?)).collect()
            })
            .await
    }

    /// Gives the mail that waits for a role address to whom the role leads now. The number of messages. Durable. What
    /// is held stays as it is, and what cannot be read is put on hold.
    ///
    /// # Errors
    /// `Vault`; `Seal` and `Damaged` name the message that is in the way.
    pub async fn adopt_waiting(
        &self,
        address: &Mailbox,
        adoption: Adoption,
        now: Timestamp,
    ) -> Result<usize, QueueError> {
        let mut adopted = 0;
        loop {
            let (page, unreadable) = self.waiting_page(address.clone()).await?;
            if page.is_empty() && unreadable.is_empty() {
                return Ok(adopted);
            }
            self.set_aside(unreadable).await?;
            let mut sealed = Vec::with_capacity(page.len());
            for waiting in page {
                sealed.push(self.seal_waiting(waiting, &adoption).await?);
            }
            let adoption = adoption.clone();
            let remote = matches!(adoption, Adoption::Remote(_));
            let (changed, left) = self
                .database
                .commit(move |transaction| {
                    let changed = adopt(transaction, &sealed, &adoption, now)?;
                    let entries = sealed.iter().map(|waiting| waiting.row.entry());
                    Ok::<_, QueueError>((changed, settle::settle_all(transaction, entries)?))
                })
                .await?;
            adopted += changed;
            self.note(left);
            self.ring(remote, !remote);
        }
    }

    async fn waiting_page(
        &self,
        address: Mailbox,
    ) -> Result<(Vec<Waiting>, Vec<Unreadable>), QueueError> {
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(sql::WAITING)?;
                let mut rows =
                    statement.query(params![address.domain.as_str(), address.to_string(), PAGE])?;
                let (mut page, mut unreadable) = (Vec::new(), Vec::new());
                while let Some(row) = rows.next()? {
                    match Waiting::read(row) {
                        Ok(waiting) => page.push(waiting),
                        Err(error) => unreadable.push(Unreadable::new(row, error)?),
                    }
                }
                Ok((page, unreadable))
            })
            .await
    }

    /// Makes the envelope by which an owner opens what so far the server's copy is, if it is for an owner.
    async fn seal_waiting(
        &self,
        waiting: Waiting,
        adoption: &Adoption,
    ) -> Result<Sealed, QueueError> {
        let Waiting { head, row, orcpt, server_key } = waiting;
        let Adoption::Local { seal: Seal::Owner(seal_to), .. } = adoption else {
            return Ok(Sealed { row, envelope: None, private: None });
        };
        let id = head.id;
        let wrapped = server_key.ok_or(QueueError::Damaged { id, part: "the key of its body" })?;
        let content = self.unwrap_key(id, &wrapped)?;
        let filing = Filing {
            folder: "INBOX".to_owned(),
            flags: Vec::new(),
            reverse_path: head.reverse_path.unwrap_or(ReversePath::Null),
            orcpt,
            ret: head.ret,
            envid: head.envid,
        };
        let private = seal_filing(&content, id, row.position(), filing)?;
        let wrap = {
            let seal_to = seal_to.clone();
            move || seal_to.wrap(&content, id).map_err(|source| QueueError::Seal { id, source })
        };
        let envelope = match seal_to {
            SealTo::Door { .. } => wrap()?,
            SealTo::Public { .. } => blocking(wrap).await??,
        };
        Ok(Sealed { row, envelope: Some(envelope.0), private: Some(private) })
    }
}

struct Waiting {
    head: Head,
    row: RowId,
    orcpt: Option<String>,
    server_key: Option<Vec<u8>>,
}

impl Waiting {
    fn read(row: &Row<'_>) -> Result<Self, QueueError> {
        Ok(Self {
            head: Head::read(row)?,
            row: RowId(row.get(HEAD_COLUMNS)?),
            orcpt: row.get(HEAD_COLUMNS + 1)?,
            server_key: row.get(HEAD_COLUMNS + 2)?,
        })
    }
}

struct Sealed {
    row: RowId,
    envelope: Option<Vec<u8>>,
    private: Option<Vec<u8>>,
}

fn adopt(
    transaction: &Transaction<'_>,
    sealed: &[Sealed],
    adoption: &Adoption,
    now: Timestamp,
) -> Result<usize, QueueError> {
    let mut changed = 0;
    for Sealed { row, envelope, private } in sealed {
        changed += match adoption {
            Adoption::Remote(address) => transaction
                .prepare_cached(
                    "UPDATE rows SET kind = 'remote', state = 'due', address = ?, domain = ?, next_attempt = ?
                     WHERE row = ? AND state = 'waiting'",
                )?
                .execute(params![address.to_string(), address.domain.as_str(), now.as_microsecond(), row.0])?,
            Adoption::Local { account, .. } => transaction
                .prepare_cached(
                    "UPDATE rows SET kind = 'local', state = 'parked', account = ?, envelope = ?, private = ?,
                         orcpt = iif(?3 IS NULL, orcpt, NULL)
                     WHERE row = ? AND state = 'waiting'",
                )?
                .execute(params![account, envelope, private, row.0])?,
        };
    }
    Ok(changed)
}
