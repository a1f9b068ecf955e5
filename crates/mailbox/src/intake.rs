//! Messages on their way into a folder, octet by octet.
//!
//! A small message stays in memory until all of the command's messages are there. A large one, or many, are written to
//! the file as they come, described, packed and sealed, under entries that no message has yet; one transaction at the end
//! makes messages of all of them. What was begun and not stored is given up, and cleared away in the background: when the
//! intake is dropped, after a lock at the next unlock, after a crash when the file is opened.

use std::sync::Arc;

use jiff::Timestamp;
use letterlock_imap_wire::InternalDate;

use crate::body::{self, CHUNK, CHUNKS_PER_JOB, LARGE, Prepared, Upload};
use crate::change_jobs::{self, Moved, Ready};
use crate::error::MailboxError;
use crate::folder_row::FolderRow;
use crate::handle::Handle;
use crate::live::Live;
use crate::messages::SLICE;
use crate::name::normalise;
use crate::quota::Usage;
use crate::types::{Appended, EmailId, Flags, FolderId};

/// How many octets are packed and written at a time.
const STEP: usize = CHUNK * CHUNKS_PER_JOB;
/// How many octets of complete messages, and how many of them, wait in memory.
const WAITING_OCTETS: usize = 1 << 20;
const WAITING: usize = 128;
/// What headers and descriptions of one command's messages may take in memory, in octets.
const DESCRIBED: usize = 32 << 20;

/// See the module's text. Of each message: [`Intake::begin`], [`Intake::announce`] and [`Intake::push`] as often as there
/// is something, [`Intake::end`]; [`Intake::store`] after the last one.
#[derive(Debug)]
pub struct Intake {
    /// Gone for good when a step did not come to its end.
    state: Option<Box<State>>,
}

#[derive(Debug)]
struct State {
    handle: Handle,
    /// The folder's name, normalised.
    folder: String,
    coming: Option<Coming>,
    ready: Vec<Ready>,
    /// All that was announced.
    announced: Usage,
    /// What goes for it.
    leaving: Option<(FolderId, u32)>,
    /// What else there was when that was first asked for.
    held: Option<Usage>,
    /// Octets in memory: of complete messages that are not in the file, and of what is told of all of them.
    waiting: usize,
    described: usize,
    claim: Claim,
}

/// The message that is coming.
#[derive(Debug)]
struct Coming {
    flags: Flags,
    date: InternalDate,
    announced: u64,
    /// Octets that were not taken on.
    octets: Vec<u8>,
    upload: Option<Box<Upload>>,
}

/// Bodies in the file that are given up when this is dropped.
#[derive(Debug)]
struct Claim {
    handle: Handle,
    bodies: Vec<(i64, EmailId)>,
}

impl Handle {
    /// Begins to take messages for the folder of that name.
    ///
    /// # Errors
    /// [`MailboxError::NoSuchFolder`] or what storage reports.
    pub async fn intake(&self, name: &str) -> Result<Intake, MailboxError> {
        let folder = normalise(name)?;
        let live = self.live()?;
        live.check_writable()?;
        let name = folder.clone();
        live.read(move |conn, _| FolderRow::by_name(conn, &name).map(drop)).await?;
        let state = State {
            handle: self.clone(),
            folder,
            coming: None,
            ready: Vec::new(),
            announced: Usage::default(),
            leaving: None,
            held: None,
            waiting: 0,
            described: 0,
            claim: Claim { handle: self.clone(), bodies: Vec::new() },
        };
        Ok(Intake { state: Some(Box::new(state)) })
    }
}

impl Intake {
    /// The caller removes this message when the new ones are stored: the quota counts what is added in the end. To be
    /// called before the first message begins.
    ///
    /// # Errors
    /// [`MailboxError::Locked`] if the intake is of no use any more.
    pub fn instead_of(&mut self, folder: FolderId, uid: u32) -> Result<(), MailboxError> {
        self.state()?.leaving = Some((folder, uid));
        Ok(())
    }

    /// The next message begins.
    ///
    /// # Errors
    /// [`MailboxError::OverQuota`], [`MailboxError::Limit`] for too many at once, or what storage reports.
    pub async fn begin(&mut self, flags: Flags, date: InternalDate) -> Result<(), MailboxError> {
        let state = self.state()?;
        if state.described > DESCRIBED {
            return Err(MailboxError::Limit("messages at once"));
        }
        state.coming = Some(Coming { flags, date, announced: 0, octets: Vec::new(), upload: None });
        state.announced.messages += 1;
        state.check_quota().await
    }

