//! Port 25: mail from other servers, for local recipients.
//!
//! SPF is looked up while the message is still coming; the other checks follow when it is
//! whole, and what the author's domain wants refused is refused here, in the dialogue, so
//! that no bounce is ever owed to a forged sender.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;
use letterlock_address::{ForwardPath, Mailbox};
use letterlock_delivery::{AcceptError, Arrival, Folder, Incoming, Intake, Judged};
use letterlock_directory::{Directory, Resolution};
use letterlock_login::Login;
use letterlock_net::{Shutdown, Stream};
use letterlock_queue::{BodyType, Origin};
use letterlock_sender_auth::{Attested, Report, Spf, Verdict, Verifier, strip_own_results};
use letterlock_smtp_wire::command::Mail;
use letterlock_smtp_wire::{Reply, header, standard};
use letterlock_state::Privacy;
use letterlock_vault::DeliveryId;
use tokio::task::JoinHandle;

use crate::local::{self, Lead};
use crate::received::{self, Transmission};
use crate::service::{Client, Connection, Received, Service};
use crate::session::Recipient;
use crate::{asked, driver};

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

/// What MAIL began.
pub(crate) struct Transaction {
    /// The SPF lookup; it ends with the transaction.
    spf: Option<JoinHandle<Spf>>,
    /// What the client says of the message's size; 0 if nothing.
    octets: u64,
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(lookup) = &self.spf {
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

    fn sender(&self, client: &Client, mail: &Mail) -> Result<Transaction, Reply> {
        let spf = self.verifier.clone().map(|verifier| {
            let (ip, helo, path) = (client.ip, client.hello.name.clone(), mail.path.clone());
            tokio::spawn(async move { verifier.spf(ip, &helo, &path).await })
        });
        Ok(Transaction { spf, octets: mail.params.size.unwrap_or(0) })
    }

    fn recipient(
        &self,
        client: &Client,
        transaction: &mut Transaction,
        path: &ForwardPath,
    ) -> Result<Mailbox, Reply> {
        let (guard, now) = (&self.connection.guard, Instant::now());
        if guard.recipients_put_off(client.ip, now).is_some() {
            return Err(standard::recipient_put_off());
        }
        let (mailbox, lead) = local::find(&self.intake, &self.directory.snapshot(), path)?;
        let refusal = match lead {
            Lead::Direct(Resolution::NotLocal) => return Err(standard::relay_denied()),
            Lead::Direct(Resolution::NoSuchUser) => standard::no_such_user(),
            Lead::BadReturn => standard::bad_return_address(),
            // What was passed on from here comes back, to be sent on to its sender.
            Lead::Direct(found) | Lead::Return(found) => {
                let room = self.connection.room.as_deref();
                return local::takes(&found, room, transaction.octets).map(|()| mailbox);
            }
        };
        guard.unknown_recipient(client.ip, now);
        Err(refusal)
    }

    async fn message(
        &self,
        client: &Client,
        mut transaction: Transaction,
        mut message: Received,
    ) -> Reply {
        let id = DeliveryId::generate();
        let (ip, from) = (client.ip, &message.envelope.reverse_path);
        tracing::info!(delivery = %id, %ip, %from, octets = message.body.len(), tls = client.tls.as_deref(), "received");
        let privacy = self.arrived(id, client, &message);
        let had = self.come_round(&mut message);
        if message.envelope.recipients.is_empty() {
            tracing::info!(delivery = %id, "message refused: it goes round in circles");
            return self.refused(id, standard::mail_loop());
        }
        if !had.is_empty() {
            tracing::info!(delivery = %id, recipients = had.len(), "had this message before");
            self.intake.had_before(id, &had);
        }
        let Found { folder, fields, attested } =
            match self.judge(id, client, &mut transaction, &message, privacy).await {
                Ok(found) => found,
                // Why is in its verdict: the reply names the author's domain, which not everybody may know.
                Err(reply) => return reply,
            };
        let body = self.traced(client, id, &message, &fields);
        let incoming = Incoming {
            id,
            received_at: Timestamp::now(),
            origin: Origin::Inbound,
            smtputf8: message.envelope.params.smtputf8,
            eight_bit: message.body_type != BodyType::SevenBit,
            asked: asked::asked(&message),
            reverse_path: message.envelope.reverse_path,
            recipients: asked::recipients(message.envelope.recipients),
            body,
            folder,
            attested,
        };
        accepted(id, self.intake.accept(incoming).await)
    }
}

/// What follows from where a message is from, if it is taken.
struct Found {
    folder: Folder,
    /// The fields that say so.
    fields: String,
    /// What is sealed into copies that are passed on.
    attested: Option<Attested>,
}

impl Inbound {
    /// Traces that the message came in. Gives who may know its sender.
    fn arrived(&self, id: DeliveryId, client: &Client, message: &Received) -> Privacy {
        let recipients = asked::addresses(&message.envelope.recipients);
        let arrival = Arrival {
            id,
            listener: "smtp",
            client: client.ip,
            hello: &client.hello.name,
            tls: client.tls.as_deref(),
            account: None,
            reverse_path: &message.envelope.reverse_path,
            recipients: &recipients,
            size: message.body.len() as u64,
        };
        self.intake.arrived(&self.directory.snapshot(), &arrival)
    }

