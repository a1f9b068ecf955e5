//! Envelopes: the content key of one message, wrapped for one owner.
//!
//! While a mailbox is unlocked its *door key* wraps; while it is locked its public key does:
//! HPKE (RFC 9180, base mode) with X-Wing (X25519 and ML-KEM-768,
//! draft-connolly-cfrg-xwing-kem, KEM id 0x647a), HKDF-SHA256 and ChaCha20-Poly1305. Bound to
//! each envelope are account, delivery and epoch, so that none opens in another's place.
//! The bodies themselves are sealed elsewhere, with the content key.
//!
//! Layout, integers big-endian: version (1 octet, 1), kind (1 octet), epoch (4), then for
//! - door (1): the content key as [`Key::seal`] leaves it, 72 octets;
//! - HPKE (2): KEM, KDF and AEAD ids (2 each), the encapsulated key (1,120), cipher text (48).

use std::fmt;

use hpke::aead::{Aead, ChaCha20Poly1305};
use hpke::kdf::{HkdfSha256, Kdf};
use hpke::kem::XWing;
use hpke::{
    Deserializable, Kem, OpModeR, OpModeS, Serializable, single_shot_open, single_shot_seal,
};
use zeroize::Zeroizing;

use crate::{AccountId, DeliveryId, Key, OpenError};

type PublicKey = <XWing as Kem>::PublicKey;
type PrivateKey = <XWing as Kem>::PrivateKey;
type EncappedKey = <XWing as Kem>::EncappedKey;

const VERSION: u8 = 1;
const DOOR: u8 = 1;
const HPKE: u8 = 2;
/// Octets of an encapsulated X-Wing key.
pub(crate) const ENCAPPED_LEN: usize = 1120;
/// HPKE's `info`.
const INFO: &[u8] = b"letterlock envelope 1";

/// Why nothing was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The public key is none of X-Wing.
    #[error("the account's sealing key is malformed")]
    PublicKey,
}

/// The private half of an account's sealing pair, kept as its seed of 32 octets: the expanded
/// key takes kilobytes for each unlocked account, expanding takes microseconds.
#[derive(Clone)]
pub struct SealingSecret {
    epoch: u32,
    seed: Key,
}

impl SealingSecret {
    pub(crate) fn generate(epoch: u32) -> Self {
        Self { epoch, seed: Key::random() }
    }

    pub(crate) fn new(epoch: u32, seed: Key) -> Self {
        Self { epoch, seed }
    }

    /// The epoch that this secret is of.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    pub(crate) fn seed(&self) -> &Key {
        &self.seed
    }

    /// The public half.
    pub fn public(&self) -> SealingPublic {
        let bytes = XWing::sk_to_pk(&self.private()).to_bytes().to_vec();
        SealingPublic { epoch: self.epoch, bytes }
    }

    fn private(&self) -> PrivateKey {
        PrivateKey::from_bytes(self.seed.expose())
            .expect("a private key of X-Wing is a seed of 32 octets, and so is a Key")
    }
}

impl fmt::Debug for SealingSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingSecret").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// The public half of an account's sealing pair. No secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingPublic {
    /// The epoch of the pair.
    pub epoch: u32,
    /// The X-Wing encapsulation key, 1,216 octets.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for SealingPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingPublic").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// The symmetric key that seals for an unlocked mailbox, and the epoch it is of.
#[derive(Clone, Debug)]
pub struct DoorKey {
    /// The epoch of the data key that it is derived from.
    pub epoch: u32,
    /// The key.
    pub key: Key,
}

/// What a message for an account is sealed to.
#[derive(Clone, Debug)]
pub enum SealTo {
    /// The mailbox is unlocked: cheap, and opened again by whoever holds its secrets.
    Door {
        /// The owner.
        account: AccountId,
        /// From [`AccountSecrets::door`](crate::AccountSecrets::door).
        key: DoorKey,
    },
    /// The mailbox is locked: nothing that the server holds opens it again.
    Public {
        /// The owner.
        account: AccountId,
        /// From [`AccountSecrets::sealing_public`](crate::AccountSecrets::sealing_public), by way
        /// of the directory.
        public: SealingPublic,
    },
}

impl SealTo {
    /// The account whose owner can open.
    pub fn account(&self) -> AccountId {
        match self {
            SealTo::Door { account, .. } | SealTo::Public { account, .. } => *account,
        }
    }

