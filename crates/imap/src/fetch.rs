//! FETCH and UID FETCH (RFC 9051 §6.4.5): rows in batches, bodies one at a time, ascending, as fast as the client reads.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use letterlock_imap_wire::response::vanished;
use letterlock_imap_wire::{Code, FetchCommand, FetchItem, Window};
use letterlock_mailbox::{
    BodyReader, FlagChange, FlagOperation, FlagRow, Flags, MailboxError, ModSeq, Row, SystemFlags,
    UidRanges,
};

use crate::flags;
use crate::large::{self, LARGE};
use crate::message::{Message, Plan, Seen, write};
use crate::outcome::{Outcome, Reply, Stop};
use crate::select::Selected;
use crate::session::{Dialect, Naming, Resync, User};
use crate::wire::Wire;

/// Rows asked for at once.
const ROWS: usize = 500;
/// Rows asked for at once when messages are opened: `\Seen` is set for so many before the client has them.
const ROWS_WITH_BODIES: usize = 50;

/// How far a FETCH came.
#[derive(Default)]
pub(crate) struct Progress {
    written: usize,
    /// The first thing that went wrong with a single message; the others are answered all the same.
    trouble: Option<Reply>,
}

impl Progress {
    /// A message could not be sent.
    fn failed(&mut self, stop: Stop) -> Result<(), Stop> {
        match stop {
            Stop::End(_) => return Err(stop),
            Stop::Refuse(reply) => self.trouble.get_or_insert(reply),
        };
        Ok(())
    }
}

/// Runs the command. Messages that others removed meanwhile are passed over.
pub(crate) async fn fetch(
    user: &User,
    selected: &mut Selected,
    command: &FetchCommand,
    wire: &mut Wire,
) -> Outcome {
    let since = command.modifiers.changed_since.map(ModSeq);
    // Where `\Seen` may be set unasked, the UID comes with it (RFC 7162 §3.2.4). UIDFETCH begins with it.
    let unasked =
        user.resync() >= Resync::Condstore && command.items.iter().any(FetchItem::sets_seen);
    let tells_uid = (command.uid || unasked) && user.naming() == Naming::Any;
    let plan = Plan::new(&command.items, tells_uid, since.is_some());
    let ranges = selected.view.resolve(&command.set, command.uid).map_err(|_| no_such_number())?;
    let ranges = match command.modifiers.partial {
        Some(window) => windowed(selected, command, &ranges, window)?,
        None => ranges,
    };
    let wanted = selected.view.count_in(&ranges);
    let size = if plan.body { ROWS_WITH_BODIES } else { ROWS };
    let mut progress = Progress::default();
    if command.modifiers.vanished {
        tell_vanished(user, selected, command, wire).await?;
    }
    // Without any message there is nothing to ask for.
    let (folder, columns) = (selected.folder, plan.columns);
    let rows = |after| {
        let (mailbox, ranges) = (user.mailbox(), &ranges);
        async move {
            match since {
                Some(since) => {
                    mailbox.rows_changed_since(folder, ranges, columns, since, after, size).await
                }
                None => mailbox.rows(folder, ranges, columns, after, size).await,
            }
        }
    };
    let mut batch = match wanted {
        0 => Vec::new(),
        _ => rows(0).await?,
    };
    while let Some(last) = batch.last().map(|row| row.uid) {
        let more = ranges.last() > Some(last);
        // The next rows are read while these are written.
        let next = async { if more { rows(last).await } else { Ok(Vec::new()) } };
        let written = write_batch(user, selected, &plan, &batch, wire, &mut progress);
        let (next, written) = tokio::join!(next, written);
        written?;
        batch = next?;
    }
    if let Some(trouble) = progress.trouble {
        return Ok(trouble);
    }
    if progress.written == 0 && wanted > 0 && !command.uid && since.is_none() {
        return Ok(Reply::no("Those messages were removed").with(Code::ExpungeIssued));
    }
    Ok(Reply::ok("Fetched"))
}

/// The PARTIAL modifier (RFC 9394 §3.3): of the messages in the set, those in the window. CHANGEDSINCE then chooses among
/// these (§3.4).
fn windowed(
    selected: &Selected,
    command: &FetchCommand,
    ranges: &UidRanges,
    window: Window,
) -> Result<UidRanges, Stop> {
    if !command.uid {
        return Err(Reply::bad("PARTIAL needs UID FETCH").into());
    }
    let uids: Vec<u32> = selected.view.uids_in(ranges);
    Ok(window.of(&uids).iter().copied().collect())
}

/// The VANISHED modifier: first, what of the set went since (RFC 7162 §3.2.6).
async fn tell_vanished(
    user: &User,
    selected: &Selected,
    command: &FetchCommand,
    wire: &mut Wire,
) -> Result<(), Stop> {
    let Some(since) = command.modifiers.changed_since.filter(|_| command.uid) else {
        return Err(Reply::bad("VANISHED needs UID FETCH and CHANGEDSINCE").into());
    };
    if user.resync() < Resync::Qresync {
        return Err(Reply::bad("VANISHED needs ENABLE QRESYNC").into());
    }
    let changes = user.mailbox().changes(selected.folder, ModSeq(since)).await?;
    // `*` reaches beyond the last message: what came after it may be what went.
    let wanted = match command.set.resolve(u32::MAX) {
        Some(uids) => uids,
        None => selected.view.resolve(&command.set, true).unwrap_or_default(),
    };
    // What still has a number is told without EARLIER, after this.
    let gone = changes.vanished.intersect(&wanted).without(&selected.view.numbered());
    vanished(&mut wire.out, true, &gone);
    Ok(wire.relieve().await?)
}