    /// Verifies where the message is from and does what follows from it, which may be a refusal.
    async fn judge(
        &self,
        id: DeliveryId,
        client: &Client,
        transaction: &mut Transaction,
        message: &Received,
        privacy: Privacy,
    ) -> Result<Found, Reply> {
        let hostname = &self.connection.rules.hostname;
        let (Some(verifier), Some(spf)) = (&self.verifier, transaction.spf.as_mut()) else {
            // RFC 8601 §2.2: no method was tried.
            let fields = format!("Authentication-Results: {hostname}; none\r\n");
            return Ok(Found { folder: Folder::Inbox, fields, attested: None });
        };
        let spf = spf.await.map_err(|_| standard::try_later())?;
        let report = verifier.verify(&message.body, spf).await;
        let (verdict, reverse_path) = (report.verdict(), &message.envelope.reverse_path);
        let judged =
            Judged { id, client: client.ip, reverse_path, report: &report, verdict: &verdict };
        self.intake.judged(privacy, &judged);
        let reason = Report::quarantine_field(&verdict).unwrap_or_default();
        let folder = match verdict {
            Verdict::Accept => Folder::Inbox,
            Verdict::Quarantine { reason } => {
                // Why is in its header and its trace: it names the sender, whom the log is not to tell.
                tracing::info!(delivery = %id, "message goes to Junk");
                tracing::debug!(delivery = %id, %reason, "to Junk");
                Folder::Junk
            }
            Verdict::Reject { reason } => {
                tracing::info!(delivery = %id, "message refused");
                tracing::debug!(delivery = %id, %reason, "refused");
                return Err(standard::dmarc_rejected(reason));
            }
            Verdict::Defer { reason } => {
                tracing::info!(delivery = %id, "message deferred");
                tracing::debug!(delivery = %id, %reason, "deferred");
                return Err(standard::sender_undecided(reason));
            }
        };
        let results = report.authentication_results(hostname);
        let spf = report.spf.received(hostname, client.ip, &client.hello.name, reverse_path);
        let attested = Some(report.attested(hostname));
        Ok(Found { folder, fields: format!("{reason}{results}{spf}"), attested })
    }

    /// Notes the reply to a message that is not taken.
    fn refused(&self, id: DeliveryId, reply: Reply) -> Reply {
        let status = reply.enhanced.map(|status| status.to_string()).unwrap_or_default();
        self.intake.refused(id, reply.code, &status, &reply.text());
        reply
    }

    /// Takes out the recipients for whom the message goes round in circles (RFC 5321 §6.3): all of them if it has been
    /// nearly everywhere, and those who had it before. The others get it: one reply is for all, and a refusal would
    /// take it from them. Gives those who had it.
    fn come_round(&self, message: &mut Received) -> Vec<Mailbox> {
        let recipients = &mut message.envelope.recipients;
        if header::received_count(&message.body) > self.received_hops {
            recipients.clear();
            return Vec::new();
        }
        let seen: Vec<String> = header::delivered_to(&message.body)
            .filter_map(|value| std::str::from_utf8(&value).ok()?.parse::<Mailbox>().ok())
            .map(|seen| seen.canonical())
            .collect();
        if seen.is_empty() {
            return Vec::new();
        }
        let gone = recipients.extract_if(.., |to| seen.contains(&to.address.canonical()));
        gone.map(|recipient| recipient.address).collect()
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
pub(crate) fn only(recipients: &[Recipient]) -> Option<String> {
    match recipients {
        [one] => Some(one.address.to_string()),
        _ => None,
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
