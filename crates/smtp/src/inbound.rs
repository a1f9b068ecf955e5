//! Port 25: mail from other servers, for local recipients.
//!
//! SPF is looked up while the message is still coming; the other checks follow when it is
//! whole, and what the author's domain wants refused is refused here, in the dialogue, so
//! that no bounce is ever owed to a forged sender.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use letterlock_address::{ForwardPath, Mailbox, ReversePath};
use letterlock_delivery::{AcceptError, Folder, Incoming, Intake};
use letterlock_directory::{Directory, Disabled, Resolution};
use letterlock_login::Login;
use letterlock_net::{Shutdown, Stream};
use letterlock_queue::Origin;
use letterlock_sender_auth::{Spf, Verdict, Verifier, strip_own_results};
use letterlock_smtp_wire::{EnhancedCode, Reply, header, standard};
use letterlock_vault::DeliveryId;
use tokio::task::JoinHandle;

use crate::driver;
use crate::received::{self, Transmission};
use crate::service::{Client, Connection, Received, Service};

/// The listener for other servers.
pub struct Inbound {
    /// What every SMTP listener needs.
    pub connection: Connection,
    /// Who exists.
    pub directory: Arc<Directory>,
    /// Who sent it. `None` on a server that is cut off from DNS on purpose: then nothing is
    /// verified, and the header says so.
    pub verifier: Option<Arc<Verifier>>,
    /// Where accepted messages go.
    pub intake: Arc<Intake>,
    /// Received fields beyond which a message is going round in circles (RFC 5321 §6.3).
    pub received_hops: usize,
}

impl Inbound {
    /// Serves one connection until it ends.
    pub async fn serve(self: Arc<Self>, stream: Stream, peer: SocketAddr, shutdown: Shutdown) {
        driver::run(&*self, stream, peer.ip(), &shutdown).await;
    }
}

/// The SPF lookup that MAIL began; it ends with the transaction.
#[derive(Default)]
pub(crate) struct Transaction(Option<JoinHandle<Spf>>);

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(lookup) = &self.0 {
            lookup.abort();
        }
    }
}

impl Service for Inbound {
    type Transaction = Transaction;

    fn connection(&self) -> &Connection {
        &self.connection
    }

    fn login(&self) -> Option<&Login> {
        None
    }

    fn sender(&self, client: &Client, path: &ReversePath) -> Result<Transaction, Reply> {
        let Some(verifier) = self.verifier.clone() else { return Ok(Transaction::default()) };
        let (ip, helo, path) = (client.ip, client.hello.name.clone(), path.clone());
        Ok(Transaction(Some(tokio::spawn(async move { verifier.spf(ip, &helo, &path).await }))))
    }

    fn recipient(&self, _: &Client, path: &ForwardPath) -> Result<Mailbox, Reply> {
        let snapshot = self.directory.snapshot();
        let (mailbox, resolution) = match path {
            ForwardPath::Mailbox(mailbox) => (mailbox.clone(), snapshot.resolve(mailbox)),
            // RFC 5321 §4.5.1: without a domain it is ours.
            ForwardPath::Postmaster => {
                snapshot.resolve_postmaster().ok_or_else(standard::no_such_user)?
            }
        };
        match resolution {
            Resolution::NotLocal => Err(standard::relay_denied()),
            other => local(&other).map(|()| mailbox),
        }
    }

    async fn message(
        &self,
        client: &Client,
        mut transaction: Transaction,
        message: Received,
    ) -> Reply {
        let id = DeliveryId::generate();
        let (ip, from) = (client.ip, &message.envelope.reverse_path);
        tracing::info!(delivery = %id, %ip, %from, octets = message.body.len(), tls = client.tls.is_some(), "received");
        if let Some(reply) = self.looping(&message) {
            tracing::info!(delivery = %id, "message refused: it goes round in circles");
            return reply;
        }
        let (folder, results) = match self.judge(id, &mut transaction, &message).await {
            Ok(judged) => judged,
            Err(reply) => return reply,
        };
        let body = self.traced(client, id, &message, &results);
        let incoming = Incoming {
            id,
            received_at: Timestamp::now(),
            origin: Origin::Inbound,
            smtputf8: message.envelope.params.smtputf8,
            eight_bit: message.eight_bit,
            reverse_path: message.envelope.reverse_path,
            recipients: message.envelope.recipients,
            body,
            folder,
        };
        accepted(id, self.intake.accept(incoming).await)
    }
}

