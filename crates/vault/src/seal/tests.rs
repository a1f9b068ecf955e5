//! Envelopes: what opens, and what must not.

use proptest::prelude::*;

use super::*;
use crate::{AccountKey, AccountSecrets, ServerKey};

fn server() -> ServerKey {
    ServerKey::from_key(Key::from_bytes([3; 32]))
}

struct Case {
    secrets: AccountSecrets,
    content: Key,
    delivery: DeliveryId,
}

impl Case {
    fn new() -> Self {
        let secrets =
            AccountSecrets::generate(AccountId::generate(), &AccountKey::random(), &server()).0;
        Self { secrets, content: Key::random(), delivery: DeliveryId::generate() }
    }

    fn public(&self) -> SealTo {
        SealTo::Public { account: self.secrets.account(), public: self.secrets.sealing_public() }
    }

    fn both(&self) -> [Envelope; 2] {
        [self.secrets.seal_to(), self.public()]
            .map(|seal| seal.wrap(&self.content, self.delivery).unwrap())
    }

    fn open(&self, envelope: &Envelope) -> Result<Key, OpenError> {
        self.secrets.open_envelope(envelope, self.delivery)
    }
}

#[test]
fn sealed_both_ways_and_opened() {
    let case = Case::new();
    let [door, public] = case.both();
    assert_eq!(case.open(&door).unwrap(), case.content);
    assert_eq!(case.open(&public).unwrap(), case.content);
    assert_eq!((door.0.len(), public.0.len()), (6 + 72, 12 + 1120 + 48));
    // Version, kind, epoch; X-Wing, HKDF-SHA256, ChaCha20-Poly1305.
    assert_eq!(door.0[..6], [1, 1, 0, 0, 0, 0]);
    assert_eq!(public.0[..12], [1, 2, 0, 0, 0, 0, 0x64, 0x7a, 0, 1, 0, 3]);
    for envelope in [door, public] {
        assert!(!envelope.0.windows(32).any(|part| part == case.content.expose()));
    }
}

#[test]
fn two_envelopes_of_one_key_differ() {
    let case = Case::new();
    assert!(case.both().iter().zip(case.both()).all(|(one, two)| one.0[12..] != two.0[12..]));
}

#[test]
fn bound_to_delivery_and_account() {
    let case = Case::new();
    // Another account with the very same keys does not exist; so the account alone is exchanged.
    let elsewhere = AccountId::generate();
    let door = SealTo::Door { account: elsewhere, key: case.secrets.door().clone() };
    let public = SealTo::Public { account: elsewhere, public: case.secrets.sealing_public() };
    for seal in [door, public] {
        assert_eq!(seal.account(), elsewhere);
        let envelope = seal.wrap(&case.content, case.delivery).unwrap();
        assert_eq!(case.open(&envelope), Err(OpenError::Unauthentic));
    }
    for envelope in case.both() {
        let other = case.secrets.open_envelope(&envelope, DeliveryId::generate());
        assert_eq!(other, Err(OpenError::Unauthentic));
        assert_eq!(Case::new().open(&envelope), Err(OpenError::Unauthentic));
    }
}

#[test]
fn bound_to_the_epoch() {
    let case = Case::new();
    let (next, _) = case.secrets.rotate(&AccountKey::random(), &server());
    for mut envelope in case.both() {
        envelope.0[5] = 1;
        assert_eq!(case.open(&envelope), Err(OpenError::Epoch(1)));
        // Held, but it is not what the envelope was sealed for.
        assert_eq!(next.open_envelope(&envelope, case.delivery), Err(OpenError::Unauthentic));
    }
    // The keys of epoch 0, said to be of epoch 1.
    let mut key = case.secrets.door().clone();
    key.epoch = 1;
    let seal = SealTo::Door { account: case.secrets.account(), key };
    let mut envelope = seal.wrap(&case.content, case.delivery).unwrap();
    envelope.0[5] = 0;
    assert_eq!(case.open(&envelope), Err(OpenError::Unauthentic));
}

