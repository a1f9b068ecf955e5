//! Mail that waits to be filed, and how its body is read.

use bytes::Bytes;
use jiff::Timestamp;
use letterlock_address::Mailbox;
use letterlock_vault::{AccountId, DeliveryId, Envelope, Key};
use rusqlite::{Connection, Row, params};

use crate::body::{self, CHUNK, Copy, Place};
use crate::error::QueueError;
use crate::model::{EntryId, Filing, Notify, RowId, StoredFiling};
use crate::operate::Unreadable;
use crate::prepare::{private_data, server_key_data};
use crate::queue::{Queue, blocking};
use crate::schema::{self, Head};
use crate::sql::{self, HEAD_COLUMNS};

/// Pieces read by one job, 1 MiB of a body.
const READ_PIECES: usize = 16;

/// A message that is to be filed for one recipient.
pub struct Parked {
    /// The recipient's row, for [`Queue::filed`].
    pub row: RowId,
    /// The entry, for [`Queue::server_body`].
    pub entry: EntryId,
    /// The message.
    pub id: DeliveryId,
    /// The address it was sent to.
    pub recipient: Mailbox,
    /// When it was received.
    pub received_at: Timestamp,
    /// Octets of its body.
    pub size: u64,
    /// RFC 3461's NOTIFY.
    pub notify: Notify,
    /// The content key, sealed for the account. `None`: the server may read it.
    pub envelope: Option<Envelope>,
    body: i64,
    copy: Copy,
    kept: Kept,
}

/// What is needed to file it.
enum Kept {
    Clear(Filing),
    Private(Vec<u8>),
}

impl Parked {
    /// Folder, flags and sender. `content` is the key from [`Parked::envelope`], if there is one.
    ///
    /// # Errors
    /// `Sealed` if it takes a key and none was given, `Damaged` if it does not open.
    pub fn filing(&self, content: Option<&Key>) -> Result<Filing, QueueError> {
        let private = match &self.kept {
            Kept::Clear(filing) => return Ok(filing.clone()),
            Kept::Private(private) => private,
        };
        let damaged = || QueueError::Damaged { id: self.id, part: "where to file it" };
        let content = content.ok_or(QueueError::Sealed(self.id))?;
        let text = content
            .open(&private_data(self.id, self.row.position()), private)
            .map_err(|_| damaged())?;
        let stored: StoredFiling = serde_json::from_slice(&text).map_err(|_| damaged())?;
        stored.read().ok_or_else(damaged)
    }

    fn read(row: &Row<'_>) -> Result<Self, QueueError> {
        let head = Head::read(row)?;
        let at = |column: usize| HEAD_COLUMNS + column;
        let id = RowId(row.get(at(0))?);
        let copy = Copy::from_number(row.get(at(1))?);
        let body: Option<i64> = row.get(at(2))?;
        let kept = match row.get(at(5))? {
            Some(private) => Kept::Private(private),
            None => Kept::Clear(Filing {
                folder: row.get::<_, Option<String>>(at(7))?.unwrap_or_else(|| "INBOX".to_owned()),
                flags: row
                    .get::<_, Option<String>>(at(8))?
                    .as_deref()
                    .map(schema::flags)
                    .unwrap_or_default(),
                reverse_path: head.reverse_path.unwrap_or(letterlock_address::ReversePath::Null),
                orcpt: row.get(at(9))?,
                ret: head.ret,
                envid: head.envid,
            }),
        };
        Ok(Self {
            row: id,
            entry: id.entry(),
            id: head.id,
            recipient: schema::mailbox(&row.get::<_, String>(at(3))?)?,
            received_at: head.received_at,
            size: head.size,
            notify: Notify::from_bits(row.get(at(4))?),
            envelope: row.get::<_, Option<Vec<u8>>>(at(6))?.map(Envelope),
            body: body.ok_or(QueueError::Damaged { id: head.id, part: "its body is missing" })?,
            copy,
            kept,
        })
    }
}

impl Queue {
    /// The next parked messages of an account, in the order of their acceptance, behind the row `after`. Filed rows
    /// are not among them. New mail always joins at the end, so an account is drained when a page is empty. A row that
    /// cannot be read is put on hold, so that it keeps nothing else from being filed.
    ///
    /// # Errors
    /// `Vault`.
    pub async fn parked(
        &self,
        account: AccountId,
        after: Option<RowId>,
        limit: u32,
    ) -> Result<Vec<Parked>, QueueError> {
        self.flush().await?;
        let after = after.map_or(-1, |row| row.0);
        loop {
            let (parked, unreadable) = self.parked_page(account, after, limit).await?;
            let again = parked.is_empty() && !unreadable.is_empty();
            self.set_aside(unreadable).await?;
            if !again {
                return Ok(parked);
            }
        }
    }

