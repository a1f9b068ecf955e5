//! The door: from a whole message to a durable one, and into the mailboxes that are open.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use letterlock_address::{Domain, Mailbox, ReversePath};
use letterlock_directory::{Account, Directory, KeyMode, Resolution, Target};
use letterlock_login::Login;
use letterlock_mailbox::{AccountState, Filing, Handle, Mailboxes, Way};
use letterlock_queue::{
    NewEntry, NewRecipient, Notify, Origin, Queue, QueueError, Route, RowId, Seal,
};
use letterlock_vault::{AccountId, DeliveryId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::adopt::{self, to_owner};
use crate::error::AcceptError;
use crate::filing;
use crate::route::{self, Destination};
use crate::settle::{Settled, Settler};

/// Messages that may be between acceptance and their mailbox at the same time. Beyond it
/// clients wait for their 250, so that memory stays bounded when the disk is slow.
const IN_HAND: usize = 256;

/// The folder for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folder {
    /// Where mail goes.
    Inbox,
    /// Where mail goes that the author's domain wants quarantined.
    Junk,
}

impl Folder {
    fn name(self) -> &'static str {
        match self {
            Folder::Inbox => "INBOX",
            Folder::Junk => "Junk",
        }
    }
}

/// A message to accept, with all trace fields that it gets before it is known whose copy it is.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Its name from here on.
    pub id: DeliveryId,
    /// When it was received.
    pub received_at: Timestamp,
    /// Who brought it. Only our own people may have it carried elsewhere.
    pub origin: Origin,
    /// Where bounces go.
    pub reverse_path: ReversePath,
    /// Whether its envelope or header needs SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// Whether it has octets above 127.
    pub eight_bit: bool,
    /// The message.
    pub body: Bytes,
    /// Who gets it, as accepted at RCPT.
    pub recipients: Vec<Mailbox>,
    /// Where it goes in mailboxes here.
    pub folder: Folder,
}

/// Accepts messages. One for the whole server.
pub struct Intake {
    directory: Arc<Directory>,
    mailboxes: Arc<Mailboxes>,
    queue: Arc<Queue>,
    login: Arc<Login>,
    settler: Settler,
    in_hand: Arc<Semaphore>,
}

/// A recipient whose mailbox is open: filed as soon as the message is durable.
struct Direct {
    /// The recipient's place in the entry.
    at: usize,
    address: Mailbox,
    handle: Handle,
}

/// What is to be queued, what is to be filed at once, and what holds the mailboxes' states
/// still until then.
#[derive(Default)]
struct Prepared {
    recipients: Vec<NewRecipient>,
    direct: Vec<Direct>,
    /// Accounts whose mailboxes the server opens itself.
    server_held: Vec<AccountId>,
    filings: Vec<Filing>,
}

/// What is needed to commit and file one message.
struct Work {
    directory: Arc<Directory>,
    mailboxes: Arc<Mailboxes>,
    queue: Arc<Queue>,
    login: Arc<Login>,
    settler: Settler,
}

impl Intake {
    /// Puts the handles together.
    pub fn new(
        directory: Arc<Directory>,
        mailboxes: Arc<Mailboxes>,
        queue: Arc<Queue>,
        login: Arc<Login>,
        settler: Settler,
    ) -> Intake {
        Intake {
            directory,
            mailboxes,
            queue,
            login,
            settler,
            in_hand: Arc::new(Semaphore::new(IN_HAND)),
        }
    }

    /// Accepts a message for all its recipients or for none. On return it is durable, and
    /// 250 may be said. Once it has begun to be committed it is also filed, even if the caller
    /// does not wait.
    pub async fn accept(&self, incoming: Incoming) -> Result<(), AcceptError> {
        let permit =
            self.in_hand.clone().acquire_owned().await.map_err(|_| AcceptError::Changed)?;
        let relaying = incoming.origin != Origin::Inbound;
        let plan = route::plan(&self.directory.snapshot(), &incoming.recipients, relaying)?;
        if plan.is_empty() {
            // Everybody's mail is to be discarded: accepted and dropped is what the operator asked for.
            tracing::info!(delivery = %incoming.id, "accepted and dropped");
            return Ok(());
        }
        let prepared = self.prepare(plan, incoming.folder).await?;
        let (told, outcome) = oneshot::channel();
        let work = Work {
            directory: self.directory.clone(),
            mailboxes: self.mailboxes.clone(),
            queue: self.queue.clone(),
            login: self.login.clone(),
            settler: self.settler.clone(),
        };
        tokio::spawn(work.carry_out(incoming, prepared, told, permit));
        outcome.await.unwrap_or(Err(AcceptError::CutOff))
    }