    /// So many more octets of the message are to come.
    ///
    /// # Errors
    /// [`MailboxError::TooBig`] or [`MailboxError::OverQuota`] before they have come, or what storage reports.
    pub async fn announce(&mut self, octets: u64) -> Result<(), MailboxError> {
        let state = self.state()?;
        let Some(coming) = &mut state.coming else { return Err(misused()) };
        coming.announced = coming.announced.saturating_add(octets);
        state.handle.check_size(usize::try_from(coming.announced).unwrap_or(usize::MAX))?;
        state.announced.octets = state.announced.octets.saturating_add(octets);
        state.check_quota().await
    }

    /// The message's next octets.
    ///
    /// # Errors
    /// What storage reports; the intake is of no use any more then.
    pub async fn push(&mut self, octets: &[u8]) -> Result<(), MailboxError> {
        for octets in octets.chunks(STEP) {
            let Some(coming) = &mut self.state()?.coming else { return Err(misused()) };
            coming.octets.extend_from_slice(octets);
            let bound = if coming.upload.is_some() { STEP } else { LARGE };
            if coming.octets.len() > bound {
                self.step(Step::Write).await?;
            }
        }
        Ok(())
    }

    /// The message is complete; answers how many octets it has.
    ///
    /// # Errors
    /// As [`Intake::push`].
    pub async fn end(&mut self) -> Result<u64, MailboxError> {
        let Some(mut state) = self.state.take() else { return Err(MailboxError::Locked) };
        if state.is_uploading() {
            self.state = Some(state);
            self.step(Step::Complete).await?;
        } else {
            // Nothing is written, so nothing has to be claimed by a task.
            state.keep().await?;
            self.state = Some(state);
        }
        if self.state()?.is_full() {
            self.step(Step::PutAside).await?;
        }
        Ok(self.state()?.ready.last().map_or(0, |ready| ready.prepared.size))
    }

    /// Makes messages of all that has come, all or none. Durable.
    ///
    /// # Errors
    /// [`MailboxError::NoSuchFolder`], [`MailboxError::OverQuota`], or what storage reports.
    pub async fn store(self) -> Result<Appended, MailboxError> {
        let Some(state) = self.state else { return Err(MailboxError::Locked) };
        let handle = state.handle.clone();
        handle.run(|live, this| async move { state.store(&live, &this).await }).await
    }

    fn state(&mut self) -> Result<&mut State, MailboxError> {
        self.state.as_deref_mut().ok_or(MailboxError::Locked)
    }

    /// Runs as a task of its own, so that what it writes is claimed even if nobody waits for it any more.
    async fn step(&mut self, step: Step) -> Result<(), MailboxError> {
        let Some(mut state) = self.state.take() else { return Err(MailboxError::Locked) };
        let handle = state.handle.clone();
        let state = handle
            .run(move |live, _| async move {
                match step {
                    Step::Write => state.write(&live, false).await?,
                    Step::Complete => state.complete(&live).await?,
                    Step::PutAside => state.put_aside(&live).await?,
                }
                Ok(state)
            })
            .await?;
        self.state = Some(state);
        Ok(())
    }
}

/// What is to be done with what has come.
#[derive(Debug, Clone, Copy)]
enum Step {
    Write,
    Complete,
    PutAside,
}

impl State {
    /// Asks storage once; the transaction at the end judges again.
    async fn check_quota(&mut self) -> Result<(), MailboxError> {
        let quota = self.handle.quota();
        if !quota.limits() {
            return Ok(());
        }
        let held = match self.held {
            Some(held) => held,
            None => {
                let leaving = self.leaving;
                self.handle.live()?.read(move |conn, _| Usage::without(conn, leaving)).await?
            }
        };
        self.held = Some(held);
        if quota.holds(held.plus(self.announced)) { Ok(()) } else { Err(MailboxError::OverQuota) }
    }

    fn is_uploading(&self) -> bool {
        self.coming.as_ref().is_some_and(|coming| coming.upload.is_some())
    }

    /// Whether what waits in memory is to be written.
    fn is_full(&self) -> bool {
        let waiting =
            self.ready.iter().rev().take_while(|ready| ready.prepared.uploaded().is_none());
        self.waiting > WAITING_OCTETS || waiting.take(WAITING + 1).count() > WAITING
    }

