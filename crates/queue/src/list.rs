//! What operators see of the queue.

use std::collections::BTreeMap;

use jiff::Timestamp;
use letterlock_address::{Domain, Mailbox, ReversePath};
use letterlock_vault::{AccountId, DeliveryId, Slice};
use rusqlite::{Connection, Row, params};

use crate::error::QueueError;
use crate::model::{EntryId, Notify, Origin, RowId, RowKind, RowState};
use crate::operate::entry_of;
use crate::queue::Queue;
use crate::schema::{self, Head};
use crate::sql::{self, HEAD_COLUMNS};

/// Entries looked at in one slice of a listing.
const SLICE: u32 = 200;

/// Which messages to list: those of which one recipient fulfils all conditions. The default is all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The recipient is in this state.
    pub state: Option<RowState>,
    /// The recipient is this account.
    pub account: Option<AccountId>,
    /// The recipient's domain.
    pub domain: Option<Domain>,
    /// The recipient's address, compared in canonical form.
    pub recipient: Option<Mailbox>,
    /// The envelope's sender, where the server may know it; compared in canonical form.
    pub sender: Option<Mailbox>,
}

/// A message in a listing.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Its entry, for the next page.
    pub entry: EntryId,
    /// The message.
    pub id: DeliveryId,
    /// When it was received.
    pub received_at: Timestamp,
    /// Where it came from.
    pub origin: Origin,
    /// The envelope's sender; `None` if only the owners of the recipients' mailboxes may know it.
    pub reverse_path: Option<ReversePath>,
    /// Octets of its body.
    pub size: u64,
    /// How many recipients are in which state.
    pub states: BTreeMap<RowState, usize>,
    /// The earliest next attempt of its recipients.
    pub next_attempt: Option<Timestamp>,
}

/// A message with all that is known of its recipients.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The message.
    pub summary: Summary,
    /// RFC 3461's ENVID, where the server may know it.
    pub envid: Option<String>,
    /// Its recipients, in the order of the envelope. Those whose mail is filed are not there any more.
    pub rows: Vec<ShownRow>,
}

/// A recipient as an operator sees it.
#[derive(Clone, Debug)]
pub struct ShownRow {
    /// Its row.
    pub row: RowId,
    /// Its address.
    pub address: Mailbox,
    /// Where it is.
    pub kind: RowKind,
    /// How far the message is.
    pub state: RowState,
    /// The account, if it is local.
    pub account: Option<AccountId>,
    /// Whether only the account's owner can open it.
    pub sealed: bool,
    /// When it is tried next.
    pub next_attempt: Option<Timestamp>,
    /// How often it was tried.
    pub attempts: u32,
    /// What was said at the last try.
    pub last_reply: Option<String>,
    /// RFC 3461's NOTIFY.
    pub notify: Notify,
    /// What was decided about transport security at the last try that came to it.
    pub security: Option<String>,
}

impl Queue {
    /// Messages in the order of their acceptance, behind the entry `after`: up to `limit` that pass the filter. Looks
    /// at as many as it takes to find them, but lets others work in between. What cannot be read is logged and left out.
    ///
    /// # Errors
    /// `Vault`.
    pub async fn list(
        &self,
        filter: Filter,
        after: Option<EntryId>,
        limit: usize,
    ) -> Result<Vec<Summary>, QueueError> {
        self.flush().await?;
        let filter = Canonical::from(filter);
        let mut after = after.map_or(-1, |entry| entry.0);
        let mut listed: Vec<Summary> = Vec::new();
        self.database
            .sliced(move |connection| {
                let page = heads(connection, after)?;
                let end = (page.len() as u64) < u64::from(SLICE);
                for (entry, head) in page {
                    if listed.len() >= limit {
                        break;
                    }
                    after = entry.0;
                    let head = match head {
                        Ok(head) => head,
                        Err(error) => {
                            tracing::error!(entry = entry.0, %error, "a message cannot be listed");
                            continue;
                        }
                    };
                    if !filter.takes_sender(&head) {
                        continue;
                    }
                    let rows = rows(connection, entry)?;
                    if rows.iter().any(|row| filter.takes(row)) {
                        listed.push(Summary::new(entry, &head, &rows));
                    }
                }
                Ok(match end || listed.len() >= limit {
                    true => Slice::Done(std::mem::take(&mut listed)),
                    false => Slice::More,
                })
            })
            .await
    }

