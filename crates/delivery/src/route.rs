//! Who gets a message, decided from the directory alone.

use jiff::Timestamp;
use letterlock_address::{Mailbox, SrsError, is_rewritten};
use letterlock_directory::{Disabled, Resolution, Snapshot, Target};
use letterlock_vault::AccountId;

use crate::error::AcceptError;
use crate::forward::Forwarding;
use crate::incoming::Recipient;

/// What becomes of mail to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientDecision {
    /// What the directory says.
    Resolved(Resolution),
    /// It is a return address that was made here for a message that was passed on; it leads back to this one.
    Returns(Mailbox),
    /// It looks like such a return address and is nobody else's: forged, expired or malformed.
    BadReturn(SrsError),
}

/// Decides. A return address goes before everything else, a catch-all above all; what merely looks like one is an
/// address like any other.
pub(crate) fn decide(
    snapshot: &Snapshot,
    forwarding: &Forwarding,
    address: &Mailbox,
) -> RecipientDecision {
    let returned = match is_rewritten(&address.local) && snapshot.is_local(&address.domain) {
        true => forwarding.srs.reverse(address, Timestamp::now().as_second()),
        false => Ok(None),
    };
    match (returned, snapshot.resolve(address)) {
        (Ok(Some(back)), _) => match snapshot.resolve(&back) {
            Resolution::NotLocal => RecipientDecision::Returns(back),
            // Its sender's domain became one of ours meanwhile.
            resolution => RecipientDecision::Resolved(resolution),
        },
        (Err(error), Resolution::NoSuchUser) => RecipientDecision::BadReturn(error),
        (_, resolution) => RecipientDecision::Resolved(resolution),
    }
}

/// Where one copy of a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Into a mailbox here; the address is the one of the envelope.
    Here { recipient: Recipient, account: AccountId },
    /// To another server.
    Elsewhere(Recipient),
    /// To another server, because an address here leads there.
    Passed { recipient: Recipient, by: Mailbox },
    /// To a role address that nobody has yet.
    Nobody(Recipient),
}

/// Plans a message's copies: each mailbox and each address elsewhere gets one, however many
/// recipients lead to it. `relaying` allows recipients elsewhere that were named directly.
///
/// What the sender asked to be told (NOTIFY, ORCPT) goes with every copy that an alias makes: one of the two ways that
/// RFC 3461 §5.2.7.3 leaves, and the one that tells of each copy.
pub(crate) fn plan(
    snapshot: &Snapshot,
    forwarding: &Forwarding,
    recipients: &[Recipient],
    relaying: bool,
) -> Result<Vec<Destination>, AcceptError> {
    let mut plan: Vec<Destination> = Vec::with_capacity(recipients.len());
    let mut add = |destination: Destination| {
        if !plan.iter().any(|other| is_same(other, &destination)) {
            plan.push(destination);
        }
    };
    for recipient in recipients {
        let here = |account| Destination::Here { recipient: recipient.clone(), account };
        let passed = |address| Destination::Passed {
            recipient: Recipient { address, ..recipient.clone() },
            by: recipient.address.clone(),
        };
        let resolution = match decide(snapshot, forwarding, &recipient.address) {
            RecipientDecision::Resolved(resolution) => resolution,
            RecipientDecision::Returns(back) => {
                add(passed(back));
                continue;
            }
            RecipientDecision::BadReturn(_) => return Err(AcceptError::Changed),
        };
        match resolution {
            Resolution::Account(account) => add(here(account)),
            Resolution::Aliased(targets) => targets.into_iter().for_each(|target| {
                add(match target {
                    Target::Account(account) => here(account),
                    Target::Remote(address) => passed(address),
                });
            }),
            Resolution::Waiting => add(Destination::Nobody(recipient.clone())),
            Resolution::NotLocal if relaying => add(Destination::Elsewhere(recipient.clone())),
            Resolution::Disabled(Disabled::Discard) => {}
            Resolution::NotLocal | Resolution::NoSuchUser | Resolution::Disabled(_) => {
                return Err(AcceptError::Changed);
            }
        }
    }
    Ok(plan)
}

fn is_same(one: &Destination, other: &Destination) -> bool {
    match (one, other) {
        (Destination::Here { account: a, .. }, Destination::Here { account: b, .. }) => a == b,
        (Destination::Nobody(a), Destination::Nobody(b)) => a.address == b.address,
        (
            Destination::Elsewhere(a) | Destination::Passed { recipient: a, .. },
            Destination::Elsewhere(b) | Destination::Passed { recipient: b, .. },
        ) => a.address == b.address,
        _ => false,
    }
}
