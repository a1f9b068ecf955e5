//! Who gets a message, decided from the directory alone.

use letterlock_address::Mailbox;
use letterlock_directory::{Disabled, Resolution, Snapshot, Target};
use letterlock_vault::AccountId;

use crate::error::AcceptError;

/// Where one copy of a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Into a mailbox here; the address is the one of the envelope.
    Here { address: Mailbox, account: AccountId },
    /// To another server.
    Elsewhere(Mailbox),
    /// To a role address that nobody has yet.
    Nobody(Mailbox),
}

/// Plans a message's copies: each mailbox and each address elsewhere gets one, however many
/// recipients lead to it. `relaying` allows recipients elsewhere that were named directly.
pub(crate) fn plan(
    snapshot: &Snapshot,
    recipients: &[Mailbox],
    relaying: bool,
) -> Result<Vec<Destination>, AcceptError> {
    let mut plan: Vec<Destination> = Vec::with_capacity(recipients.len());
    let mut add = |destination: Destination| {
        let same = |other: &Destination| match (other, &destination) {
            (Destination::Here { account: a, .. }, Destination::Here { account: b, .. }) => a == b,
            (a, b) => a == b,
        };
        if !plan.iter().any(same) {
            plan.push(destination);
        }
    };
    for address in recipients {
        match snapshot.resolve(address) {
            Resolution::Account(account) => {
                add(Destination::Here { address: address.clone(), account })
            }
            Resolution::Aliased(targets) => targets.into_iter().for_each(|target| {
                add(match target {
                    Target::Account(account) => {
                        Destination::Here { address: address.clone(), account }
                    }
                    Target::Remote(mailbox) => Destination::Elsewhere(mailbox),
                });
            }),
            Resolution::Waiting => add(Destination::Nobody(address.clone())),
            Resolution::NotLocal if relaying => add(Destination::Elsewhere(address.clone())),
            Resolution::Disabled(Disabled::Discard) => {}
            Resolution::NotLocal | Resolution::NoSuchUser | Resolution::Disabled(_) => {
                return Err(AcceptError::Changed);
            }
        }
    }
    Ok(plan)
}
