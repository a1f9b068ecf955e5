//! Mail that waited for a domain's role addresses goes to whom they lead now.

use jiff::Timestamp;
use letterlock_address::{Domain, Mailbox};
use letterlock_directory::{Account, Directory, Resolution, Target};
use letterlock_queue::{Adoption, Queue, QueueError, Seal};
use letterlock_vault::{AccountId, SealTo};

/// Gives it to them, if they lead to anybody. The number of messages.
pub(crate) async fn adopt(
    directory: &Directory,
    queue: &Queue,
    domain: &Domain,
) -> Result<usize, QueueError> {
    let Ok(address) = format!("postmaster@{domain}").parse::<Mailbox>() else { return Ok(0) };
    let adoption = match directory.snapshot().resolve(&address) {
        Resolution::Account(account) => to_account(directory, account),
        Resolution::Aliased(targets) => match targets.into_iter().next() {
            Some(Target::Account(account)) => to_account(directory, account),
            Some(Target::Remote(mailbox)) => Some(Adoption::Remote(mailbox)),
            None => None,
        },
        _ => None,
    };
    match adoption {
        Some(adoption) => queue.adopt_waiting(domain, adoption, Timestamp::now()).await,
        None => Ok(0),
    }
}

fn to_account(directory: &Directory, account: AccountId) -> Option<Adoption> {
    let account = directory.snapshot().account(account)?;
    Some(Adoption::Local { account: account.id, seal: Seal::Owner(to_owner(&account)) })
}

/// Sealed so that only the owner's private key opens it.
pub(crate) fn to_owner(account: &Account) -> SealTo {
    SealTo::Public { account: account.id, public: account.secrets.sealing_public() }
}