    /// Wraps the content key of `delivery`.
    ///
    /// # Errors
    /// [`SealError::PublicKey`] for a public key that is none; a door never fails.
    pub fn wrap(&self, content: &Key, delivery: DeliveryId) -> Result<Envelope, SealError> {
        match self {
            SealTo::Door { account, key } => {
                let header = header(DOOR, key.epoch);
                let aad = additional_data(&header, *account, delivery);
                let sealed = key.key.seal(&aad, content.expose());
                Ok(Envelope([&header[..], &sealed].concat()))
            }
            SealTo::Public { account, public } => {
                let recipient =
                    PublicKey::from_bytes(&public.bytes).map_err(|_| SealError::PublicKey)?;
                let header = [&header(HPKE, public.epoch)[..], &suite()].concat();
                let aad = additional_data(&header, *account, delivery);
                let (encapped, sealed) = single_shot_seal::<ChaCha20Poly1305, HkdfSha256, XWing>(
                    &OpModeS::Base,
                    &recipient,
                    INFO,
                    content.expose(),
                    &aad,
                )
                .map_err(|_| SealError::PublicKey)?;
                Ok(Envelope([&header[..], &encapped.to_bytes(), &sealed].concat()))
            }
        }
    }
}

/// A wrapped content key, as it stands in a queue row.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope(pub Vec<u8>);

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envelope({} octets)", self.0.len())
    }
}

/// An envelope taken apart; nothing in it is authenticated yet.
pub(crate) struct Parts<'a> {
    pub(crate) epoch: u32,
    header: &'a [u8],
    wrapped: Wrapped<'a>,
}

/// How the content key is wrapped.
pub(crate) enum Wrapped<'a> {
    /// Under a door key.
    Door(&'a [u8]),
    /// To a public key.
    Public { encapped: &'a [u8], sealed: &'a [u8] },
}

impl Envelope {
    /// Takes the envelope apart.
    pub(crate) fn parts(&self) -> Result<Parts<'_>, OpenError> {
        let bytes = self.0.as_slice();
        let version = *bytes.first().ok_or(OpenError::Malformed)?;
        if version != VERSION {
            return Err(OpenError::Version(version));
        }
        let (&[_, kind, a, b, c, d], rest) =
            bytes.split_first_chunk::<6>().ok_or(OpenError::Malformed)?;
        let epoch = u32::from_be_bytes([a, b, c, d]);
        match kind {
            DOOR => Ok(Parts { epoch, header: &bytes[..6], wrapped: Wrapped::Door(rest) }),
            HPKE => {
                let (ids, rest) = rest.split_first_chunk::<6>().ok_or(OpenError::Malformed)?;
                if *ids != suite() {
                    return Err(OpenError::Method(u16::from_be_bytes([ids[0], ids[1]])));
                }
                let (encapped, sealed) =
                    rest.split_at_checked(ENCAPPED_LEN).ok_or(OpenError::Malformed)?;
                let wrapped = Wrapped::Public { encapped, sealed };
                Ok(Parts { epoch, header: &bytes[..12], wrapped })
            }
            other => Err(OpenError::Method(u16::from(other))),
        }
    }
}

impl Parts<'_> {
    /// Opens with the door key and the sealing secret of the envelope's epoch.
    pub(crate) fn open(
        &self,
        account: AccountId,
        delivery: DeliveryId,
        door: &Key,
        secret: &SealingSecret,
    ) -> Result<Key, OpenError> {
        let aad = additional_data(self.header, account, delivery);
        match self.wrapped {
            Wrapped::Door(sealed) => door.open_key(&aad, sealed),
            Wrapped::Public { encapped, sealed } => {
                let encapped =
                    EncappedKey::from_bytes(encapped).map_err(|_| OpenError::Malformed)?;
                let plain = single_shot_open::<ChaCha20Poly1305, HkdfSha256, XWing>(
                    &OpModeR::Base,
                    &secret.private(),
                    &encapped,
                    INFO,
                    sealed,
                    &aad,
                )
                .map(Zeroizing::new)
                .map_err(|_| OpenError::Unauthentic)?;
                Key::from_slice(&plain).ok_or(OpenError::Malformed)
            }
        }
    }
}

fn header(kind: u8, epoch: u32) -> [u8; 6] {
    let [a, b, c, d] = epoch.to_be_bytes();
    [VERSION, kind, a, b, c, d]
}

/// The ids of RFC 9180 §7: KEM, KDF, AEAD.
pub(crate) fn suite() -> [u8; 6] {
    let [a, b] = XWing::KEM_ID.to_be_bytes();
    let [c, d] = HkdfSha256::KDF_ID.to_be_bytes();
    let [e, f] = ChaCha20Poly1305::AEAD_ID.to_be_bytes();
    [a, b, c, d, e, f]
}

/// Header (with kind, method and epoch), account, delivery: each of a length known from the first.
fn additional_data(header: &[u8], account: AccountId, delivery: DeliveryId) -> Vec<u8> {
    [b"letterlock envelope ", header, &account.to_bytes(), &delivery.to_bytes()].concat()
}

#[cfg(test)]
mod tests;