/// RFC 9051 §9, `seq-number`: a client's error.
pub(crate) fn no_such_number() -> Stop {
    Reply::bad("There is no message of that number").into()
}

pub(crate) async fn write_batch(
    user: &User,
    selected: &mut Selected,
    plan: &Plan,
    rows: &[Row],
    wire: &mut Wire,
    progress: &mut Progress,
) -> Result<(), Stop> {
    let mut seen = if plan.sets_seen && !selected.is_read_only() {
        set_seen(user, selected, rows).await?
    } else {
        HashMap::new()
    };
    let mut ahead = Ahead::default();
    for (place, row) in rows.iter().enumerate() {
        // Too new to have a number.
        let Some(number) = selected.view.number_of(row.uid) else { continue };
        let content = match open(user, selected, plan, &rows[place..], &mut ahead).await {
            Ok(Some(content)) => content,
            Ok(None) => continue,
            Err(error) => {
                progress.failed(error.into())?;
                continue;
            }
        };
        let now = seen.remove(&row.uid);
        let mut flags = Vec::new();
        if plan.flags || now.is_some() {
            let current = now.as_ref().map_or(&row.flags, |now| &now.flags);
            selected.introduce(&current.keywords, &mut wire.out);
            let recent = user.dialect() == Dialect::Rev1 && selected.view.is_recent(row.uid);
            flags = flags::to_wire(current, recent);
        }
        let seen = now.as_ref().map(|now| Seen {
            modseq: now.modseq.0,
            tell_modseq: user.resync() >= Resync::Condstore,
        });
        let octets = content.octets();
        let name = user.message_name(number, row.uid);
        let message = Message { name, row, flags: &flags, seen, octets };
        let written = match &content {
            Content::Octets(_) => match write(plan, &message, wire).await {
                Ok(sent) => Ok(Ok(sent?)),
                Err(error) => Ok(Err(error)),
            },
            Content::Large(reader) => large::write(plan, &message, reader, wire).await,
        };
        match written {
            Ok(Ok(())) => {
                progress.written += 1;
                // Of a message that could not be sent, the client hears with the news.
                if let Some(now) = now {
                    selected.view.made(&now);
                }
            }
            Ok(Err(error)) => {
                progress.failed(Reply::no(error.to_string()).with(Code::UnknownCte).into())?;
            }
            Err(stop) => progress.failed(stop)?,
        }
    }
    Ok(())
}

/// What a response is made from.
enum Content {
    /// The message, or what the plan needs of it.
    Octets(Bytes),
    /// A message that is read while it is sent.
    Large(Box<BodyReader>),
}

impl Content {
    fn octets(&self) -> &[u8] {
        match self {
            Self::Octets(octets) => octets,
            Self::Large(_) => &[],
        }
    }
}

/// Messages that one job has read, until it is their turn.
#[derive(Default)]
struct Ahead(VecDeque<(u32, Result<Option<Bytes>, MailboxError>)>);

impl Ahead {
    /// The message of that UID, if it was read.
    fn take(&mut self, uid: u32) -> Option<Result<Option<Bytes>, MailboxError>> {
        // Those before it were passed over.
        while let Some((next, body)) = self.0.pop_front() {
            if next == uid {
                return Some(body);
            }
        }
        None
    }
}

/// What the plan needs of the first of these messages; `None` if it is gone.
async fn open(
    user: &User,
    selected: &Selected,
    plan: &Plan,
    rows: &[Row],
    ahead: &mut Ahead,
) -> Result<Option<Content>, MailboxError> {
    let (mailbox, Some(row)) = (user.mailbox(), rows.first()) else { return Ok(None) };
    if !plan.body {
        return Ok(Some(Content::Octets(row.header.clone().unwrap_or_default())));
    }
    if row.size >= LARGE {
        let reader = mailbox.reader(selected.folder, row.uid).await?;
        return Ok(reader.map(|reader| Content::Large(Box::new(reader))));
    }
    let body = match ahead.take(row.uid) {
        Some(body) => body,
        None => {
            let small = rows.iter().take_while(|row| row.size < LARGE);
            let uids: Vec<u32> = small.map(|row| row.uid).collect();
            let bodies = mailbox.bodies(selected.folder, &uids).await?;
            ahead.0 = uids.into_iter().zip(bodies).collect();
            ahead.take(row.uid).unwrap_or(Ok(None))
        }
    };
    Ok(body?.map(Content::Octets))
}

/// Sets `\Seen` where it is missing; answers the new flags of those messages. A mailbox that cannot be written to can
/// still be read.
async fn set_seen(
    user: &User,
    selected: &Selected,
    rows: &[Row],
) -> Result<HashMap<u32, FlagRow>, Stop> {
    let unseen: UidRanges = rows
        .iter()
        .filter(|row| !row.flags.system.contains(SystemFlags::SEEN))
        .map(|row| row.uid)
        .collect();
    if unseen.is_empty() {
        return Ok(HashMap::new());
    }
    let change =
        FlagChange { operation: FlagOperation::Add, flags: Flags::from(SystemFlags::SEEN) };
    match user.mailbox().store(selected.folder, &unseen, change, None).await {
        Ok(outcome) => Ok(outcome.changed.into_iter().map(|row| (row.uid, row)).collect()),
        Err(MailboxError::Locked) => Err(MailboxError::Locked.into()),
        Err(error) => {
            tracing::debug!(%error, "\\Seen was not set");
            Ok(HashMap::new())
        }
    }
}
