//! The organisation's key: a way into every user-held mailbox for whoever keeps its private half, which is never on the
//! server.
//!
//! The server knows the public half (a file that the configuration names) and wraps each account key to it: HPKE
//! (RFC 9180, base mode) with X-Wing, as envelopes are. The private half is a text that is shown once, when the pair is
//! made.
//!
//! Data: version (1 octet, 1), KEM, KDF and AEAD ids (2 each), fingerprint of the public key (8), the encapsulated key
//! (1,120), cipher text (48).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{
    Deserializable, Kem, OpModeR, OpModeS, Serializable, single_shot_open, single_shot_seal,
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::token::ORGANISATION;
use super::{Slot, SlotError, SlotKind, additional_data, body};
use crate::seal::{ENCAPPED_LEN, SealingSecret, suite};
use crate::{AccountId, AccountKey, Key};

const VERSION: u8 = 1;
const FINGERPRINT_LEN: usize = 8;
const HEADER_LEN: usize = 1 + 6 + FINGERPRINT_LEN;
/// HPKE's `info`.
const INFO: &[u8] = b"letterlock organisation slot 1";
const BEGIN: &str = "-----BEGIN LETTERLOCK ORGANISATION KEY-----";
const END: &str = "-----END LETTERLOCK ORGANISATION KEY-----";
/// Characters of a line of the file.
const LINE: usize = 64;

type PublicKey = <XWing as Kem>::PublicKey;
type PrivateKey = <XWing as Kem>::PrivateKey;
type EncappedKey = <XWing as Kem>::EncappedKey;

/// The public half of the organisation's key. No secret.
#[derive(Clone)]
pub struct OrganisationKey {
    public: PublicKey,
    fingerprint: [u8; FINGERPRINT_LEN],
}

impl std::fmt::Debug for OrganisationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OrganisationKey").field(&self.fingerprint).finish()
    }
}

impl OrganisationKey {
    /// Makes a pair: the text of the private half, to be shown once and kept away from the server, and the public half.
    pub fn generate() -> (Zeroizing<String>, OrganisationKey) {
        let seed = Key::random();
        let secret = SealingSecret::new(0, seed.clone());
        let public = Self::from_octets(&secret.public().bytes)
            .expect("what a secret key gives is a public key of the same method");
        (ORGANISATION.encode(0, seed.expose()), public)
    }

    /// Reads the file of a public half.
    pub fn parse(text: &str) -> Option<OrganisationKey> {
        let (_, rest) = text.split_once(BEGIN)?;
        let (inner, _) = rest.split_once(END)?;
        let inner: String = inner.split_ascii_whitespace().collect();
        Self::from_octets(&STANDARD.decode(inner).ok()?)
    }

    /// The file of the public half.
    pub fn to_text(&self) -> String {
        let octets = STANDARD.encode(self.public.to_bytes());
        let mut text = format!("{BEGIN}\n");
        let mut rest = octets.as_str();
        while !rest.is_empty() {
            let (line, more) = rest.split_at(rest.len().min(LINE));
            text.push_str(line);
            text.push('\n');
            rest = more;
        }
        text.push_str(END);
        text.push('\n');
        text
    }

    /// Names the key; two keys have the same one by no accident.
    pub fn fingerprint(&self) -> [u8; 8] {
        self.fingerprint
    }

    /// Whether a text has the form of a private half, with a typing mistake or not of which.
    pub fn recognise(text: &str) -> bool {
        ORGANISATION.secret(text).is_some()
    }

    fn from_octets(octets: &[u8]) -> Option<OrganisationKey> {
        let public = PublicKey::from_bytes(octets).ok()?;
        Some(OrganisationKey { public, fingerprint: fingerprint(octets) })
    }
}

fn fingerprint(public: &[u8]) -> [u8; FINGERPRINT_LEN] {
    let mut short = [0; FINGERPRINT_LEN];
    short.copy_from_slice(&Sha256::digest(public)[..FINGERPRINT_LEN]);
    short
}

/// Makes the slot that the organisation's private key opens. `None` if the public key cannot be sealed to.
pub fn organisation(
    account: AccountId,
    id: u32,
    account_key: &AccountKey,
    to: &OrganisationKey,
) -> Option<Slot> {
    let header = [&[VERSION][..], &suite(), &to.fingerprint].concat();
    let kind = SlotKind::Organisation;
    let aad = additional_data(account, id, kind, &header);
    let (encapped, sealed) = single_shot_seal::<ChaCha20Poly1305, HkdfSha256, XWing>(
        &OpModeS::Base,
        &to.public,
        INFO,
        account_key.0.expose(),
        &aad,
    )
    .ok()?;
    Some(Slot { id, kind, data: [&header[..], &encapped.to_bytes(), &sealed].concat() })
}

