//! From a message to what the commit writes: keys, envelopes, sealed pieces.
//!
//! All of this is done before the commit and beside it, so that the job which many connections share only inserts.

use bytes::Bytes;
use letterlock_address::ReversePath;
use letterlock_vault::{DeliveryId, Key, SealTo};
use rusqlite::{Transaction, params};

use crate::body::{self, CHUNK, Copy, MAX_CHUNKS, Place};
use crate::error::QueueError;
use crate::model::{
    EntryId, Filing, MAX_RECIPIENTS, NewEntry, NewRecipient, Notify, Ret, Route, RowId, RowKind,
    RowState, Seal, StoredFiling,
};
use crate::queue::{Accepted, Numbers};
use crate::schema::{flag_bits, origin_text, ret_text};

/// Bodies above this go into the file in pieces before the commit (STORAGE: large bodies never hold up a group).
pub(crate) const STAGE_ABOVE: usize = 256 * 1024;
/// Sealing to a public key takes 0.2 ms; from this many on it is not done on an async worker.
const MANY_SEALS: usize = 4;

/// A message ready to be committed.
pub(crate) struct Prepared {
    id: DeliveryId,
    received_at: i64,
    origin: &'static str,
    account: Option<letterlock_vault::AccountId>,
    flags: u32,
    hold_until: Option<i64>,
    size: u64,
    /// `None`: only owners may know it, and have it in their rows.
    reverse_path: Option<String>,
    ret: Option<Ret>,
    envid: Option<String>,
    server_key: Option<Vec<u8>>,
    rows: Vec<PreparedRow>,
    pub(crate) bodies: Bodies,
}

/// The copies of a body, or the keys to make them with.
pub(crate) struct Bodies {
    pub(crate) id: DeliveryId,
    pub(crate) plain: Bytes,
    pub(crate) keys: Vec<(Copy, Key)>,
    pub(crate) content: Content,
}

/// Where the pieces are.
pub(crate) enum Content {
    /// Here, to be written by the commit: piece by piece, for each copy in the order of the keys.
    Inline(Vec<Vec<Vec<u8>>>),
    /// In the file already, under these body numbers, in the order of the keys.
    Staged(Vec<i64>),
}

struct PreparedRow {
    kind: RowKind,
    state: RowState,
    address: String,
    domain: String,
    account: Option<letterlock_vault::AccountId>,
    copy: Copy,
    next_attempt: Option<i64>,
    notify: Notify,
    orcpt: Option<String>,
    forward: Option<String>,
    folder: Option<String>,
    flags: Option<String>,
    private: Option<Vec<u8>>,
    envelope: Option<Vec<u8>>,
}

/// The additional data of the server copy's content key.
pub(crate) fn server_key_data(id: DeliveryId) -> Vec<u8> {
    [&b"letterlock queue content 1 "[..], &id.to_bytes()].concat()
}

/// The additional data of what a row keeps for its owner.
pub(crate) fn private_data(id: DeliveryId, position: u16) -> Vec<u8> {
    [&b"letterlock queue filing 1 "[..], &id.to_bytes(), &position.to_be_bytes()].concat()
}

/// Seals what is needed to file a message under its content key.
pub(crate) fn seal_filing(
    content: &Key,
    id: DeliveryId,
    position: u16,
    filing: Filing,
) -> Result<Vec<u8>, QueueError> {
    let text = serde_json::to_vec(&StoredFiling::from(filing))
        .map_err(|error| QueueError::Row(error.to_string()))?;
    Ok(content.seal(&private_data(id, position), &text))
}

impl NewEntry {
    /// Whether preparing it is more than an async worker should do in one go.
    pub(crate) fn is_heavy(&self) -> bool {
        let public = |recipient: &&NewRecipient| {
            matches!(
                &recipient.route,
                Route::Local { seal: Seal::Owner(SealTo::Public { .. }), .. }
            )
        };
        self.body.len() > CHUNK || self.recipients.iter().filter(public).count() >= MANY_SEALS
    }
}

