//! Wires the relay: how its reports get to our own people is delivery's to say.

use std::sync::{Arc, OnceLock, Weak};

use anyhow::Context;
use jiff::Timestamp;
use letterlock_address::{Mailbox, ReversePath};
use letterlock_config::Settings;
use letterlock_delivery::{FiledCopy, Intake, Notices, Telling};
use letterlock_directory::Directory;
use letterlock_net::ClientTls;
use letterlock_queue::{NewRecipient, Notify, Queue};
use letterlock_relay::{Addressing, Arrived, BoxFuture, Handles, Options, Relay, Subject};
use letterlock_transport_policy::Policies;

use crate::Failure;
use crate::stores::Stores;

/// Asks the intake.
struct ByIntake(Arc<Intake>);

impl Addressing for ByIntake {
    fn ways<'a>(&'a self, address: &'a Mailbox) -> BoxFuture<'a, Vec<NewRecipient>> {
        Box::pin(std::future::ready(self.0.ways(address)))
    }
}

/// Tells senders who asked for it that their mail was filed, by way of the relay, which is made after the intake and
/// itself asks the intake: so it is known weakly. Without a relay nobody is told.
pub(crate) struct ByRelay {
    relay: OnceLock<Weak<Relay>>,
    queue: Arc<Queue>,
    directory: Arc<Directory>,
}

impl ByRelay {
    pub(crate) fn new(queue: Arc<Queue>, directory: Arc<Directory>) -> ByRelay {
        ByRelay { relay: OnceLock::new(), queue, directory }
    }

    /// From here on this one writes.
    pub(crate) fn begin(&self, relay: &Arc<Relay>) {
        // A server has one relay; a second one would be no better.
        let _ = self.relay.set(Arc::downgrade(relay));
    }

    /// Whether a report to this sender is to be filed here.
    fn is_local(&self, sender: &ReversePath) -> bool {
        let snapshot = self.directory.snapshot();
        sender.mailbox().is_some_and(|sender| snapshot.is_local(&sender.domain))
    }

    async fn tell(&self, copy: FiledCopy) {
        let Some(relay) = self.relay.get().and_then(Weak::upgrade) else { return };
        let subject = Subject {
            id: copy.id,
            received_at: copy.received_at,
            reverse_path: &copy.reverse_path,
            envid: copy.envid.as_deref(),
            // RFC 3461 §4.3: the whole message goes back only with what failed.
            ret: None,
            message: &copy.message,
        };
        let arrived = Arrived {
            recipient: &copy.recipient,
            orcpt: copy.orcpt.as_deref(),
            notify: Notify::On { success: true, failure: false, delay: false },
            expanded: false,
        };
        match relay.reporter().arrived(&subject, &[arrived], Timestamp::now()).await {
            Ok(true) if self.is_local(&copy.reverse_path) => {
                self.queue.delivery_bell().notify_one();
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(delivery = %copy.id, %error, "its sender does not hear that it was filed");
            }
        }
    }
}

impl Notices for ByRelay {
    fn filed(&self, copy: FiledCopy) -> Telling<'_> {
        Box::pin(self.tell(copy))
    }
}

/// Whom the relay trusts.
pub(crate) fn trust(settings: &Settings) -> Result<ClientTls, Failure> {
    let roots = settings.outbound.trusted_roots.as_deref();
    Ok(ClientTls::load(roots).context("[outbound] trusted_roots")?)
}

/// The relay of this server.
pub(crate) fn relay(
    settings: &Settings,
    stores: &Stores,
    tls: ClientTls,
) -> Result<Arc<Relay>, Failure> {
    let policies = Policies::new(
        letterlock_transport_policy::Handles {
            dns: stores.resolver.clone(),
            state: stores.state.clone(),
            tls: tls.clone(),
        },
        letterlock_transport_policy::Options::from(&settings.outbound),
    );
    let handles = Handles {
        queue: stores.queue.clone(),
        directory: stores.directory.clone(),
        dns: stores.resolver.clone(),
        tls,
        addressing: Arc::new(ByIntake(stores.intake.clone())),
        state: stores.state.clone(),
        policies: Arc::new(policies),
    };
    let options = Options::new(&settings.hostname, settings.outbound.clone());
    Ok(Relay::new(handles, options).context("the relay")?)
}
