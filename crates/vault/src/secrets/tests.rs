//! An account's secrets: wrapping, unwrapping, rotation.

use super::*;
use proptest::prelude::*;

fn server() -> ServerKey {
    ServerKey::from_key(Key::from_bytes([3; 32]))
}

fn same(left: &AccountSecrets, right: &AccountSecrets) -> bool {
    left.data == right.data
        && left.file.page == right.file.page
        && left.file.integrity == right.file.integrity
        && left.door.key == right.door.key
        && left.sealing.seed() == right.sealing.seed()
        && left.epoch() == right.epoch()
        && left.public == right.public
}

#[test]
fn wrapped_and_opened_again() {
    let (account, key) = (AccountId::generate(), AccountKey::random());
    let (secrets, wrapped) = AccountSecrets::generate(account, &key, &server());
    assert_eq!(wrapped.epoch, 0);
    assert_eq!(wrapped.sealing_public, secrets.sealing_public().bytes);
    let opened = wrapped.open(account, &key, &server()).unwrap();
    assert!(same(&secrets, &opened));
    let stored = WrappedSecrets::from_bytes(&wrapped.to_bytes()).unwrap();
    assert_eq!(stored, wrapped);
}

#[test]
fn bound_to_account_epoch_and_key() {
    let (account, key) = (AccountId::generate(), AccountKey::random());
    let (_, wrapped) = AccountSecrets::generate(account, &key, &server());
    let other = AccountId::generate();
    assert_eq!(wrapped.open(other, &key, &server()).unwrap_err(), OpenError::Unauthentic);
    let stranger = AccountKey::random();
    assert_eq!(wrapped.open(account, &stranger, &server()).unwrap_err(), OpenError::Unauthentic);
    let moved = WrappedSecrets { epoch: 1, ..wrapped.clone() };
    assert_eq!(moved.open(account, &key, &server()).unwrap_err(), OpenError::Unauthentic);
    // One sealed field in the other's place.
    let crossed = WrappedSecrets { data_key: wrapped.sealing_secret.clone(), ..wrapped };
    assert_eq!(crossed.open(account, &key, &server()).unwrap_err(), OpenError::Unauthentic);
}

#[test]
fn an_exchanged_public_key_is_noticed() {
    let (account, key) = (AccountId::generate(), AccountKey::random());
    let (_, wrapped) = AccountSecrets::generate(account, &key, &server());
    let (thief, _) = AccountSecrets::generate(account, &key, &server());
    let exchanged = WrappedSecrets { sealing_public: thief.sealing_public().bytes, ..wrapped };
    assert_eq!(exchanged.open(account, &key, &server()).unwrap_err(), OpenError::Exchanged);
}

#[test]
fn the_server_contributes_integrity_only() {
    let (account, key) = (AccountId::generate(), AccountKey::random());
    let (secrets, wrapped) = AccountSecrets::generate(account, &key, &server());
    let elsewhere = ServerKey::from_key(Key::random());
    let opened = wrapped.open(account, &key, &elsewhere).unwrap();
    assert_eq!(opened.file.page, secrets.file.page);
    assert_ne!(opened.file.integrity, secrets.file.integrity);
    assert_eq!(secrets.file.integrity, server().integrity_key(account, 0));
}

#[test]
fn rotation_changes_everything_and_keeps_the_old_envelopes_open() {
    let (account, key) = (AccountId::generate(), AccountKey::random());
    let (first, _) = AccountSecrets::generate(account, &key, &server());
    let new_key = AccountKey::random();
    let (second, _) = first.rotate(&key, &server());
    let (third, wrapped) = second.rotate(&new_key, &server());
    assert_eq!((third.epoch(), wrapped.epoch), (2, 2));
    assert_ne!(first.file.page, third.file.page);
    assert_ne!(first.door.key, third.door.key);
    assert_ne!(first.public.bytes, third.public.bytes);
    assert!(wrapped.open(account, &key, &server()).is_err());

    let mut opened = wrapped.open(account, &new_key, &server()).unwrap();
    assert!(same(&third, &opened));
    let content = Key::random();
    let delivery = DeliveryId::generate();
    for sender in [&first, &second, &third] {
        let public = SealTo::Public { account, public: sender.sealing_public() };
        for seal in [sender.seal_to(), public] {
            let envelope = seal.wrap(&content, delivery).unwrap();
            assert_eq!(opened.open_envelope(&envelope, delivery).unwrap(), content);
        }
    }
    let late = third.seal_to().wrap(&content, delivery).unwrap();
    assert_eq!(second.open_envelope(&late, delivery), Err(OpenError::Epoch(2)));

    opened.forget_earlier();
    let early = first.seal_to().wrap(&content, delivery).unwrap();
    assert_eq!(opened.open_envelope(&early, delivery), Err(OpenError::Epoch(0)));
    let rewrapped = opened.wrap(&new_key).open(account, &new_key, &server()).unwrap();
    assert_eq!(rewrapped.open_envelope(&early, delivery), Err(OpenError::Epoch(0)));
}

#[test]
fn debug_says_nothing() {
    let (account, key) = (AccountId::generate(), AccountKey::random());
    let (secrets, wrapped) = AccountSecrets::generate(account, &key, &server());
    assert_eq!(
        format!("{secrets:?}"),
        format!("AccountSecrets {{ account: {account:?}, epoch: 0, .. }}")
    );
    assert_eq!(format!("{wrapped:?}"), "WrappedSecrets { epoch: 0, .. }");
    assert_eq!(format!("{key:?}"), "AccountKey(Key(..))");
}

#[test]
fn an_encoding_of_another_shape_is_refused() {
    let wrapped = WrappedSecrets {
        epoch: 7,
        data_key: vec![1; 72],
        sealing_public: vec![2; 5],
        sealing_secret: vec![],
    };
    let bytes = wrapped.to_bytes();
    for length in 0..bytes.len() {
        assert_eq!(WrappedSecrets::from_bytes(&bytes[..length]), Err(OpenError::Malformed));
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(WrappedSecrets::from_bytes(&longer), Err(OpenError::Malformed));
    let newer = [&[9], &bytes[1..]].concat();
    assert_eq!(WrappedSecrets::from_bytes(&newer), Err(OpenError::Version(9)));
}

proptest! {
    #[test]
    fn noise_never_panics(mut noise: Vec<u8>, versioned: bool) {
        if versioned && !noise.is_empty() {
            noise[0] = VERSION;
        }
        if let Ok(read) = WrappedSecrets::from_bytes(&noise) {
            prop_assert_eq!(read.to_bytes(), noise);
            let key = AccountKey(Key::from_bytes([1; 32]));
            prop_assert!(read.open(AccountId::from_bytes([0; 16]), &key, &server()).is_err());
        }
    }

    #[test]
    fn odd_seed_lists_never_panic(list in proptest::collection::vec(any::<u8>(), 0..200)) {
        let account = AccountId::from_bytes([5; 16]);
        let key = AccountKey(Key::from_bytes([1; 32]));
        let wrapped = WrappedSecrets {
            epoch: 0,
            data_key: key.0.seal(&aad(b"data key", account, 0), &[1; 32]),
            sealing_public: vec![],
            sealing_secret: key.0.seal(&aad(b"sealing secret", account, 0), &list),
        };
        prop_assert!(wrapped.open(account, &key, &server()).is_err());
    }
}
