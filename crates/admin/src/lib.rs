//! What operators do: domains, accounts, aliases, the queue.
//!
//! [`Admin`] carries out a [`Request`] and answers with a [`Response`]; it neither
//! prints nor asks. The command line, the control socket of a running server and, in
//! time, the web console all use it, so that a command means the same everywhere.
//! [`control`] is the socket.

mod account;
mod alias;
pub mod control;
mod credentials;
mod domain;
mod error;
mod progress;
mod queue;
mod request;
mod response;
mod rotate;
mod trace;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use letterlock_delivery::Intake;
use letterlock_directory::Directory;
use letterlock_dns::Resolver;
use letterlock_login::Login;
use letterlock_mailbox::Mailboxes;
use letterlock_queue::Queue;
use letterlock_state::State;
use letterlock_transport_policy::OwnPolicy;
use letterlock_vault::ServerKey;

pub use error::AdminError;
pub use letterlock_directory::Disabled;
pub use progress::{Progress, Reporter};
pub use request::{
    AccountChange, AccountRequest, AliasRequest, DomainRequest, QueueRequest, Quota, Request,
    Secret, SuppressionRequest,
};
pub use response::{
    AccountDetails, AccountRow, AliasRow, AppPasswordRow, Check, DnsRecord, DomainDetails,
    DomainRow, NewSecret, QueueDetails, QueuePage, QueueRow, RecipientRow, Response, SessionRow,
    SuppressionRow, TraceLine, TraceOf, VerifiedRow,
};

/// Carries out requests on the server's own handles.
pub struct Admin {
    /// Where all files are.
    pub data_dir: PathBuf,
    /// Our name, for MX records.
    pub hostname: String,
    /// The MTA-STS policy of our domains, for its records.
    pub mta_sts: OwnPolicy,
    /// Who exists.
    pub directory: Arc<Directory>,
    /// The accounts' mail.
    pub mailboxes: Arc<Mailboxes>,
    /// Messages under way.
    pub queue: Arc<Queue>,
    /// What is remembered: traces, addresses that are not written to.
    pub state: Arc<State>,
    /// Finds mail that waited for an account.
    pub intake: Arc<Intake>,
    /// Sessions, and the way to open a mailbox with a secret.
    pub login: Arc<Login>,
    /// For `domain check`.
    pub resolver: Arc<Resolver>,
    /// Wraps server-held accounts.
    pub server_key: Arc<ServerKey>,
}

impl Admin {
    /// Carries out one request. What is answered is durable.
    pub async fn run(&self, request: Request) -> Result<Response, AdminError> {
        self.run_with(request, &Reporter::silent()).await
    }

    /// As [`Admin::run`], telling how far it has come where that may take long.
    pub async fn run_with(
        &self,
        request: Request,
        reporter: &Reporter,
    ) -> Result<Response, AdminError> {
        match request {
            Request::Verify { address, repair } => self.verify(address, repair, reporter).await,
            Request::Health => Ok(Response::Done("ok".into())),
            Request::Domain(request) => self.domain(request).await,
            Request::Account(request) => self.account(request, reporter).await,
            Request::Alias(request) => self.alias(request).await,
            Request::Queue(request) => self.queue(request).await,
            Request::Trace { id } => self.trace(&id).await,
            Request::Suppression(request) => self.suppression(request).await,
        }
    }
}