    /// All that is known of a message; `None` if it is not in the queue.
    ///
    /// # Errors
    /// `Vault`, `Row`.
    pub async fn show(&self, id: DeliveryId) -> Result<Option<Shown>, QueueError> {
        self.flush().await?;
        self.database
            .read(move |connection| {
                let Some(entry) = entry_of(connection, id)? else { return Ok(None) };
                let head = connection
                    .prepare_cached(sql::ENTRY)?
                    .query_row([entry.0], |row| Ok(Head::read(row)))??;
                let rows = rows(connection, entry)?;
                Ok(Some(Shown {
                    summary: Summary::new(entry, &head, &rows),
                    envid: head.envid,
                    rows,
                }))
            })
            .await
    }
}

/// A filter with its addresses as they are compared.
struct Canonical {
    filter: Filter,
    recipient: Option<String>,
    sender: Option<String>,
}

impl From<Filter> for Canonical {
    fn from(filter: Filter) -> Self {
        let recipient = filter.recipient.as_ref().map(Mailbox::canonical);
        let sender = filter.sender.as_ref().map(Mailbox::canonical);
        Self { filter, recipient, sender }
    }
}

impl Canonical {
    fn takes_sender(&self, head: &Head) -> bool {
        let Some(wanted) = &self.sender else { return true };
        let sender = head.reverse_path.as_ref().and_then(ReversePath::mailbox);
        sender.is_some_and(|sender| sender.canonical() == *wanted)
    }

    fn takes(&self, row: &ShownRow) -> bool {
        self.filter.state.is_none_or(|state| row.state == state)
            && self.filter.account.is_none_or(|account| row.account == Some(account))
            && self.filter.domain.as_ref().is_none_or(|domain| row.address.domain == *domain)
            && self.recipient.as_ref().is_none_or(|wanted| row.address.canonical() == *wanted)
    }
}

impl Summary {
    fn new(entry: EntryId, head: &Head, rows: &[ShownRow]) -> Self {
        let mut states = BTreeMap::new();
        for row in rows {
            *states.entry(row.state).or_default() += 1;
        }
        Self {
            entry,
            id: head.id,
            received_at: head.received_at,
            origin: head.origin,
            reverse_path: head.reverse_path.clone(),
            size: head.size,
            states,
            next_attempt: rows.iter().filter_map(|row| row.next_attempt).min(),
        }
    }
}

/// What describes the next entries, or why it cannot be read.
type Heads = Vec<(EntryId, Result<Head, QueueError>)>;

fn heads(connection: &Connection, after: i64) -> Result<Heads, QueueError> {
    let mut statement = connection.prepare_cached(sql::ENTRIES)?;
    let mut rows = statement.query(params![after, SLICE])?;
    let mut heads = Vec::new();
    while let Some(row) = rows.next()? {
        heads.push((EntryId(row.get(HEAD_COLUMNS)?), Head::read(row)));
    }
    Ok(heads)
}

fn rows(connection: &Connection, entry: EntryId) -> Result<Vec<ShownRow>, QueueError> {
    let (first, last) = entry.rows();
    let mut statement = connection.prepare_cached(sql::ROWS)?;
    let mut found = statement.query([first, last])?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        match ShownRow::read(row) {
            Ok(row) => rows.push(row),
            Err(error) => {
                tracing::error!(entry = entry.0, %error, "a recipient cannot be shown");
            }
        }
    }
    Ok(rows)
}

impl ShownRow {
    fn read(row: &Row<'_>) -> Result<Self, QueueError> {
        Ok(Self {
            row: RowId(row.get(0)?),
            address: schema::mailbox(&row.get::<_, String>(1)?)?,
            kind: schema::kind(&row.get::<_, String>(2)?)?,
            state: schema::state(&row.get::<_, String>(3)?)?,
            account: row.get(4)?,
            sealed: row.get(5)?,
            next_attempt: row.get::<_, Option<i64>>(6)?.map(schema::time).transpose()?,
            attempts: row.get(7)?,
            last_reply: row.get(8)?,
            notify: Notify::from_bits(row.get(9)?),
            security: row.get(10)?,
        })
    }
}