#[test]
fn no_octet_can_be_changed() {
    let case = Case::new();
    let [door, public] = case.both();
    for at in 0..door.0.len() {
        let mut changed = door.clone();
        changed.0[at] ^= 0x80;
        assert!(case.open(&changed).is_err(), "octet {at} of a door envelope");
    }
    // Each field of the other kind; every 40th octet of the encapsulated key.
    for at in (0..12).chain((12..1132).step_by(40)).chain(1132..public.0.len()) {
        let mut changed = public.clone();
        changed.0[at] ^= 0x80;
        assert!(case.open(&changed).is_err(), "octet {at} of a public envelope");
    }
}

#[test]
fn truncated_or_longer_is_refused() {
    let case = Case::new();
    for envelope in case.both() {
        for length in 0..envelope.0.len() {
            // Opening a public one takes long; near the limits of its fields is enough.
            if (20..1110).contains(&length) && length % 97 != 0 {
                continue;
            }
            assert!(case.open(&Envelope(envelope.0[..length].to_vec())).is_err(), "{length}");
        }
        let longer = Envelope([&envelope.0[..], &[0]].concat());
        assert!(case.open(&longer).is_err());
    }
    assert_eq!(case.open(&Envelope(vec![])), Err(OpenError::Malformed));
}

#[test]
fn other_versions_and_methods_are_named() {
    let case = Case::new();
    let [door, public] = case.both();
    let with = |envelope: &Envelope, at: usize, value: u8| {
        let mut changed = envelope.clone();
        changed.0[at] = value;
        case.open(&changed)
    };
    assert_eq!(with(&door, 0, 2), Err(OpenError::Version(2)));
    assert_eq!(with(&door, 1, 9), Err(OpenError::Method(9)));
    assert_eq!(with(&public, 7, 0x7b), Err(OpenError::Method(0x647b)));
    assert_eq!(with(&public, 1, 1), Err(OpenError::Unauthentic));
    assert_eq!(
        with(&door, 1, 2),
        Err(OpenError::Method(u16::from_be_bytes([door.0[6], door.0[7]])))
    );
}

#[test]
fn a_bad_public_key_is_an_error() {
    let case = Case::new();
    let good = case.secrets.sealing_public();
    let mut bad = vec![good.bytes[..1215].to_vec(), vec![], [&good.bytes[..], &[0]].concat()];
    // Coefficients of ML-KEM above its modulus (FIPS 203 §7.2).
    bad.push([&[0xff; 1184][..], &good.bytes[1184..]].concat());
    for bytes in bad {
        let public = SealingPublic { epoch: 0, bytes };
        let seal = SealTo::Public { account: case.secrets.account(), public };
        assert_eq!(seal.wrap(&case.content, case.delivery), Err(SealError::PublicKey));
    }
}

#[test]
fn debug_says_nothing() {
    let case = Case::new();
    let secret = SealingSecret::generate(4);
    assert_eq!(format!("{secret:?}"), "SealingSecret { epoch: 4, .. }");
    assert_eq!(format!("{:?}", secret.public()), "SealingPublic { epoch: 4, .. }");
    assert_eq!(format!("{:?}", case.secrets.door()), "DoorKey { epoch: 0, key: Key(..) }");
    assert_eq!(format!("{:?}", case.both()[0]), "Envelope(78 octets)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn noise_never_panics_nor_opens(
        kind in 0u8..4,
        ids in proptest::bool::ANY,
        noise in proptest::collection::vec(any::<u8>(), 0..1300),
    ) {
        let account = AccountId::from_bytes([1; 16]);
        let key = AccountKey(Key::from_bytes([2; 32]));
        let secrets = AccountSecrets::generate(account, &key, &server()).0;
        let delivery = DeliveryId::from_bytes([4; 16]);
        prop_assert!(secrets.open_envelope(&Envelope(noise.clone()), delivery).is_err());
        let mut shaped = header(kind, 0).to_vec();
        if ids {
            shaped.extend(suite());
        }
        shaped.extend(noise);
        prop_assert!(secrets.open_envelope(&Envelope(shaped), delivery).is_err());
    }
}