    /// Packs and writes what has come.
    async fn write(&mut self, live: &Live, last: bool) -> Result<(), MailboxError> {
        let Some(coming) = &mut self.coming else { return Err(misused()) };
        let octets = std::mem::take(&mut coming.octets);
        let mut upload = match coming.upload.take() {
            Some(upload) => upload,
            None => Box::new(Upload::new(&live.hash_key)),
        };
        let packed = tokio::task::spawn_blocking(move || {
            let pieces = upload.take(&octets, last);
            // The buffer is used again.
            (upload, pieces, octets)
        });
        let (mut upload, pieces, mut octets) = packed.await.map_err(|_| MailboxError::Locked)?;
        octets.clear();
        coming.octets = octets;
        let began = upload.body().is_none();
        let written = upload.write(&live.db, pieces).await;
        if began {
            self.claim.bodies.extend(upload.body());
        }
        coming.upload = Some(upload);
        written
    }

    /// A message whose octets are all in memory stays there.
    async fn keep(&mut self) -> Result<(), MailboxError> {
        let live = self.handle.live()?;
        let Some(coming) = self.coming.take() else { return Err(misused()) };
        let prepared = Prepared::new(coming.octets.into(), &live.hash_key).await;
        self.waiting += prepared.memory();
        self.done(prepared, coming.flags, coming.date);
        Ok(())
    }

    /// Writes the rest of a message of which a part is in the file.
    async fn complete(&mut self, live: &Live) -> Result<(), MailboxError> {
        self.write(live, true).await?;
        let Some(Coming { flags, date, upload: Some(upload), .. }) = self.coming.take() else {
            return Err(misused());
        };
        let prepared = tokio::task::spawn_blocking(move || upload.finish())
            .await
            .map_err(|_| MailboxError::Locked)??;
        self.described += prepared.memory();
        self.done(prepared, flags, date);
        Ok(())
    }

    fn done(&mut self, prepared: Prepared, flags: Flags, date: InternalDate) {
        self.described += described(&flags);
        self.ready.push(Ready { prepared, flags, date });
    }

    /// Writes the messages that wait in memory.
    async fn put_aside(&mut self, live: &Live) -> Result<(), MailboxError> {
        for ready in std::mem::take(&mut self.ready) {
            let Ready { prepared, flags, date } = ready;
            let prepared = if prepared.uploaded().is_some() {
                prepared
            } else {
                let email = prepared.email;
                let prepared = prepared.upload(&live.db).await?;
                self.claim.bodies.extend(prepared.uploaded().map(|body| (body, email)));
                self.described += prepared.memory();
                prepared
            };
            self.ready.push(Ready { prepared, flags, date });
        }
        self.waiting = 0;
        Ok(())
    }

    async fn store(
        mut self: Box<Self>,
        live: &Live,
        this: &Handle,
    ) -> Result<Appended, MailboxError> {
        let (quota, leaving) = (this.quota(), self.leaving);
        let name = std::mem::take(&mut self.folder);
        let messages = std::mem::take(&mut self.ready);
        let octets = messages.iter().map(|message| message.prepared.size).sum();
        let added = Usage { octets, messages: messages.len() as u64 };
        let _bulk = (messages.len() > SLICE).then(|| live.db.bulk());
        let saved = Timestamp::now().as_second();
        let (folder, uids) = live
            .durable(move |work| {
                quota.check_instead(work.tx, added, leaving)?;
                let mut folder = FolderRow::by_name(work.tx, &name)?;
                let uids = change_jobs::append(work, &mut folder, &messages, saved)?;
                Ok((folder, uids))
            })
            .await?;
        self.claim.bodies.clear();
        this.index_soon(uids.len() as u64);
        this.tell([Moved { folder: folder.folder_id(), modseq: folder.modseq() }]);
        Ok(Appended { folder: folder.folder_id(), uid_validity: folder.uid_validity, uids })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let bodies = std::mem::take(&mut self.bodies);
        // Without a runtime the process is ending.
        if bodies.is_empty() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let handle = self.handle.clone();
        tokio::spawn(async move {
            // Not given up is not lost: the next unlock does it.
            let Ok(live) = handle.live() else { return };
            let bodies = Arc::new(bodies);
            let given_up = live.db.write::<_, MailboxError>(move |tx| {
                bodies.iter().try_for_each(|(body, email)| body::give_up(tx, *body, *email))
            });
            let given_up = given_up.await;
            tracing::debug!(done = given_up.is_ok(), "messages that did not come were given up");
            handle.sweep_soon();
        });
    }
}

/// What flags take in memory, about.
fn described(flags: &Flags) -> usize {
    flags.keywords.iter().map(|keyword| size_of::<String>() + keyword.len()).sum()
}

fn misused() -> MailboxError {
    MailboxError::damaged("octets of no message")
}
