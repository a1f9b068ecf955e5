//! From the commit into the mailboxes.

use std::sync::Arc;

use jiff::Timestamp;
use letterlock_directory::Directory;
use letterlock_login::Login;
use letterlock_mailbox::{AccountState, Filed, Mailboxes};
use letterlock_queue::{NewEntry, Queue, Route, RowId};
use letterlock_state::{Event, State};
use letterlock_vault::{AccountId, DeliveryId};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::bounce;
use crate::error::AcceptError;
use crate::filer::Filer;
use crate::filing;
use crate::forward::Passing;
use crate::incoming::Incoming;
use crate::intake::{Direct, Prepared};
use crate::notice::{FiledCopy, Notices, is_wanted};
use crate::settle::{Settled, Settler};

/// What is needed to commit and file one message.
pub(crate) struct Work {
    pub(crate) directory: Arc<Directory>,
    pub(crate) mailboxes: Arc<Mailboxes>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) login: Arc<Login>,
    pub(crate) settler: Settler,
    pub(crate) filer: Arc<Filer>,
    pub(crate) state: Option<Arc<State>>,
    pub(crate) notices: Option<Arc<dyn Notices>>,
    /// It came to a return address that was made here.
    pub(crate) returned: bool,
}

impl Work {
    /// Commits, says so, and files what can be filed at once.
    pub(crate) async fn carry_out(
        self,
        incoming: Incoming,
        prepared: Prepared,
        passed: Vec<(NewEntry, Passing)>,
        told: oneshot::Sender<Result<(), AcceptError>>,
        permit: OwnedSemaphorePermit,
    ) {
        let Prepared { recipients, direct, server_held, filings } = prepared;
        let parked = parked(&recipients, &direct);
        let local: Vec<AccountId> =
            recipients.iter().filter_map(|row| account_of(&row.route)).collect();
        let count =
            recipients.len() + passed.iter().map(|(_, passing)| passing.to.len()).sum::<usize>();
        let own = match recipients.is_empty() {
            true => None,
            false => Some(incoming.entry(incoming.body.clone(), recipients)),
        };
        // Whether the caller still listens makes no difference to what is done.
        let (rows, copies, outcome) = match self.commit(own, passed).await {
            Ok((rows, copies)) => (rows, copies, Ok(())),
            Err(error) => (Vec::new(), Vec::new(), Err(error)),
        };
        for (copy, passing) in copies {
            self.passed(incoming.id, copy, passing);
        }
        if outcome.is_ok() {
            tracing::info!(delivery = %incoming.id, recipients = count, octets = incoming.body.len(), "accepted");
            let recipients = u32::try_from(count).unwrap_or(u32::MAX);
            self.record(incoming.id, [Event::Accepted { recipients }]);
        }
        if let (Some(state), Ok(())) = (&self.state, &outcome) {
            bounce::learn(state, &incoming, self.returned, Timestamp::now()).await;
        }
        let _ = told.send(outcome);
        if !rows.is_empty() {
            for account in local {
                self.directory.note_accepted(account, incoming.body.len() as u64);
            }
            self.record(incoming.id, parked);
            for direct in direct {
                self.file_now(&incoming, rows[direct.at], direct).await;
            }
        }
        drop((filings, permit));
        for account in server_held {
            self.open_again(account).await;
        }
    }

    /// Commits the message's entries, all or none: after a 451 the client brings all of it again. Gives the rows of its
    /// own entry, if there is one, and what is passed on under which ids.
    async fn commit(
        &self,
        own: Option<NewEntry>,
        passed: Vec<(NewEntry, Passing)>,
    ) -> Result<(Vec<RowId>, Vec<(DeliveryId, Passing)>), AcceptError> {
        let has_own = own.is_some();
        let mut entries: Vec<NewEntry> = own.into_iter().collect();
        let mut copies = Vec::with_capacity(passed.len());
        for (entry, passing) in passed {
            copies.push((entry.id, passing));
            entries.push(entry);
        }
        let accepted = self.queue.accept_all(entries).await?;
        let own = accepted.into_iter().next().filter(|_| has_own);
        Ok((own.map_or_else(Vec::new, |own| own.rows), copies))
    }

    fn passed(&self, id: DeliveryId, copy: DeliveryId, Passing { by, to, srs, arc }: Passing) {
        tracing::info!(delivery = %id, %copy, recipients = to.len(), srs, arc, "passed on");
        for target in to {
            let (address, to) = (by.to_string().into(), target.to_string().into());
            let event = Event::Forwarded { address, to, srs, arc };
            // The copy has a trace of its own, which begins here.
            if copy != id {
                self.record(copy, [event.clone()]);
            }
            self.record(id, [event]);
        }
    }

    fn record(&self, id: DeliveryId, events: impl IntoIterator<Item = Event>) {
        if let Some(state) = &self.state {
            state.record_all(id, Timestamp::now(), events);
        }
    }

    /// Files a message that is durable in the queue. If that fails, it stays parked there, and
    /// the account drains again.
    async fn file_now(&self, incoming: &Incoming, row: RowId, direct: Direct) {
        let Direct { recipient, handle, .. } = direct;
        let delivery = filing::delivery(
            incoming.id,
            &recipient.address,
            &incoming.reverse_path,
            incoming.received_at,
            incoming.folder.name(),
            &incoming.body,
        );
        let key = (delivery.id, delivery.recipient.clone());
        match self.filer.file(&handle, delivery).await {
            Ok(filed) => {
                tracing::info!(delivery = %incoming.id, account = %handle.account(), ?filed, "filed");
                self.settler.filed(Settled { handle, row, key });
                let address = recipient.address.to_string().into();
                self.record(incoming.id, [Event::Filed { address }]);
                if filed != Filed::Already {
                    self.tell(incoming, recipient).await;
                }
            }
            Err(error) => {
                tracing::warn!(delivery = %incoming.id, account = %handle.account(), %error, "not filed yet");
                self.mailboxes.drain_again(handle.account());
            }
        }
    }

    async fn tell(&self, incoming: &Incoming, recipient: crate::incoming::Recipient) {
        let Some(notices) = &self.notices else { return };
        if is_wanted(recipient.notify, &incoming.reverse_path, incoming.folder.name()) {
            let copy = FiledCopy {
                id: incoming.id,
                received_at: incoming.received_at,
                recipient: recipient.address,
                reverse_path: incoming.reverse_path.clone(),
                orcpt: recipient.orcpt,
                ret: incoming.asked.ret,
                envid: incoming.asked.envid.clone(),
                message: incoming.body.clone(),
            };
            notices.filed(copy).await;
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

/// What is told of those whose mail waits for them.
fn parked(recipients: &[letterlock_queue::NewRecipient], direct: &[Direct]) -> Vec<Event> {
    let waits = |at: &usize| !direct.iter().any(|direct| direct.at == *at);
    let local = recipients
        .iter()
        .enumerate()
        .filter(|(_, recipient)| matches!(recipient.route, Route::Local { .. }));
    local
        .filter(|(at, _)| waits(at))
        .map(|(_, recipient)| Event::Parked { address: recipient.address.to_string().into() })
        .collect()
}

/// Whose quota a copy counts towards.
fn account_of(route: &Route) -> Option<AccountId> {
    match route {
        Route::Local { account, .. } => Some(*account),
        _ => None,
    }
}