/// Makes keys and envelopes, and the pieces of a body that is not to be staged: one of up to `inline` octets.
pub(crate) fn prepare(entry: NewEntry, wrap: &Key, inline: usize) -> Result<Prepared, QueueError> {
    let id = entry.id;
    if entry.recipients.is_empty() {
        return Err(QueueError::NoRecipients(id));
    }
    let size = entry.body.len() as u64;
    if entry.recipients.len() > MAX_RECIPIENTS || body::chunk_count(size) > MAX_CHUNKS {
        return Err(QueueError::TooLarge(id));
    }
    let for_owner = |recipient: &NewRecipient| {
        matches!(&recipient.route, Route::Local { seal: Seal::Owner(_), .. })
    };
    let sealed = entry.recipients.iter().any(for_owner).then(Key::random);
    let server = (!entry.recipients.iter().all(for_owner)).then(Key::random);

    let mut rows = Vec::with_capacity(entry.recipients.len());
    for (position, recipient) in (0..=u16::MAX).zip(&entry.recipients) {
        rows.push(prepare_row(&entry, position, recipient, sealed.as_ref())?);
    }
    let server_key = server.as_ref().map(|key| wrap.seal(&server_key_data(id), key.expose()));
    let keys: Vec<(Copy, Key)> = sealed
        .map(|key| (Copy::Sealed, key))
        .into_iter()
        .chain(server.map(|key| (Copy::Server, key)))
        .collect();
    let readable = server_key.is_some();
    let content = match entry.body.len() > inline {
        true => Content::Staged(Vec::new()),
        false => Content::Inline(seal_pieces(&entry.body, 0..body::chunk_count(size), id, &keys)),
    };
    Ok(Prepared {
        id,
        received_at: entry.received_at.as_microsecond(),
        origin: origin_text(entry.origin),
        account: match entry.origin {
            crate::Origin::Submission { account } => Some(account),
            _ => None,
        },
        flags: flag_bits(entry.smtputf8, entry.body_type, entry.require_tls),
        hold_until: entry.hold_until.map(|at| at.as_microsecond()),
        size,
        reverse_path: readable.then(|| entry.reverse_path.to_string()),
        ret: entry.ret.filter(|_| readable),
        envid: entry.envid.filter(|_| readable),
        server_key,
        rows,
        bodies: Bodies { id, plain: entry.body, keys, content },
    })
}

fn prepare_row(
    entry: &NewEntry,
    position: u16,
    recipient: &NewRecipient,
    sealed: Option<&Key>,
) -> Result<PreparedRow, QueueError> {
    let mut row = PreparedRow {
        kind: RowKind::Local,
        state: RowState::Parked,
        address: recipient.address.to_string(),
        domain: recipient.address.domain.to_string(),
        account: None,
        copy: Copy::Server,
        next_attempt: None,
        notify: recipient.notify,
        orcpt: recipient.orcpt.clone(),
        forward: None,
        folder: None,
        flags: None,
        private: None,
        envelope: None,
    };
    match &recipient.route {
        Route::Remote => {
            row.kind = RowKind::Remote;
            row.next_attempt = Some(entry.received_at.as_microsecond());
            row.forward =
                recipient.forward.as_ref().map(|forward| forward.reverse_path.to_string());
        }
        Route::Waiting => row.kind = RowKind::Waiting,
        Route::Local { account, folder, flags, seal: Seal::Server } => {
            row.account = Some(*account);
            row.folder = Some(folder.clone());
            row.flags = Some(flags.join(" "));
        }
        Route::Local { account, folder, flags, seal: Seal::Owner(seal_to) } => {
            // Some(..) whenever a recipient is sealed for an owner, as this one is.
            let content = sealed.ok_or(QueueError::Sealed(entry.id))?;
            let envelope = seal_to
                .wrap(content, entry.id)
                .map_err(|source| QueueError::Seal { id: entry.id, source })?;
            row.account = Some(*account);
            row.copy = Copy::Sealed;
            row.envelope = Some(envelope.0);
            row.private = Some(seal_filing(
                content,
                entry.id,
                position,
                filing(entry, recipient, folder, flags),
            )?);
            row.orcpt = None;
        }
    }
    row.state = row.kind.first_state();
    if let (Some(release), true) = (entry.hold_until, row.kind != RowKind::Waiting) {
        // Local ones too: `Queue::due` parks them when their time has come.
        row.state = RowState::Due;
        row.next_attempt = Some(release.as_microsecond());
    }
    Ok(row)
}

fn filing(entry: &NewEntry, recipient: &NewRecipient, folder: &str, flags: &[String]) -> Filing {
    Filing {
        folder: folder.to_owned(),
        flags: flags.to_vec(),
        reverse_path: ReversePath::clone(&entry.reverse_path),
        orcpt: recipient.orcpt.clone(),
        ret: entry.ret,
        envid: entry.envid.clone(),
    }
}