/// Which public key an organisation slot is for.
pub fn organisation_fingerprint(slot: &Slot) -> Option<[u8; 8]> {
    let rest = body(slot, SlotKind::Organisation, VERSION).ok()?;
    rest.get(6..6 + FINGERPRINT_LEN)?.try_into().ok()
}

/// Opens the slot with the text of the organisation's private key.
///
/// # Errors
/// [`SlotError::Wrong`] for any text that is not this slot's key; [`SlotError::Malformed`] and
/// [`SlotError::Unsupported`] by the data's shape.
pub fn open_organisation(
    account: AccountId,
    slot: &Slot,
    text: &str,
) -> Result<AccountKey, SlotError> {
    let rest = body(slot, SlotKind::Organisation, VERSION)?;
    if !rest.starts_with(&suite()) {
        return Err(SlotError::Malformed);
    }
    let seed = ORGANISATION.secret(text).ok_or(SlotError::Wrong)?;
    let private = PrivateKey::from_bytes(&seed).map_err(|_| SlotError::Wrong)?;
    let (header, sealed) = slot.data.split_at_checked(HEADER_LEN).ok_or(SlotError::Malformed)?;
    let (encapped, sealed) = sealed.split_at_checked(ENCAPPED_LEN).ok_or(SlotError::Malformed)?;
    let encapped = EncappedKey::from_bytes(encapped).map_err(|_| SlotError::Malformed)?;
    let aad = additional_data(account, slot.id, slot.kind, header);
    let plain = single_shot_open::<ChaCha20Poly1305, HkdfSha256, XWing>(
        &OpModeR::Base,
        &private,
        &encapped,
        INFO,
        sealed,
        &aad,
    )
    .map(Zeroizing::new)
    .map_err(|_| SlotError::Wrong)?;
    Key::from_slice(&plain).map(AccountKey).ok_or(SlotError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_private_half_opens_what_the_public_half_sealed() {
        let (text, public) = OrganisationKey::generate();
        assert!(text.starts_with("llok-") && OrganisationKey::recognise(&text));
        let read = OrganisationKey::parse(&public.to_text()).unwrap();
        assert_eq!(read.fingerprint(), public.fingerprint());
        let (account, key) = (AccountId::generate(), AccountKey::random());
        let slot = organisation(account, 9, &key, &read).unwrap();
        assert_eq!((slot.id, slot.kind), (9, SlotKind::Organisation));
        assert_eq!(organisation_fingerprint(&slot), Some(public.fingerprint()));
        assert_eq!(open_organisation(account, &slot, &text).unwrap().0, key.0);
        assert_eq!(open_organisation(account, &slot, &text.to_uppercase()).unwrap().0, key.0);

        let (other, _) = OrganisationKey::generate();
        for wrong in [other.as_str(), "", "correct horse", "llok-"] {
            assert_eq!(open_organisation(account, &slot, wrong).unwrap_err(), SlotError::Wrong);
        }
        let elsewhere = open_organisation(AccountId::generate(), &slot, &text);
        assert_eq!(elsewhere.unwrap_err(), SlotError::Wrong);
        let moved = Slot { id: 8, ..slot.clone() };
        assert_eq!(open_organisation(account, &moved, &text).unwrap_err(), SlotError::Wrong);
    }

    #[test]
    fn damage_is_told_and_never_panics() {
        let (text, public) = OrganisationKey::generate();
        let (account, key) = (AccountId::generate(), AccountKey::random());
        let slot = organisation(account, 9, &key, &public).unwrap();
        for at in (0..slot.data.len()).step_by(7) {
            let mut damaged = slot.clone();
            damaged.data[at] ^= 0x80;
            assert!(open_organisation(account, &damaged, &text).is_err(), "{at}");
            damaged.data.truncate(at);
            assert!(open_organisation(account, &damaged, &text).is_err(), "{at}");
        }
    }

    #[test]
    fn other_files_are_no_keys() {
        let text = OrganisationKey::generate().1.to_text();
        for wrong in
            ["", BEGIN, &text[..200], &text.replace('A', "-"), &format!("{BEGIN}\nAAAA\n{END}")]
        {
            assert!(OrganisationKey::parse(wrong).is_none(), "{wrong}");
        }
    }
}
