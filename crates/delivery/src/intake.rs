//! The door: from a whole message to a durable one, and into the mailboxes that are open.

use std::sync::Arc;

use jiff::Timestamp;
use letterlock_address::{Domain, Mailbox, ReversePath};
use letterlock_directory::{Account, Directory, KeyMode, Snapshot};
use letterlock_login::Login;
use letterlock_mailbox::{Filing, Handle, Mailboxes, Way};
use letterlock_queue::{Forward, NewEntry, NewRecipient, Origin, Queue, QueueError, Route, Seal};
use letterlock_state::{Event, State};
use letterlock_vault::AccountId;
use tokio::sync::{Semaphore, oneshot};

use crate::adopt::{self, to_owner};
use crate::error::AcceptError;
use crate::filer::Filer;
use crate::forward::{self, Forwarding, Passing};
use crate::incoming::{Folder, Incoming, Recipient};
use crate::notice::Notices;
use crate::route::{self, Destination, RecipientDecision};
use crate::settle::Settler;
use crate::work::Work;

/// Messages that may be between acceptance and their mailbox at the same time. Beyond it
/// clients wait for their 250, so that memory stays bounded when the disk is slow.
const IN_HAND: usize = 256;

/// Accepts messages. One for the whole server.
pub struct Intake {
    directory: Arc<Directory>,
    mailboxes: Arc<Mailboxes>,
    queue: Arc<Queue>,
    login: Arc<Login>,
    settler: Settler,
    filer: Arc<Filer>,
    forwarding: Forwarding,
    state: Option<Arc<State>>,
    notices: Option<Arc<dyn Notices>>,
    in_hand: Arc<Semaphore>,
}

/// A recipient whose mailbox is open: filed as soon as the message is durable.
pub(crate) struct Direct {
    /// The recipient's place in the entry.
    pub(crate) at: usize,
    pub(crate) recipient: Recipient,
    pub(crate) handle: Handle,
}

/// What is to be queued, what is to be filed at once, and what holds the mailboxes' states
/// still until then.
#[derive(Default)]
pub(crate) struct Prepared {
    pub(crate) recipients: Vec<NewRecipient>,
    pub(crate) direct: Vec<Direct>,
    /// Accounts whose mailboxes the server opens itself.
    pub(crate) server_held: Vec<AccountId>,
    pub(crate) filings: Vec<Filing>,
}

impl Intake {
    /// Puts the handles together. `forwarding` says how mail is passed on to other servers.
    pub fn new(
        directory: Arc<Directory>,
        mailboxes: Arc<Mailboxes>,
        queue: Arc<Queue>,
        login: Arc<Login>,
        settler: Settler,
        forwarding: Forwarding,
    ) -> Intake {
        Intake {
            directory,
            mailboxes,
            queue,
            login,
            settler,
            filer: Arc::default(),
            forwarding,
            state: None,
            notices: None,
            in_hand: Arc::new(Semaphore::new(IN_HAND)),
        }
    }

    /// Tells what becomes of each message to its trace.
    pub fn traced(self, state: Arc<State>) -> Intake {
        Intake { state: Some(state), ..self }
    }

    /// Tells of filed messages whose senders asked to hear of it.
    pub fn noticed(self, notices: Arc<dyn Notices>) -> Intake {
        Intake { notices: Some(notices), ..self }
    }

    /// Where the trace goes.
    pub(crate) fn state(&self) -> Option<&State> {
        self.state.as_deref()
    }

    /// What becomes of mail to an address: what the directory says, and the return addresses that were made here. Never
    /// waits; asked at RCPT.
    pub fn recipient(&self, snapshot: &Snapshot, address: &Mailbox) -> RecipientDecision {
        route::decide(snapshot, &self.forwarding, address)
    }