/// Packs and seals some pieces of a body: for each copy its pieces.
pub(crate) fn seal_pieces(
    plain: &[u8],
    numbers: std::ops::Range<u64>,
    id: DeliveryId,
    keys: &[(Copy, Key)],
) -> Vec<Vec<Vec<u8>>> {
    let count = body::chunk_count(plain.len() as u64);
    let mut copies: Vec<Vec<Vec<u8>>> = keys.iter().map(|_| Vec::new()).collect();
    for number in numbers {
        let from =
            usize::try_from(number).unwrap_or(usize::MAX).saturating_mul(CHUNK).min(plain.len());
        let packed = body::pack(&plain[from..plain.len().min(from + CHUNK)]);
        for ((copy, key), pieces) in keys.iter().zip(&mut copies) {
            pieces.push(body::seal(key, *copy, Place { id, number, count }, &packed));
        }
    }
    copies
}

/// Writes pieces of a body, the first of them with this number.
pub(crate) fn insert_pieces(
    transaction: &Transaction<'_>,
    body: i64,
    first: u64,
    pieces: &[Vec<u8>],
) -> rusqlite::Result<()> {
    let mut insert =
        transaction.prepare_cached("INSERT INTO chunks (chunk, data) VALUES (?, ?)")?;
    let start = body::chunk_range(body).0 + i64::try_from(first).unwrap_or(i64::MAX);
    for (chunk, piece) in (start..).zip(pieces) {
        insert.execute(params![chunk, piece])?;
    }
    Ok(())
}

/// Writes a prepared message, within the transaction that makes it durable.
pub(crate) fn insert(
    transaction: &Transaction<'_>,
    prepared: &Prepared,
    numbers: &Numbers,
) -> Result<Accepted, QueueError> {
    // Taken here, where jobs run one after the other: so rows ascend with the order of commits.
    let entry = EntryId(numbers.take_entry());
    let mut bodies = [None, None];
    for (at, (copy, _)) in prepared.bodies.keys.iter().enumerate() {
        bodies[*copy as usize] = Some(match &prepared.bodies.content {
            Content::Inline(copies) => {
                let body = numbers.take_body();
                insert_pieces(transaction, body, 0, &copies[at])?;
                body
            }
            Content::Staged(staged) => complete_staged(transaction, staged[at])?,
        });
    }
    insert_entry(transaction, entry, prepared, bodies)?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO rows (row, kind, state, address, domain, account, size, copy, next_attempt, notify, orcpt, forward,
             folder, flags, private, envelope)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    let mut rows: Vec<RowId> = Vec::with_capacity(prepared.rows.len());
    for (position, row) in (0..=u16::MAX).zip(&prepared.rows) {
        rows.push(entry.row(position));
        insert.execute(params![
            entry.row(position).0,
            row.kind.as_str(),
            row.state.as_str(),
            row.address,
            row.domain,
            row.account,
            stored(prepared.size),
            row.copy as u8,
            row.next_attempt,
            row.notify.to_bits(),
            row.orcpt,
            row.forward,
            row.folder,
            row.flags,
            row.private,
            row.envelope,
        ])?;
    }
    Ok(Accepted { entry, rows })
}

fn complete_staged(transaction: &Transaction<'_>, body: i64) -> Result<i64, QueueError> {
    match transaction.execute("DELETE FROM loose WHERE body = ? AND state = 'staged'", [body])? {
        0 => Err(QueueError::Gone),
        _ => Ok(body),
    }
}

fn insert_entry(
    transaction: &Transaction<'_>,
    entry: EntryId,
    prepared: &Prepared,
    [sealed_body, server_body]: [Option<i64>; 2],
) -> Result<(), QueueError> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO entries (entry, id, received_at, origin, account, flags, size, sealed_body, server_body,
             server_key, reverse_path, ret, envid, hold_until)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    let inserted = insert.execute(params![
        entry.0,
        prepared.id,
        prepared.received_at,
        prepared.origin,
        prepared.account,
        prepared.flags,
        stored(prepared.size),
        sealed_body,
        server_body,
        prepared.server_key,
        prepared.reverse_path,
        prepared.ret.map(ret_text),
        prepared.envid,
        prepared.hold_until,
    ]);
    match inserted {
        Err(rusqlite::Error::SqliteFailure(code, _))
            if code.code == rusqlite::ErrorCode::ConstraintViolation =>
        {
            Err(QueueError::Exists(prepared.id))
        }
        other => Ok(other.map(|_| ())?),
    }
}

impl Prepared {
    /// Whether some recipient is to be sent to.
    pub(crate) fn has_remote(&self) -> bool {
        self.rows.iter().any(|row| row.kind == RowKind::Remote)
    }

    /// Whether some recipient is to be filed.
    pub(crate) fn has_local(&self) -> bool {
        self.rows.iter().any(|row| row.kind == RowKind::Local)
    }
}

/// Octets as SQLite holds them.
pub(crate) fn stored(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
