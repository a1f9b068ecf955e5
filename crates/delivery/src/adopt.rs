//! Mail that waited for a domain's role addresses goes to whom they lead now.

use jiff::Timestamp;
use letterlock_address::{Domain, Mailbox};
use letterlock_directory::{Account, Directory, Resolution, Target};
use letterlock_queue::{Adoption, Queue, QueueError, Seal};
use letterlock_vault::{AccountId, SealTo};

/// Gives it to them, each role's mail to whom this role leads, if to anybody. The number of
/// messages. Where a role leads to several, the first gets what has waited.
pub(crate) async fn adopt(
    directory: &Directory,
    queue: &Queue,
    domain: &Domain,
) -> Result<usize, QueueError> {
    let mut adopted = 0;
    for role in queue.waiting_addresses(domain).await? {
        if let Some(adoption) = holder(directory, &role) {
            adopted += queue.adopt_waiting(&role, adoption, Timestamp::now()).await?;
        }
    }
    Ok(adopted)
}

fn holder(directory: &Directory, role: &Mailbox) -> Option<Adoption> {
    match directory.snapshot().resolve(role) {
        Resolution::Account(account) => to_account(directory, account),
        Resolution::Aliased(targets) => match targets.into_iter().next()? {
            Target::Account(account) => to_account(directory, account),
            Target::Remote(mailbox) => Some(Adoption::Remote(mailbox)),
        },
        _ => None,
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
