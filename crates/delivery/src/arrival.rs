//! How a message came in and what each of its recipients means, told to its trace.

use std::net::IpAddr;

use jiff::Timestamp;
use letterlock_address::{Mailbox, ReversePath};
use letterlock_directory::{Disabled, Resolution, Snapshot, Target};
use letterlock_state::{Decision, Event, Privacy, Text};
use letterlock_vault::DeliveryId;

use crate::intake::Intake;

/// The listeners for people's mail programs, as a trace names them.
pub const SUBMISSION: &str = "submission";

/// A message that a client has sent whole, before anything is decided about it.
pub struct Arrival<'a> {
    /// Its id.
    pub id: DeliveryId,
    /// The listener's name.
    pub listener: &'static str,
    /// Who connected.
    pub client: IpAddr,
    /// What the client called itself.
    pub hello: &'a str,
    /// Version, cipher suite and key exchange.
    pub tls: Option<&'a str>,
    /// Who is logged in.
    pub account: Option<&'a Mailbox>,
    /// The envelope's sender.
    pub reverse_path: &'a ReversePath,
    /// The envelope's recipients.
    pub recipients: &'a [Mailbox],
    /// Octets.
    pub size: u64,
}

impl Intake {
    /// Traces a message that came in. Never waits. Gives back who may know its sender.
    pub fn arrived(&self, snapshot: &Snapshot, arrival: &Arrival<'_>) -> Privacy {
        let privacy = self.privacy(snapshot, arrival.recipients);
        let Some(state) = self.state() else { return privacy };
        // A client's name for itself and the account that is logged in name the sender as well.
        let known = |value: String| privacy.show::<Text>(value).clear().cloned();
        let sender = match arrival.reverse_path {
            ReversePath::Null => String::new(),
            ReversePath::Mailbox(sender) => sender.to_string(),
        };
        let received = Event::Received {
            listener: arrival.listener.into(),
            client: Some(arrival.client),
            hello: known(arrival.hello.to_owned()),
            tls: arrival.tls.map(|tls| tls.to_owned().into()),
            account: arrival.account.and_then(|account| known(account.to_string())),
            reverse_path: privacy.show(sender),
            size: arrival.size,
        };
        let recipients = arrival.recipients.iter().map(|address| Event::Recipient {
            address: address.to_string().into(),
            decision: decision(&snapshot.resolve(address)),
        });
        let events = std::iter::once(received).chain(recipients);
        state.record_all(arrival.id, Timestamp::now(), events);
        privacy
    }

    /// Traces that a message came back to people who had it already, whose copies are dropped. Never waits.
    pub fn had_before(&self, id: DeliveryId, recipients: &[Mailbox]) {
        let Some(state) = self.state() else { return };
        let had = |address: &Mailbox| Event::HadBefore { address: address.to_string().into() };
        state.record_all(id, Timestamp::now(), recipients.iter().map(had));
    }

    /// Traces the reply to a message that is not taken. The reason must not name the sender. Never waits.
    pub fn refused(&self, id: DeliveryId, code: u16, status: &str, reason: &str) {
        let Some(state) = self.state() else { return };
        let (status, reason) = (status.to_owned().into(), reason.to_owned().into());
        state.record(id, Timestamp::now(), Event::Refused { code, status, reason });
    }
}

fn decision(resolution: &Resolution) -> Decision {
    match resolution {
        Resolution::Account(_) => Decision::Local,
        Resolution::Aliased(targets) => match targets.as_slice() {
            [Target::Remote(to)] => Decision::Forward { to: to.to_string().into() },
            several => {
                Decision::Alias { addresses: u32::try_from(several.len()).unwrap_or(u32::MAX) }
            }
        },
        Resolution::Waiting => Decision::Role,
        Resolution::NotLocal => Decision::Remote,
        Resolution::NoSuchUser => Decision::Unknown,
        Resolution::Disabled(Disabled::Discard) => {
            Decision::Discarded { reason: "the account is switched off".into() }
        }
        Resolution::Disabled(_) => Decision::Disabled,
    }
}
