//! Submission (RFC 6409), ports 587 and 465: mail from our people, to anybody.
//!
//! Whoever is logged in sends in a name of their own only, in the envelope, in From and in Sender, and so much in an
//! hour and a day. What the client left out is added, Bcc is taken out, and the message is signed.
//!
//! `AUTH=` on MAIL is taken and has no effect: who submitted is known from the login (RFC 4954 §5).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;
use letterlock_address::{ForwardPath, Mailbox};
use letterlock_delivery::{Arrival, Folder, Incoming, Intake, SUBMISSION};
use letterlock_directory::{Account, Directory, Resolution, Target};
use letterlock_login::Login;
use letterlock_net::{Shutdown, Stream};
use letterlock_queue::{BodyType, Origin};
use letterlock_sender_auth::{sign, submission_results};
use letterlock_smtp_wire::command::Mail;
use letterlock_smtp_wire::{EnhancedCode, Reply, header, standard};
use letterlock_vault::DeliveryId;

use crate::composed::Composed;
use crate::fixup::{self, Author, Completion};
use crate::inbound::{accepted, only};
use crate::local::{self, Lead};
use crate::received::{self, Transmission};
use crate::service::{Client, Connection, Received, Service};
use crate::{asked, driver};

/// The listener for our people's mail programs.
pub struct Submission {
    /// What every SMTP listener needs.
    pub connection: Connection,
    /// Who exists, and which names are whose.
    pub directory: Arc<Directory>,
    /// Checks credentials.
    pub login: Arc<Login>,
    /// Where accepted messages go.
    pub intake: Arc<Intake>,
    /// Received fields beyond which a message is going round in circles.
    pub received_hops: usize,
}

impl Submission {
    /// Serves one connection until it ends, whether TLS is in use already or not.
    pub async fn serve(self: Arc<Self>, stream: Stream, peer: SocketAddr, shutdown: Shutdown) {
        driver::run(&*self, stream, peer.ip(), &shutdown).await;
    }
}

/// What MAIL began.
pub(crate) struct Transaction {
    account: Arc<Account>,
    /// Recipients that were accepted.
    recipients: u32,
    /// What the client says of the message's size; 0 if nothing.
    octets: u64,
}

/// In whose name a message goes out.
struct Names {
    /// The author.
    from: Mailbox,
    /// Who sent it for the author, if that is to be told.
    sender: Option<Mailbox>,
}

impl Service for Submission {
    type Transaction = Transaction;

    fn connection(&self) -> &Connection {
        &self.connection
    }

    fn login(&self) -> Option<&Login> {
        Some(&self.login)
    }

    fn sender(&self, client: &Client, Mail { path, params }: &Mail) -> Result<Transaction, Reply> {
        let account = &logged_in(client).ok_or_else(standard::auth_required)?.account;
        let snapshot = self.directory.snapshot();
        // A null reverse-path is for notifications that mail programs send (RFC 3798).
        match path.mailbox() {
            Some(mailbox) if !snapshot.may_send_as(account.id, mailbox) => {
                Err(standard::sender_not_owned())
            }
            _ => {
                let octets = params.size.unwrap_or(0);
                let transaction = Transaction { account: account.clone(), recipients: 0, octets };
                self.has_room_for(client, &transaction).map(|()| transaction)
            }
        }
    }

    fn recipient(
        &self,
        client: &Client,
        transaction: &mut Transaction,
        path: &ForwardPath,
    ) -> Result<Mailbox, Reply> {
        let (mailbox, lead) = local::find(&self.intake, &self.directory.snapshot(), path)?;
        let domain = &mailbox.domain;
        let found = match lead {
            // RFC 6409 §6.2: what is no full name is not guessed.
            Lead::Direct(Resolution::NotLocal)
                if !domain.is_literal() && !domain.as_str().contains('.') =>
            {
                return Err(standard::domain_incomplete());
            }
            Lead::BadReturn => return Err(standard::bad_return_address()),
            Lead::Direct(found) | Lead::Return(found) => found,
        };
        local::takes(&found, self.connection.room.as_deref(), transaction.octets)?;
        self.has_room_for(client, transaction)?;
        transaction.recipients += 1;
        Ok(mailbox)
    }

    async fn message(&self, client: &Client, transaction: Transaction, message: Received) -> Reply {
        let account = transaction.account;
        let id = DeliveryId::generate();
        tracing::info!(delivery = %id, account = %account.id, ip = %client.ip, octets = message.body.len(), tls = client.tls.as_deref(), "submitted");
        if header::received_count(&message.body) > self.received_hops {
            return standard::mail_loop();
        }
        // A session that was ended while the message came must not send it.
        if logged_in(client).is_none() {
            return standard::auth_required();
        }
        let names = match self.names(&account, &message) {
            Ok(names) => names,
            Err(reply) => return reply,
        };
        // Counted now: sessions side by side must not each pass under the limit.
        let recipients = u32::try_from(message.envelope.recipients.len()).unwrap_or(u32::MAX);
        let (guard, name) = (&self.connection.guard, account.id.to_string());
        if guard.submit(client.ip, &name, recipients, Instant::now()).is_err() {
            return too_much_mail(&account);
        }
        let body = match self.completed(client, id, &names, &message).await {
            Ok(body) => body,
            Err(reply) => return reply,
        };
        let recipients = asked::addresses(&message.envelope.recipients);
        let arrival = Arrival {
            id,
            listener: SUBMISSION,
            client: client.ip,
            hello: &client.hello.name,
            tls: client.tls.as_deref(),
            account: Some(&account.address),
            reverse_path: &message.envelope.reverse_path,
            recipients: &recipients,
            size: message.body.len() as u64,
        };
        self.intake.arrived(&self.directory.snapshot(), &arrival);
        let incoming = Incoming {
            id,
            received_at: Timestamp::now(),
            origin: Origin::Submission { account: account.id },
            smtputf8: message.envelope.params.smtputf8,
            eight_bit: message.body_type != BodyType::SevenBit,
            asked: asked::asked(&message),
            reverse_path: message.envelope.reverse_path,
            recipients: asked::recipients(message.envelope.recipients),
            body,
            folder: Folder::Inbox,
            attested: None,
        };
        accepted(id, self.intake.accept(incoming).await)
    }
}

