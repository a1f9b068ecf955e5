//! Submission (RFC 6409), ports 587 and 465: mail from our people, to anybody.
//!
//! Whoever is logged in sends in a name of their own only, in the envelope and in From.
//! What the client left out is added, Bcc is taken out, and the message is signed.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use letterlock_address::{Domain, ForwardPath, Mailbox, ReversePath};
use letterlock_delivery::{Folder, Incoming, Intake};
use letterlock_directory::{Account, Directory, Resolution};
use letterlock_login::Login;
use letterlock_net::{Shutdown, Stream};
use letterlock_queue::Origin;
use letterlock_sender_auth::sign;
use letterlock_smtp_wire::{EnhancedCode, Reply, header, standard};
use letterlock_vault::DeliveryId;

use crate::driver;
use crate::fixup::{self, Author};
use crate::inbound::{accepted, local, only};
use crate::received::{self, Transmission};
use crate::service::{Client, Connection, Received, Service};

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

impl Service for Submission {
    type Transaction = Arc<Account>;

    fn connection(&self) -> &Connection {
        &self.connection
    }

    fn login(&self) -> Option<&Login> {
        Some(&self.login)
    }

    fn sender(&self, client: &Client, path: &ReversePath) -> Result<Arc<Account>, Reply> {
        let account = &logged_in(client).ok_or_else(standard::auth_required)?.account;
        let snapshot = self.directory.snapshot();
        // A null reverse-path is for notifications that mail programs send (RFC 3798).
        match path.mailbox() {
            Some(mailbox) if !snapshot.may_send_as(account.id, mailbox) => {
                Err(standard::sender_not_owned())
            }
            _ => Ok(account.clone()),
        }
    }

    fn recipient(&self, _: &Client, path: &ForwardPath) -> Result<Mailbox, Reply> {
        let snapshot = self.directory.snapshot();
        match path {
            ForwardPath::Mailbox(mailbox) => {
                local(&snapshot.resolve(mailbox)).map(|()| mailbox.clone())
            }
            ForwardPath::Postmaster => {
                let (mailbox, resolution): (Mailbox, Resolution) =
                    snapshot.resolve_postmaster().ok_or_else(standard::no_such_user)?;
                local(&resolution).map(|()| mailbox)
            }
        }
    }

    async fn message(&self, client: &Client, account: Arc<Account>, message: Received) -> Reply {
        let id = DeliveryId::generate();
        tracing::info!(delivery = %id, account = %account.id, ip = %client.ip, octets = message.body.len(), "submitted");
        if header::received_count(&message.body) > self.received_hops {
            return standard::mail_loop();
        }
        // A session that was ended while the message came must not send it.
        if logged_in(client).is_none() {
            return standard::auth_required();
        }
        let author = match self.author(&account, &message) {
            Ok(author) => author,
            Err(reply) => return reply,
        };
        let body = match self.completed(client, id, &author.domain, &message).await {
            Ok(body) => body,
            Err(reply) => return reply,
        };
        let incoming = Incoming {
            id,
            received_at: Timestamp::now(),
            origin: Origin::Submission { account: account.id },
            smtputf8: message.envelope.params.smtputf8,
            eight_bit: message.eight_bit,
            reverse_path: message.envelope.reverse_path,
            recipients: message.envelope.recipients,
            body,
            folder: Folder::Inbox,
        };
        accepted(id, self.intake.accept(incoming).await)
    }
}

impl Submission {
    /// Exactly one author, who is the sender (RFC 6409 §8.1).
    fn author(&self, account: &Account, message: &Received) -> Result<Mailbox, Reply> {
        match fixup::author(&message.body) {
            Author::One(author) if self.directory.snapshot().may_send_as(account.id, &author) => {
                Ok(author)
            }
            Author::One(_) => Err(standard::sender_not_owned()),
            Author::Missing => {
                Err(Reply::new(550, EnhancedCode::new(5, 6, 0), "The message has no From field"))
            }
            Author::Unusable => Err(Reply::new(
                550,
                EnhancedCode::new(5, 6, 0),
                "The message must have one From field with one address",
            )),
        }
    }

    /// The message as it is to go out: completed, traced, signed.
    async fn completed(
        &self,
        client: &Client,
        id: DeliveryId,
        domain: &Domain,
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
        let fixed = fixup::complete(&message.body, domain, id, now);
        let mut whole = Vec::with_capacity(received.len() + fixed.len());
        whole.extend_from_slice(received.as_bytes());
        whole.extend_from_slice(&fixed);
        let Some(keys) = self.directory.snapshot().domain(domain) else {
            return Ok(Bytes::from(whole));
        };
        let domain = domain.clone();
        // An RSA signature takes a millisecond: not on an async worker.
        let signed = tokio::task::spawn_blocking(move || {
            let mut signed = Vec::with_capacity(whole.len() + 1024);
            for key in keys.signing_keys() {
                let field = sign(&whole, &domain, &key.selector, key.private.pkcs8(), now)?;
                signed.extend_from_slice(field.as_bytes());
            }
            signed.extend_from_slice(&whole);
            Ok::<_, letterlock_sender_auth::SignError>(Bytes::from(signed))
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

/// The login, unless it was ended by a lock.
fn logged_in(client: &Client) -> Option<&letterlock_login::Session> {
    client.login.as_ref().filter(|login| !login.mailbox.is_closed())
}