    /// How a message that is made here, such as a bounce, gets to an address. `None` if it
    /// cannot be delivered at all.
    pub async fn route(&self, address: &Mailbox) -> Option<Route> {
        let snapshot = self.directory.snapshot();
        let account = match snapshot.resolve(address) {
            Resolution::NotLocal => return Some(Route::Remote),
            Resolution::Waiting => return Some(Route::Waiting),
            Resolution::Account(account) => account,
            Resolution::Aliased(targets) => targets.iter().find_map(|target| match target {
                Target::Account(account) => Some(*account),
                Target::Remote(_) => None,
            })?,
            Resolution::NoSuchUser | Resolution::Disabled(_) => return None,
        };
        let account = snapshot.account(account)?;
        let seal =
            Seal::Owner(self.mailboxes.seal_to(account.id).unwrap_or_else(|| to_owner(&account)));
        Some(Route::Local {
            account: account.id,
            folder: Folder::Inbox.name().into(),
            flags: Vec::new(),
            seal,
        })
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
        folder: Folder,
    ) -> Result<Prepared, AcceptError> {
        plan.sort_by_key(|destination| match destination {
            Destination::Here { account, .. } => Some(*account),
            Destination::Elsewhere(_) | Destination::Nobody(_) => None,
        });
        let mut prepared = Prepared::default();
        for destination in plan {
            let (address, route) = match destination {
                Destination::Elsewhere(address) => (address, Route::Remote),
                Destination::Nobody(address) => (address, Route::Waiting),
                Destination::Here { address, account } => {
                    let account =
                        self.directory.snapshot().account(account).ok_or(AcceptError::Changed)?;
                    if account.mode == KeyMode::ServerHeld {
                        prepared.server_held.push(account.id);
                    }
                    let filing = self.filing(&account).await;
                    let seal = match &filing.way {
                        Way::Park(seal) => seal.clone().unwrap_or_else(|| to_owner(&account)),
                        Way::Direct(handle, seal) => {
                            let (at, handle) = (prepared.recipients.len(), handle.clone());
                            prepared.direct.push(Direct { at, address: address.clone(), handle });
                            seal.clone()
                        }
                    };
                    prepared.filings.push(filing);
                    let (folder, flags) = (folder.name().to_owned(), Vec::new());
                    (
                        address,
                        Route::Local {
                            account: account.id,
                            folder,
                            flags,
                            seal: Seal::Owner(seal),
                        },
                    )
                }
            };
            prepared.recipients.push(NewRecipient {
                address,
                notify: Notify::default(),
                orcpt: None,
                route,
            });
        }
        Ok(prepared)
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

fn entry(incoming: &Incoming, recipients: Vec<NewRecipient>) -> NewEntry {
    NewEntry {
        id: incoming.id,
        received_at: incoming.received_at,
        origin: incoming.origin,
        reverse_path: incoming.reverse_path.clone(),
        ret: None,
        envid: None,
        smtputf8: incoming.smtputf8,
        eight_bit: incoming.eight_bit,
        body: incoming.body.clone(),
        recipients,
    }
}

impl Work {
    /// Commits, says so, and files what can be filed at once.
    async fn carry_out(
        self,
        incoming: Incoming,
        prepared: Prepared,
        told: oneshot::Sender<Result<(), AcceptError>>,
        permit: OwnedSemaphorePermit,
    ) {
        let Prepared { recipients, direct, server_held, filings } = prepared;
        // Whether the caller still listens makes no difference to what is done.
        let rows = match self.queue.accept(entry(&incoming, recipients)).await {
            Ok(accepted) => {
                tracing::info!(delivery = %incoming.id, recipients = accepted.rows.len(), octets = incoming.body.len(), "accepted");
                let _ = told.send(Ok(()));
                accepted.rows
            }
            Err(error) => {
                let _ = told.send(Err(error.into()));
                return;
            }
        };
        for direct in direct {
            self.file_now(&incoming, rows[direct.at], direct).await;
        }
        drop((filings, permit));
        for account in server_held {
            self.open_again(account).await;
        }
    }

    /// Files a message that is durable in the queue. If that fails, it stays parked there, and
    /// the account drains again.
    async fn file_now(&self, incoming: &Incoming, row: RowId, direct: Direct) {
        let Direct { address, handle, .. } = direct;
        let delivery = filing::delivery(
            incoming.id,
            &address,
            &incoming.reverse_path,
            incoming.received_at,
            incoming.folder.name(),
            &incoming.body,
        );
        let key = (delivery.id, delivery.recipient.clone());
        match handle.deliver(delivery).await {
            Ok(filed) => {
                tracing::info!(delivery = %incoming.id, account = %handle.account(), ?filed, "filed");
                self.settler.filed(Settled { handle, row, key });
            }
            Err(error) => {
                tracing::warn!(delivery = %incoming.id, account = %handle.account(), %error, "not filed yet");
                self.mailboxes.drain_again(handle.account());
            }
        }
    }

    /// A server-held mailbox that was locked while mail for it came: nobody else would unlock
    /// it, and the mail would stay parked.
    async fn open_again(&self, account: AccountId) {
        if self.mailboxes.state(account) != AccountState::Locked {
            return;
        }
        let Some(account) = self.directory.snapshot().account(account) else { return };
        if let Err(error) = self.login.unlock_server_held(&account).await {
            tracing::warn!(account = %account.id, %error, "a server-held mailbox does not open");
        }
    }
}