impl Submission {
    /// Whether the account may send one message more, with one recipient more than were accepted.
    fn has_room_for(&self, client: &Client, transaction: &Transaction) -> Result<(), Reply> {
        let Transaction { account, recipients, .. } = transaction;
        let (guard, name) = (&self.connection.guard, account.id.to_string());
        guard
            .may_submit(client.ip, &name, recipients.saturating_add(1), Instant::now())
            .map_err(|_| too_much_mail(account))
    }

    /// Exactly one author, whose name is the sender's own, and nobody else's name in Sender (RFC 6409 §8.1).
    fn names(&self, account: &Account, message: &Received) -> Result<Names, Reply> {
        let snapshot = self.directory.snapshot();
        let own = |mailbox: &Mailbox| snapshot.may_send_as(account.id, mailbox);
        let from = match fixup::author(&message.body) {
            Author::One(author) if own(&author) => author,
            Author::One(_) => return Err(standard::sender_not_owned()),
            Author::Missing => return Err(bad_header("The message has no From field")),
            Author::Unusable => {
                return Err(bad_header("The message must have one From field with one address"));
            }
        };
        let sender = match fixup::sender(&message.body) {
            Author::One(sender) if own(&sender) => None,
            Author::One(_) => return Err(standard::sender_not_owned()),
            Author::Unusable => {
                return Err(bad_header("The message may have one Sender field with one address"));
            }
            // RFC 5322 §3.6.2: due where the author is a group, of which one has sent it.
            Author::Missing => match snapshot.resolve(&from) {
                Resolution::Aliased(targets)
                    if targets.iter().any(
                        |target| matches!(target, Target::Account(member) if *member != account.id),
                    ) =>
                {
                    Some(account.address.clone())
                }
                _ => None,
            },
        };
        Ok(Names { from, sender })
    }

    /// The message as it is to go out: completed, traced, signed.
    async fn completed(
        &self,
        client: &Client,
        id: DeliveryId,
        names: &Names,
        message: &Received,
    ) -> Result<Bytes, Reply> {
        let hostname = &self.connection.rules.hostname;
        let now = Timestamp::now();
        let received = received::field(&Transmission {
            helo: hostname,
            ip: None,
            hostname,
            extended: client.hello.extended,
            utf8: message.envelope.params.smtputf8,
            tls: client.tls.as_deref(),
            authenticated: true,
            id,
            only_recipient: only(&message.envelope.recipients).as_deref(),
            at: now,
        });
        let domain = &names.from.domain;
        let with = Completion { domain, sender: names.sender.as_ref(), id, now, hostname };
        let (fields, rest) = fixup::complete(&message.body, &with);
        let mut composed = Composed::new(&[received.as_bytes(), &fields, rest]);
        let results = submission_results(hostname, &message.envelope.reverse_path);
        let Some(keys) = self.directory.snapshot().domain(domain) else {
            composed.put_before(&results);
            return Ok(composed.finish());
        };
        let domain = domain.clone();
        // An RSA signature takes a millisecond: not on an async worker.
        let signed = tokio::task::spawn_blocking(move || {
            let mut signatures = results;
            for key in keys.signing_keys() {
                let (message, private) = (composed.message(), key.private.pkcs8());
                signatures.push_str(&sign(message, &domain, &key.selector, private, now)?);
            }
            composed.put_before(&signatures);
            Ok::<_, letterlock_sender_auth::SignError>(composed.finish())
        });
        match signed.await {
            Ok(Ok(signed)) => Ok(signed),
            Ok(Err(error)) => {
                tracing::error!(delivery = %id, %error, "cannot sign");
                Err(standard::try_later())
            }
            Err(_) => Err(standard::try_later()),
        }
    }
}

fn bad_header(text: &'static str) -> Reply {
    Reply::new(550, EnhancedCode::new(5, 6, 0), text)
}

/// One account's cap is reached; worth a look, since that is what a stolen password looks like.
fn too_much_mail(account: &Account) -> Reply {
    tracing::warn!(account = %account.id, "an account has submitted as much as it may");
    standard::too_much_mail()
}

/// The login, unless it was ended by a lock.
fn logged_in(client: &Client) -> Option<&letterlock_login::Session> {
    client.login.as_ref().filter(|login| !login.mailbox.is_closed())
}
