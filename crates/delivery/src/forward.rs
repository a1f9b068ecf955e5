//! Passing a message on to another server, because an address here leads there.
//!
//! Such a copy is an entry of its own, since it is not the same message: it carries a Delivered-To for the address that
//! passes it on, by which a loop is noticed, and our seal (ARC) over what we found. The signatures of its sender stay
//! whole. Outside it has a return address of ours (SRS); reports go to its sender all the same.

use bytes::Bytes;
use jiff::Timestamp;
use letterlock_address::{Domain, Mailbox, ReversePath, Srs};
use letterlock_directory::{self as directory, DkimAlgorithm};
use letterlock_queue::{Forward, NewEntry, NewRecipient, Route};
use letterlock_sender_auth::{Sealing, seal};
use letterlock_vault::{DeliveryId, ServerKey};

use crate::incoming::{Incoming, Recipient};
use crate::route::Destination;

/// How mail is passed on.
#[derive(Clone, Debug)]
pub struct Forwarding {
    /// Makes return addresses, and takes them back.
    pub srs: Srs,
    /// The domain of return addresses; `None` for that of the address which passes mail on.
    pub srs_domain: Option<Domain>,
}

/// The copies that one address passes on.
pub(crate) struct Copy {
    pub(crate) by: Mailbox,
    to: Vec<Recipient>,
}

/// What is told of such a copy.
pub(crate) struct Passing {
    pub(crate) by: Mailbox,
    pub(crate) to: Vec<Mailbox>,
    pub(crate) srs: bool,
    pub(crate) arc: bool,
}

/// The copies by the address that passes them on.
pub(crate) fn group(passed: Vec<Destination>) -> Vec<Copy> {
    let mut copies: Vec<Copy> = Vec::new();
    for destination in passed {
        let Destination::Passed { recipient, by } = destination else { continue };
        match copies.iter_mut().find(|copy| copy.by == by) {
            Some(copy) => copy.to.push(recipient),
            None => copies.push(Copy { by, to: vec![recipient] }),
        }
    }
    copies
}

impl Forwarding {
    /// With the key of this server for return addresses.
    pub fn new(server: &ServerKey, srs_domain: Option<Domain>) -> Self {
        Self { srs: Srs::new(*server.derive("return addresses", b"").expose()), srs_domain }
    }

    /// The entry of a copy. `domain` is that of the address which passes it on, `local` says whether the sender is in
    /// a domain of ours, `keeps_id` whether the message has no other entry.
    pub(crate) fn entry(
        &self,
        incoming: &Incoming,
        copy: Copy,
        domain: Option<&directory::Domain>,
        local: bool,
        keeps_id: bool,
    ) -> (NewEntry, Passing) {
        let outside = self.outside(incoming, &copy.by, local);
        let seal = domain.and_then(|domain| sealed(incoming, domain));
        let passing = Passing {
            by: copy.by.clone(),
            to: copy.to.iter().map(|recipient| recipient.address.clone()).collect(),
            srs: outside != incoming.reverse_path,
            arc: seal.is_some(),
        };
        let trace = format!("Delivered-To: {}\r\n{}", copy.by, seal.unwrap_or_default());
        let body = Bytes::from([trace.as_bytes(), &incoming.body].concat());
        let recipients = copy.to.into_iter().map(|Recipient { address, notify, orcpt }| {
            let forward = Some(Forward { reverse_path: outside.clone() });
            NewRecipient { address, notify, orcpt, forward, route: Route::Remote }
        });
        let mut entry = incoming.entry(body, recipients.collect());
        if !keeps_id {
            entry.id = DeliveryId::generate();
        }
        (entry, passing)
    }

    /// The reverse-path that a copy has outside.
    fn outside(&self, incoming: &Incoming, by: &Mailbox, local: bool) -> ReversePath {
        let own = &incoming.reverse_path;
        let Some(sender) = own.mailbox().filter(|_| !local) else { return own.clone() };
        let domain = self.srs_domain.as_ref().unwrap_or(&by.domain);
        match self.srs.forward(sender, domain, incoming.received_at.as_second()) {
            Ok(rewritten) => ReversePath::Mailbox(rewritten),
            Err(error) => {
                tracing::warn!(delivery = %incoming.id, %error, "passed on under the sender's own address");
                own.clone()
            }
        }
    }
}

/// Our member of the ARC chain, under the domain's key: RSA before Ed25519, which not everybody verifies.
fn sealed(incoming: &Incoming, domain: &directory::Domain) -> Option<String> {
    let attested = incoming.attested.as_ref()?;
    let key = domain.signing_keys().min_by_key(|key| key.algorithm != DkimAlgorithm::RsaSha256)?;
    let sealing =
        Sealing { domain: &domain.name, selector: &key.selector, private: key.private.pkcs8() };
    match seal(&incoming.body, attested, sealing, Timestamp::now()) {
        Ok(set) => set,
        Err(error) => {
            tracing::warn!(delivery = %incoming.id, %error, "passed on without a seal");
            None
        }
    }
}