    /// Accepts a message for all its recipients or for none. On return it is durable, and
    /// 250 may be said. Once it has begun to be committed it is also filed, even if the caller
    /// does not wait.
    pub async fn accept(&self, incoming: Incoming) -> Result<(), AcceptError> {
        let permit =
            self.in_hand.clone().acquire_owned().await.map_err(|_| AcceptError::Changed)?;
        let relaying = incoming.origin != Origin::Inbound;
        let snapshot = self.directory.snapshot();
        let plan = route::plan(&snapshot, &self.forwarding, &incoming.recipients, relaying)?;
        if plan.is_empty() {
            // Everybody's mail is to be discarded: accepted and dropped is what the operator asked for.
            tracing::info!(delivery = %incoming.id, "accepted and dropped");
            if let Some(state) = &self.state {
                state.record(incoming.id, Timestamp::now(), Event::Accepted { recipients: 0 });
            }
            return Ok(());
        }
        let (passed, plan): (Vec<_>, Vec<_>) =
            plan.into_iter().partition(|to| matches!(to, Destination::Passed { .. }));
        let passed = self.pass_on(&snapshot, &incoming, passed, plan.is_empty()).await?;
        let prepared = self.prepare(plan, &incoming).await?;
        let (told, outcome) = oneshot::channel();
        let work = Work {
            directory: self.directory.clone(),
            mailboxes: self.mailboxes.clone(),
            queue: self.queue.clone(),
            login: self.login.clone(),
            settler: self.settler.clone(),
            filer: self.filer.clone(),
            state: self.state.clone(),
            notices: self.notices.clone(),
            returned: self.has_returned(&snapshot, &incoming),
        };
        tokio::spawn(work.carry_out(incoming, prepared, passed, told, permit));
        outcome.await.unwrap_or(Err(AcceptError::CutOff))
    }

    /// The entries of the copies that are passed on. `alone`: nobody else gets the message, so the first of them has
    /// its id.
    async fn pass_on(
        &self,
        snapshot: &Snapshot,
        incoming: &Incoming,
        passed: Vec<Destination>,
        alone: bool,
    ) -> Result<Vec<(NewEntry, Passing)>, AcceptError> {
        let mut copies = forward::group(passed);
        if copies.is_empty() {
            return Ok(Vec::new());
        }
        let mut forwarding = self.forwarding.clone();
        // In a domain that is not ours, what comes back would go elsewhere.
        forwarding.srs_domain.take_if(|domain| !snapshot.is_local(domain));
        let incoming = incoming.clone();
        let domains: Vec<_> = copies.iter().map(|copy| snapshot.domain(&copy.by.domain)).collect();
        let local =
            incoming.reverse_path.mailbox().is_some_and(|sender| snapshot.is_local(&sender.domain));
        // A seal takes two RSA signatures: not on an async worker.
        let made = tokio::task::spawn_blocking(move || {
            let copies = copies.drain(..).zip(domains).enumerate();
            let made = copies.map(|(number, (copy, domain))| {
                let keeps_id = alone && number == 0;
                forwarding.entry(&incoming, copy, domain.as_deref(), local, keeps_id)
            });
            made.collect::<Vec<_>>()
        });
        made.await.map_err(|_| AcceptError::CutOff)
    }

    /// Whether a message without a sender came to a return address that was made here.
    fn has_returned(&self, snapshot: &Snapshot, incoming: &Incoming) -> bool {
        let leads_back = |recipient: &Recipient| {
            let decision = self.recipient(snapshot, &recipient.address);
            matches!(decision, RecipientDecision::Returns(_))
        };
        incoming.reverse_path.is_null() && incoming.recipients.iter().any(leads_back)
    }

