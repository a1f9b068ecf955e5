//! What can go wrong when the directory is changed.

use letterlock_address::{Domain, Mailbox};
use letterlock_vault::{AccountId, VaultError};

use crate::model::AliasSource;

/// Why a change was refused, or could not be stored. The texts are for operators and name the thing at hand.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The domain is in the directory already.
    #[error("domain {0} exists already")]
    DomainExists(Domain),
    /// The domain is not one of this server's.
    #[error("{0} is not a domain of this server")]
    NoSuchDomain(Domain),
    /// An address literal cannot be a domain of this server: mail for it belongs to the host's administrator.
    #[error("{0} is an address literal, not a domain name")]
    Literal(Domain),
    /// The domain still has accounts or aliases; they have to go first.
    #[error("domain {domain} is not empty: {accounts} accounts, {aliases} aliases")]
    NotEmpty {
        /// The domain that was to be removed.
        domain: Domain,
        /// Accounts with an address in it.
        accounts: usize,
        /// Aliases with a source address in it.
        aliases: usize,
    },
    /// The domain's contact leads back to the domain's own role addresses.
    #[error("contact {0} leads back to the role addresses it is the contact for")]
    ContactLoop(Mailbox),
    /// Another account or alias has this address.
    #[error("address {0} is taken")]
    AddressTaken(Mailbox),
    /// The account's id is in use: ids are made anew for each account.
    #[error("account {0} exists already")]
    AccountExists(AccountId),
    /// No such account, or it was removed meanwhile.
    #[error("there is no account {0}")]
    NoSuchAccount(AccountId),
    /// The account has no slot of this number.
    #[error("account {account} has no slot {slot}")]
    NoSuchSlot {
        /// Whose slot.
        account: AccountId,
        /// Its number.
        slot: u32,
    },
    /// The slot's number is in use, or was in use before: numbers are never given twice.
    #[error("slot {slot} of account {account} is or was in use")]
    SlotTaken {
        /// Whose slot.
        account: AccountId,
        /// Its number.
        slot: u32,
    },
    /// Without its last slot nobody could ever open the account again.
    #[error("account {0} would be left without any credential")]
    LastSlot(AccountId),
    /// There is no alias of this address.
    #[error("there is no alias {0}")]
    NoSuchAlias(AliasSource),
    /// The alias does not lead to this target.
    #[error("alias {alias} does not lead to {target}")]
    NoSuchTarget {
        /// The alias.
        alias: AliasSource,
        /// Where it does not lead.
        target: Mailbox,
    },
    /// The alias leads to all these targets already, or was given none.
    #[error("alias {0} would not change")]
    AliasUnchanged(AliasSource),
    /// The alias would lead back to itself.
    #[error("alias {0} leads back to itself")]
    AliasLoop(AliasSource),
    /// Aliases may lead to aliases, but not over more than 16 steps.
    #[error("alias {0} makes a chain of aliases that is too long")]
    AliasTooDeep(AliasSource),
    /// The domain has a DKIM key of this selector already.
    #[error("domain {domain} has a DKIM key {selector} already")]
    SelectorExists {
        /// Whose key.
        domain: Domain,
        /// Its selector.
        selector: String,
    },
    /// The domain has no DKIM key of this selector.
    #[error("domain {domain} has no DKIM key {selector}")]
    NoSuchSelector {
        /// Whose key.
        domain: Domain,
        /// The selector that was not found.
        selector: String,
    },
    /// What stands in the file cannot be read as what it should be.
    #[error("directory.db holds a row that cannot be read: {0}")]
    Row(String),
    /// The task that stores a change was ended by the shutdown of the runtime; whether it was stored is not known.
    #[error("the change was cut off by the end of the program")]
    CutOff,
    /// The file could not be read or written.
    #[error("directory.db: {0}")]
    Vault(#[from] VaultError),
}

impl From<rusqlite::Error> for DirectoryError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Vault(VaultError::from(error))
    }
}
