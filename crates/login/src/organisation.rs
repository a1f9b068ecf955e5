//! The organisation's way into user-held mailboxes: a slot for its public key, kept as the configuration says.

use jiff::Timestamp;
use letterlock_directory::{Account, DirectoryError, KeyMode, NamedSlot};
use letterlock_vault::slot::{self, organisation_fingerprint};
use letterlock_vault::{AccountId, AccountKey, Slot, SlotKind};

use crate::Login;

impl Login {
    /// The organisation's slot for a new user-held account, if the configuration names a key.
    pub fn organisation_slot(&self, account: AccountId, id: u32, key: &AccountKey) -> Option<Slot> {
        slot::organisation(account, id, key, self.organisation.as_ref()?)
    }

    /// Adds the organisation's slot to an account whose key is at hand, and takes away those of keys that the
    /// configuration names no longer. A failure is logged, and made good at the next unlock.
    pub async fn keep_organisation_slot(&self, account: &Account, key: &AccountKey) {
        if let Err(error) = self.reconcile(account, key).await {
            tracing::warn!(account = %account.id, %error, "the organisation's slot is not as configured");
        }
    }

    async fn reconcile(&self, account: &Account, key: &AccountKey) -> Result<(), DirectoryError> {
        let wanted = match account.mode {
            KeyMode::UserHeld => self.organisation.as_ref().map(slot::OrganisationKey::fingerprint),
            KeyMode::ServerHeld => None,
        };
        let present = account.slots.iter().filter(|n| n.slot.kind == SlotKind::Organisation);
        let (kept, old): (Vec<_>, Vec<_>) = present
            .partition(|named| wanted.is_some() && organisation_fingerprint(&named.slot) == wanted);
        let missing = kept.is_empty().then(|| {
            self.organisation_slot(account.id, account.next_slot_id(), key)
                .filter(|_| wanted.is_some())
        });
        if let Some(slot) = missing.flatten() {
            let named = NamedSlot {
                slot,
                name: "organisation".to_owned(),
                created_at: Timestamp::now(),
                last_used: None,
            };
            match self.directory.add_slot(account.id, named).await {
                // Another login was faster.
                Err(DirectoryError::SlotTaken { .. }) => return Ok(()),
                other => other?,
            }
            tracing::info!(account = %account.id, "the organisation's key opens this account now");
        }
        for named in old {
            match self.directory.remove_slot(account.id, named.slot.id).await {
                // Another login was faster here too.
                Err(DirectoryError::NoSuchSlot { .. }) => {}
                other => other?,
            }
        }
        Ok(())
    }
}