    /// How a message that is made here, such as a report, gets to an address: by the resolution that any mail has, with
    /// all that an alias leads to. What is passed on to another server has its `forward`, with the null reverse-path.
    /// Empty if it cannot be delivered at all.
    pub fn ways(&self, address: &Mailbox) -> Vec<NewRecipient> {
        let snapshot = self.directory.snapshot();
        let recipients = [Recipient::from(address.clone())];
        let plan = route::plan(&snapshot, &self.forwarding, &recipients, true).unwrap_or_default();
        let way = |destination| {
            let (recipient, forward, route) = match destination {
                Destination::Elsewhere(recipient) => (recipient, None, Route::Remote),
                Destination::Passed { recipient, .. } => {
                    let forward = Forward { reverse_path: ReversePath::Null };
                    (recipient, Some(forward), Route::Remote)
                }
                Destination::Nobody(recipient) => (recipient, None, Route::Waiting),
                Destination::Here { recipient, account } => {
                    let account = snapshot.account(account)?;
                    let seal = self.mailboxes.seal_to(account.id);
                    let seal = Seal::Owner(seal.unwrap_or_else(|| to_owner(&account)));
                    let folder = Folder::Inbox.name().into();
                    let route =
                        Route::Local { account: account.id, folder, flags: Vec::new(), seal };
                    (recipient, None, route)
                }
            };
            Some(NewRecipient { forward, ..NewRecipient::new(recipient.address, route) })
        };
        plan.into_iter().filter_map(way).collect()
    }

    /// Gives mail that waited for a domain's role addresses to whom they lead now, if to
    /// anybody. The number of messages.
    pub async fn adopt_waiting(&self, domain: &Domain) -> Result<usize, QueueError> {
        adopt::adopt(&self.directory, &self.queue, domain).await
    }

    /// Asks each mailbox how it wants its mail now, in the order of the accounts: two
    /// messages that ask for the same mailboxes can so never wait for each other.
    async fn prepare(
        &self,
        mut plan: Vec<Destination>,
        incoming: &Incoming,
    ) -> Result<Prepared, AcceptError> {
        plan.sort_by_key(|destination| match destination {
            Destination::Here { account, .. } => Some(*account),
            _ => None,
        });
        let mut prepared = Prepared::default();
        for destination in plan {
            let (recipient, route) = match destination {
                Destination::Elsewhere(recipient) => (recipient, Route::Remote),
                Destination::Passed { recipient, .. } => (recipient, Route::Remote),
                Destination::Nobody(recipient) => (recipient, Route::Waiting),
                Destination::Here { recipient, account } => {
                    let route = self.local(&mut prepared, &recipient, account, incoming).await?;
                    (recipient, route)
                }
            };
            let Recipient { address, notify, orcpt } = recipient;
            prepared.recipients.push(NewRecipient { address, notify, orcpt, forward: None, route });
        }
        Ok(prepared)
    }

    async fn local(
        &self,
        prepared: &mut Prepared,
        recipient: &Recipient,
        account: AccountId,
        incoming: &Incoming,
    ) -> Result<Route, AcceptError> {
        let account = self.directory.snapshot().account(account).ok_or(AcceptError::Changed)?;
        if account.mode == KeyMode::ServerHeld {
            prepared.server_held.push(account.id);
        }
        let filing = self.filing(&account).await;
        let seal = match &filing.way {
            Way::Park(seal) => seal.clone().unwrap_or_else(|| to_owner(&account)),
            // What is to be released later is the queue's to park then.
            Way::Direct(_, seal) if incoming.asked.hold_until.is_some() => seal.clone(),
            Way::Direct(handle, seal) => {
                let (at, handle) = (prepared.recipients.len(), handle.clone());
                prepared.direct.push(Direct { at, recipient: recipient.clone(), handle });
                seal.clone()
            }
        };
        prepared.filings.push(filing);
        let folder = incoming.folder.name().to_owned();
        Ok(Route::Local { account: account.id, folder, flags: Vec::new(), seal: Seal::Owner(seal) })
    }

    /// The mailbox's way of taking mail now. One that the server itself has a key to is
    /// unlocked first.
    async fn filing(&self, account: &Account) -> Filing {
        let filing = self.mailboxes.filing(account.id).await;
        if account.mode == KeyMode::UserHeld || !matches!(filing.way, Way::Park(None)) {
            return filing;
        }
        drop(filing);
        if let Err(error) = self.login.unlock_server_held(account).await {
            tracing::warn!(account = %account.id, %error, "a server-held mailbox does not open");
        }
        self.mailboxes.filing(account.id).await
    }
}
