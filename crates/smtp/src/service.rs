//! What the driver asks of a listener, and what it knows of a client.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use letterlock_address::{ForwardPath, Mailbox};
use letterlock_directory::QuotaVerdict;
use letterlock_guard::Guard;
use letterlock_login::Login;
use letterlock_net::{Audience, Tls};
use letterlock_queue::BodyType;
use letterlock_smtp_wire::Reply;
use letterlock_smtp_wire::command::Mail;
use letterlock_vault::AccountId;

use crate::retry::Retries;
use crate::session::{Envelope, Hello, Rules};
use crate::spool::SpoolRules;

/// What both kinds of listener need.
pub struct Connection {
    /// What the listener allows.
    pub rules: Rules,
    /// Certificates.
    pub tls: Arc<Tls>,
    /// Which variant of the TLS configuration this listener uses.
    pub audience: Audience,
    /// Where messages are held while they come in.
    pub spool: SpoolRules,
    /// Patience with a TLS handshake.
    pub handshake_timeout: Duration,
    /// Patience with a whole command (RFC 5321 §4.5.3.2.7).
    pub command_timeout: Duration,
    /// Patience with the next octets of message data (RFC 5321 §4.5.3.2.5).
    pub data_timeout: Duration,
    /// Counts what clients do, and knows who is exempt from limits.
    pub guard: Arc<Guard>,
    /// Recognises the retry of a message whose 250 was lost. `None`: such a message is filed again.
    pub retries: Option<Retries>,
    /// Who has room for mail. `None`: everybody.
    pub room: Option<Arc<dyn Room>>,
}

/// Whether accounts here have room for mail.
pub trait Room: Send + Sync {
    /// The verdict on a message of `octets` for one account; 0 if its size is not known. Asked at RCPT: from memory,
    /// without waiting.
    fn verdict(&self, account: AccountId, octets: u64, now: Timestamp) -> QuotaVerdict;
}

/// Who is at the other end, as far as it is known.
pub(crate) struct Client {
    pub(crate) ip: IpAddr,
    pub(crate) hello: Hello,
    pub(crate) tls: Option<String>,
    pub(crate) login: Option<letterlock_login::Session>,
}

/// A message that was received whole.
pub(crate) struct Received {
    pub(crate) envelope: Envelope,
    pub(crate) body: Bytes,
    /// As it was found, whatever was announced.
    pub(crate) body_type: BodyType,
}

/// What differs between port 25 and submission.
pub(crate) trait Service: Send + Sync {
    /// What is learned at MAIL and needed until the end of the message.
    type Transaction: Send;

    /// The listener's settings.
    fn connection(&self) -> &Connection;
    /// Who checks credentials, if anybody does.
    fn login(&self) -> Option<&Login>;
    /// MAIL: may this sender send? Must not wait.
    fn sender(&self, client: &Client, mail: &Mail) -> Result<Self::Transaction, Reply>;
    /// RCPT: the recipient's address, or a refusal. Must not wait.
    fn recipient(
        &self,
        client: &Client,
        transaction: &mut Self::Transaction,
        path: &ForwardPath,
    ) -> Result<Mailbox, Reply>;
    /// The end of the message: what becomes of it.
    fn message(
        &self,
        client: &Client,
        transaction: Self::Transaction,
        message: Received,
    ) -> impl Future<Output = Reply> + Send;
}
