//! Wires the relay: how its reports get to our own people is delivery's to say.

use std::sync::Arc;

use anyhow::Context;
use letterlock_address::Mailbox;
use letterlock_config::Settings;
use letterlock_delivery::Intake;
use letterlock_net::ClientTls;
use letterlock_queue::Route;
use letterlock_relay::{Addressing, BoxFuture, Handles, Options, Relay};
use letterlock_transport_policy::Policies;

use crate::Failure;
use crate::stores::Stores;

/// Asks the intake.
struct ByIntake(Arc<Intake>);

impl Addressing for ByIntake {
    fn route<'a>(&'a self, address: &'a Mailbox) -> BoxFuture<'a, Option<Route>> {
        Box::pin(self.0.route(address))
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