    async fn parked_page(
        &self,
        account: AccountId,
        after: i64,
        limit: u32,
    ) -> Result<(Vec<Parked>, Vec<Unreadable>), QueueError> {
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(sql::PARKED)?;
                let mut rows = statement.query(params![account, after, limit])?;
                let (mut parked, mut unreadable) = (Vec::new(), Vec::new());
                while let Some(row) = rows.next()? {
                    match Parked::read(row) {
                        Ok(read) => parked.push(read),
                        Err(error) => unreadable.push(Unreadable::new(row, error)?),
                    }
                }
                Ok((parked, unreadable))
            })
            .await
    }

    /// Accounts that have parked mail, ascending, behind `after`: what is to be looked at after a start.
    ///
    /// # Errors
    /// `Vault`.
    pub async fn parked_accounts(
        &self,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<AccountId>, QueueError> {
        self.flush().await?;
        self.database
            .read(move |connection| {
                // One look into the index for each account, however many rows it has.
                let mut next = connection.prepare_cached(sql::PARKED_ACCOUNT)?;
                let mut last = after.map(|account| account.to_string()).unwrap_or_default();
                let mut accounts = Vec::new();
                while (accounts.len() as u64) < u64::from(limit) {
                    let Some(account) =
                        next.query_row([&last], |row| row.get::<_, Option<AccountId>>(0))?
                    else {
                        break;
                    };
                    last = account.to_string();
                    accounts.push(account);
                }
                Ok(accounts)
            })
            .await
    }

    /// The body of a parked message that has an envelope; `content` is the key from there.
    ///
    /// # Errors
    /// `Gone` if it was filed or cancelled meanwhile, `Damaged` if it does not open, `Vault`.
    pub async fn open_body(&self, parked: &Parked, content: &Key) -> Result<Bytes, QueueError> {
        self.read_body((parked.id, parked.size), (parked.body, parked.copy), content.clone(), None)
            .await
    }

    /// The content key of the server's copy.
    pub(crate) fn unwrap_key(&self, id: DeliveryId, wrapped: &[u8]) -> Result<Key, QueueError> {
        let opened = self.wrap.open_key(&server_key_data(id), wrapped);
        opened.map_err(|_| QueueError::Damaged { id, part: "the key of its body" })
    }

    /// Reads a body and opens it; the first pieces may have been read already.
    pub(crate) async fn read_body(
        &self,
        (id, size): (DeliveryId, u64),
        (body, copy): (i64, Copy),
        content: Key,
        mut ready: Option<Vec<Vec<u8>>>,
    ) -> Result<Bytes, QueueError> {
        let count = body::chunk_count(size);
        let damaged = || QueueError::Damaged { id, part: "its body" };
        let mut plain = Vec::with_capacity(usize::try_from(size).map_err(|_| damaged())?);
        let mut first = 0u64;
        while first < count {
            let pieces = match ready.take() {
                Some(pieces) => pieces,
                None => {
                    self.database
                        .read(move |connection| read_pieces(connection, body, first))
                        .await?
                }
            };
            if pieces.is_empty() {
                // Everything at once is what a deletion leaves; a part of it, what damage does.
                return Err(if first == 0 { QueueError::Gone } else { damaged() });
            }
            let read = pieces.len() as u64;
            let key = content.clone();
            let open = move || {
                let numbered = (first..).zip(&pieces);
                let opened = numbered.map(|(number, piece)| {
                    body::open(&key, copy, Place { id, number, count }, piece, &mut plain)
                });
                opened.collect::<Option<()>>().map(|()| plain)
            };
            // As at acceptance: one piece is opened here, more are not.
            let opened = if count == 1 { open() } else { blocking(open).await? };
            plain = opened.ok_or_else(damaged)?;
            first += read;
        }
        if first != count || plain.len() as u64 != size {
            return Err(damaged());
        }
        Ok(Bytes::from(plain))
    }
}

/// Pieces of a body from this one on, as many as one job should read.
pub(crate) fn read_pieces(
    connection: &Connection,
    body: i64,
    first: u64,
) -> Result<Vec<Vec<u8>>, QueueError> {
    let (start, end) = body::chunk_range(body);
    let mut statement = connection.prepare_cached(
        "SELECT data FROM chunks WHERE chunk >= ? AND chunk < ? ORDER BY chunk LIMIT ?",
    )?;
    let from = start + crate::prepare::stored(first);
    let rows = statement.query_map(params![from, end, READ_PIECES as u32], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

const _: () = assert!(READ_PIECES * CHUNK <= 1024 * 1024);
