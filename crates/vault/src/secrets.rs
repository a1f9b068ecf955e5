//! What an account's owner holds once a credential has opened the account: the keys of the file,
//! the door key, the sealing secrets; and how they stand wrapped in the directory.
//!
//! ```text
//! credential ─ slot ─▶ account key ─wraps─▶ data key ─derives─▶ page key, door key
//!                                  └─wraps─▶ sealing secret (and those of earlier epochs)
//! ```
//! The file's integrity key is the one thing that comes from the server: it authorises nothing.

use std::fmt;

use zeroize::Zeroizing;

use crate::key::KEY_LEN;
use crate::seal::{DoorKey, SealingSecret};
use crate::server_key::with_epoch;
use crate::{
    AccountId, DeliveryId, Envelope, FileKeys, Key, OpenError, SealTo, SealingPublic, ServerKey,
};

/// Version of the wrapped secrets, and of their encoding.
const VERSION: u8 = 1;
/// Octets of one earlier epoch in the sealed list: epoch, sealing seed, door key.
const EARLIER_LEN: usize = 4 + 2 * KEY_LEN;

/// The root of an account's keys. Every slot wraps it; it never leaves the vault unwrapped.
#[derive(Clone, Debug)]
pub struct AccountKey(pub(crate) Key);

impl AccountKey {
    /// The key of a new account, or of one whose old key is not to be trusted any longer.
    pub fn random() -> Self {
        Self(Key::random())
    }
}

/// An unlocked account's keys. Cloning shares them; they are zeroised with the last clone.
#[derive(Clone)]
pub struct AccountSecrets {
    account: AccountId,
    data: Key,
    file: FileKeys,
    door: DoorKey,
    sealing: SealingSecret,
    public: SealingPublic,
    earlier: Vec<Earlier>,
}

/// What opens envelopes that were sealed before a rotation.
#[derive(Clone)]
struct Earlier {
    door: Key,
    sealing: SealingSecret,
}

impl AccountSecrets {
    /// New secrets of epoch 0, and the same wrapped under `account_key` for the directory.
    pub fn generate(
        account: AccountId,
        account_key: &AccountKey,
        server: &ServerKey,
    ) -> (Self, WrappedSecrets) {
        let sealing = SealingSecret::generate(0);
        let public = sealing.public();
        let secrets = Self::assemble(account, Key::random(), sealing, public, Vec::new(), server);
        let wrapped = secrets.wrap(account_key);
        (secrets, wrapped)
    }

    /// Secrets of the next epoch: new data key, new sealing pair. The present sealing secret and
    /// door key are kept beside them, so that mail parked until now still opens. `account_key`
    /// may be another one than before. The mailbox file is re-written by the caller.
    pub fn rotate(&self, account_key: &AccountKey, server: &ServerKey) -> (Self, WrappedSecrets) {
        let sealing = SealingSecret::generate(self.epoch().saturating_add(1));
        let public = sealing.public();
        let mut earlier = self.earlier.clone();
        earlier.push(Earlier { door: self.door.key.clone(), sealing: self.sealing.clone() });
        let next = Self::assemble(self.account, Key::random(), sealing, public, earlier, server);
        let wrapped = next.wrap(account_key);
        (next, wrapped)
    }

    /// Lets go of the secrets of earlier epochs, once nothing parked is sealed to them.
    pub fn forget_earlier(&mut self) {
        self.earlier.clear();
    }

    /// The same secrets, wrapped under `account_key` anew.
    pub fn wrap(&self, account_key: &AccountKey) -> WrappedSecrets {
        let epoch = self.epoch();
        let mut seeds =
            Zeroizing::new(Vec::with_capacity(1 + KEY_LEN + self.earlier.len() * EARLIER_LEN));
        seeds.extend_from_slice(self.sealing.seed().expose());
        for earlier in &self.earlier {
            seeds.extend_from_slice(&earlier.sealing.epoch().to_be_bytes());
            seeds.extend_from_slice(earlier.sealing.seed().expose());
            seeds.extend_from_slice(earlier.door.expose());
        }
        let data = aad(b"data key", self.account, epoch);
        let sealing = aad(b"sealing secret", self.account, epoch);
        WrappedSecrets {
            epoch,
            data_key: account_key.0.seal(&data, self.data.expose()),
            sealing_public: self.public.bytes.clone(),
            sealing_secret: account_key.0.seal(&sealing, &seeds),
        }
    }

    /// Whose secrets these are.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// The epoch of the data key and of the sealing pair; the file's name carries it.
    pub fn epoch(&self) -> u32 {
        self.sealing.epoch()
    }

    /// The keys of the mailbox file of this epoch.
    pub fn file_keys(&self) -> FileKeys {
        self.file.clone()
    }

    /// What mail is sealed with while the mailbox is unlocked.
    pub fn door(&self) -> &DoorKey {
        &self.door
    }

    /// What mail is sealed to while the mailbox is locked.
    pub fn sealing_public(&self) -> SealingPublic {
        self.public.clone()
    }

    /// How to seal for this account while it is unlocked.
    pub fn seal_to(&self) -> SealTo {
        SealTo::Door { account: self.account, key: self.door.clone() }
    }