impl Inbound {
    /// Verifies where the message is from and does what follows from it: a folder and the
    /// Authentication-Results field, or a refusal.
    async fn judge(
        &self,
        id: DeliveryId,
        transaction: &mut Transaction,
        message: &Received,
    ) -> Result<(Folder, String), Reply> {
        let hostname = &self.connection.rules.hostname;
        let (Some(verifier), Some(spf)) = (&self.verifier, transaction.0.as_mut()) else {
            // RFC 8601 §2.2: no method was tried.
            return Ok((Folder::Inbox, format!("Authentication-Results: {hostname}; none\r\n")));
        };
        let spf = spf.await.map_err(|_| standard::try_later())?;
        let report = verifier.verify(&message.body, spf).await;
        let folder = match report.verdict() {
            Verdict::Accept => Folder::Inbox,
            Verdict::Quarantine { reason } => {
                tracing::info!(delivery = %id, %reason, "message goes to Junk");
                Folder::Junk
            }
            Verdict::Reject { reason } => {
                tracing::info!(delivery = %id, %reason, "message refused");
                return Err(Reply::new(550, EnhancedCode::new(5, 7, 1), reason));
            }
            Verdict::Defer { reason } => {
                tracing::info!(delivery = %id, %reason, "message deferred");
                return Err(Reply::new(451, EnhancedCode::new(4, 7, 0), reason));
            }
        };
        Ok((folder, report.authentication_results(hostname)))
    }

    /// Mail that has been here before, or nearly everywhere (RFC 5321 §6.3).
    fn looping(&self, message: &Received) -> Option<Reply> {
        let been_here = header::delivered_to(&message.body)
            .filter_map(|value| std::str::from_utf8(&value).ok()?.parse::<Mailbox>().ok())
            .any(|seen| {
                message
                    .envelope
                    .recipients
                    .iter()
                    .any(|recipient| recipient.canonical() == seen.canonical())
            });
        (been_here || header::received_count(&message.body) > self.received_hops)
            .then(standard::mail_loop)
    }

    /// The message under our Received and Authentication-Results fields, and without those
    /// that somebody wrote in our name (RFC 8601 §5).
    fn traced(&self, client: &Client, id: DeliveryId, message: &Received, results: &str) -> Bytes {
        let hostname = &self.connection.rules.hostname;
        let received = received::field(&Transmission {
            helo: &client.hello.name,
            ip: Some(client.ip),
            hostname,
            extended: client.hello.extended,
            utf8: message.envelope.params.smtputf8,
            tls: client.tls.as_deref(),
            authenticated: false,
            id,
            only_recipient: only(&message.envelope.recipients).as_deref(),
            at: Timestamp::now(),
        });
        let stripped: Cow<'_, [u8]> = strip_own_results(&message.body, hostname);
        let mut traced = Vec::with_capacity(results.len() + received.len() + stripped.len());
        traced.extend_from_slice(results.as_bytes());
        traced.extend_from_slice(received.as_bytes());
        traced.extend_from_slice(&stripped);
        Bytes::from(traced)
    }
}

/// The recipient, if there is one only.
pub(crate) fn only(recipients: &[Mailbox]) -> Option<String> {
    match recipients {
        [one] => Some(one.to_string()),
        _ => None,
    }
}

/// Whether a local address takes mail.
pub(crate) fn local(resolution: &Resolution) -> Result<(), Reply> {
    match resolution {
        Resolution::NoSuchUser => Err(standard::no_such_user()),
        Resolution::Disabled(Disabled::Defer) => Err(standard::mailbox_unavailable()),
        Resolution::Disabled(Disabled::Refuse) => Err(standard::mailbox_disabled()),
        Resolution::Disabled(Disabled::Discard)
        | Resolution::Account(_)
        | Resolution::Aliased(_)
        | Resolution::Waiting
        | Resolution::NotLocal => Ok(()),
    }
}

/// The reply to a message that was handed over.
pub(crate) fn accepted(id: DeliveryId, outcome: Result<(), AcceptError>) -> Reply {
    match outcome {
        Ok(()) => standard::accepted(id),
        Err(error) => {
            tracing::warn!(delivery = %id, %error, "message not accepted");
            match error {
                AcceptError::Full => standard::disk_full(),
                _ => standard::try_later(),
            }
        }
    }
}