    /// The content key of `delivery` out of its envelope, whichever way it was sealed.
    ///
    /// # Errors
    /// [`OpenError::Epoch`] if the envelope is of an epoch that is not held (any more);
    /// [`OpenError::Unauthentic`] if it is another account's or another delivery's, or damaged;
    /// [`OpenError::Version`], [`OpenError::Method`], [`OpenError::Malformed`] by its shape.
    pub fn open_envelope(
        &self,
        envelope: &Envelope,
        delivery: DeliveryId,
    ) -> Result<Key, OpenError> {
        let parts = envelope.parts()?;
        let (door, sealing) = if parts.epoch == self.epoch() {
            (&self.door.key, &self.sealing)
        } else {
            let held = self.earlier.iter().find(|held| held.sealing.epoch() == parts.epoch);
            held.map(|held| (&held.door, &held.sealing)).ok_or(OpenError::Epoch(parts.epoch))?
        };
        parts.open(self.account, delivery, door, sealing)
    }

    fn assemble(
        account: AccountId,
        data: Key,
        sealing: SealingSecret,
        public: SealingPublic,
        earlier: Vec<Earlier>,
        server: &ServerKey,
    ) -> Self {
        let epoch = sealing.epoch();
        let context = with_epoch(account, epoch);
        Self {
            account,
            file: FileKeys {
                page: data.derive("mailbox page", &context),
                integrity: server.integrity_key(account, epoch),
            },
            door: DoorKey { epoch, key: data.derive("mailbox door", &context) },
            data,
            sealing,
            public,
            earlier,
        }
    }
}

impl fmt::Debug for AccountSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountSecrets")
            .field("account", &self.account)
            .field("epoch", &self.epoch())
            .finish_non_exhaustive()
    }
}

/// An account's secrets as the directory keeps them: of no use without the account key.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedSecrets {
    /// Of data key and sealing pair.
    pub epoch: u32,
    /// The data key, sealed.
    pub data_key: Vec<u8>,
    /// The public sealing key, in clear.
    pub sealing_public: Vec<u8>,
    /// The sealing secret of this epoch and what opens envelopes of earlier ones, sealed.
    pub sealing_secret: Vec<u8>,
}

impl WrappedSecrets {
    /// Unwraps everything, and checks that the public sealing key is that of the secret one.
    ///
    /// # Errors
    /// [`OpenError::Unauthentic`] for another account, epoch or account key, or damage;
    /// [`OpenError::Exchanged`] if somebody replaced the public key: an alarm.
    pub fn open(
        &self,
        account: AccountId,
        account_key: &AccountKey,
        server: &ServerKey,
    ) -> Result<AccountSecrets, OpenError> {
        let data =
            account_key.0.open_key(&aad(b"data key", account, self.epoch), &self.data_key)?;
        let seeds = account_key
            .0
            .open(&aad(b"sealing secret", account, self.epoch), &self.sealing_secret)?;
        let (seed, rest) = seeds.split_at_checked(KEY_LEN).ok_or(OpenError::Malformed)?;
        let seed = Key::from_slice(seed).ok_or(OpenError::Malformed)?;
        let earlier = rest.chunks(EARLIER_LEN).map(earlier).collect::<Option<Vec<_>>>();

        let sealing = SealingSecret::new(self.epoch, seed);
        let public = sealing.public();
        if public != self.sealing_public() {
            return Err(OpenError::Exchanged);
        }
        let earlier = earlier.ok_or(OpenError::Malformed)?;
        Ok(AccountSecrets::assemble(account, data, sealing, public, earlier, server))
    }

    /// What mail is sealed to while the mailbox is locked.
    pub fn sealing_public(&self) -> SealingPublic {
        SealingPublic { epoch: self.epoch, bytes: self.sealing_public.clone() }
    }

    /// All fields in one: version (1 octet), epoch (4), then each of the three with its length
    /// (4) before it; integers big-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        for field in [&self.data_key, &self.sealing_public, &self.sealing_secret] {
            let length = u32::try_from(field.len()).expect("fields are of a few kilobytes");
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(field);
        }
        bytes
    }

    /// Reads what [`WrappedSecrets::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`OpenError::Version`] or [`OpenError::Malformed`]; nothing is authenticated here.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OpenError> {
        fn field(bytes: &[u8]) -> Result<(Vec<u8>, &[u8]), OpenError> {
            let (length, rest) = bytes.split_first_chunk::<4>().ok_or(OpenError::Malformed)?;
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            let (field, rest) = rest.split_at_checked(length).ok_or(OpenError::Malformed)?;
            Ok((field.to_vec(), rest))
        }
        let (&version, rest) = bytes.split_first().ok_or(OpenError::Malformed)?;
        if version != VERSION {
            return Err(OpenError::Version(version));
        }
        let (epoch, rest) = rest.split_first_chunk::<4>().ok_or(OpenError::Malformed)?;
        let (data_key, rest) = field(rest)?;
        let (sealing_public, rest) = field(rest)?;
        let (sealing_secret, rest) = field(rest)?;
        if !rest.is_empty() {
            return Err(OpenError::Malformed);
        }
        let epoch = u32::from_be_bytes(*epoch);
        Ok(Self { epoch, data_key, sealing_public, sealing_secret })
    }
}

impl fmt::Debug for WrappedSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrappedSecrets").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// Reads one earlier epoch of the sealed list.
fn earlier(bytes: &[u8]) -> Option<Earlier> {
    let (epoch, keys) = bytes.split_first_chunk::<4>()?;
    let (seed, door) = keys.split_at_checked(KEY_LEN)?;
    Some(Earlier {
        door: Key::from_slice(door)?,
        sealing: SealingSecret::new(u32::from_be_bytes(*epoch), Key::from_slice(seed)?),
    })
}

/// What a wrapped secret is bound to: its purpose, the format's version, account and epoch.
fn aad(purpose: &[u8], account: AccountId, epoch: u32) -> Vec<u8> {
    [b"letterlock ", purpose, &[VERSION], &with_epoch(account, epoch)].concat()
}

#[cfg(test)]
mod left;
#[cfg(test)]
mod tests;
