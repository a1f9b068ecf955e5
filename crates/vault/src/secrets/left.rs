//! What is left in memory of an account's keys when its last session has gone: none of them.

use crate::slot::{self, Argon2Cost};

use super::*;

#[allow(dead_code, reason = "the other test of memory uses the rest")]
#[path = "../../tests/memory/scan.rs"]
mod scan;

use scan::{Masked, find};

/// Opens an account by each of its credentials, reads what is sealed to it, and lets go of it.
/// The keys that it had, for the search.
#[inline(never)]
fn use_and_lock(server: &ServerKey) -> Vec<(&'static str, Masked)> {
    let account = AccountId::generate();
    let key = AccountKey::random();
    let (secrets, wrapped) = AccountSecrets::generate(account, &key, server);
    let slots = [
        slot::password(account, 1, "the words of a password", &key, Argon2Cost::FLOOR),
        slot::server(account, 4, &key, server),
    ];
    let (app, app_slot) = slot::app_password(account, 2, &key);
    let (recovery, recovery_slot) = slot::recovery(account, 3, &key);
    let delivery = DeliveryId::generate();
    let content = Key::random();
    let door = secrets.seal_to().wrap(&content, delivery).unwrap();
    let public = SealTo::Public { account, public: secrets.sealing_public() };
    let public = public.wrap(&content, delivery).unwrap();
    for opened in [
        slot::open_password(account, &slots[0], "the words of a password"),
        slot::open_app_password(account, &app_slot, &app),
        slot::open_recovery(account, &recovery_slot, &recovery),
        slot::open_server(account, &slots[1], server),
    ] {
        let secrets = wrapped.open(account, &opened.unwrap(), server).unwrap();
        for envelope in [&door, &public] {
            assert!(secrets.open_envelope(envelope, delivery).unwrap() == content);
        }
    }
    let mask = |key: &Key| Masked::new(key.expose());
    let masked = vec![
        ("account key", mask(&key.0)),
        ("data key", mask(&secrets.data)),
        ("page key", mask(&secrets.file.page)),
        ("door key", mask(&secrets.door.key)),
        ("sealing secret", mask(secrets.sealing.seed())),
        ("content key", mask(&content)),
        ("app password", Masked::new(app.as_bytes())),
        ("recovery key", Masked::new(recovery.as_bytes())),
    ];
    let wanted: Vec<&Masked> = masked.iter().map(|(_, masked)| masked).collect();
    for ((name, _), places) in masked.iter().zip(find(&wanted)) {
        assert!(!places.is_empty(), "the search finds the {name} while it is there");
    }
    masked
}

#[test]
fn no_key_of_an_account_is_left_when_it_was_let_go() {
    let server = ServerKey::from_key(Key::random());
    let masked = use_and_lock(&server);
    let wanted: Vec<&Masked> = masked.iter().map(|(_, masked)| masked).collect();
    let left: Vec<_> = masked
        .iter()
        .zip(find(&wanted))
        .filter(|(_, places)| !places.is_empty())
        .map(|((name, _), places)| (*name, places))
        .collect();
    assert!(left.is_empty(), "{left:#?}");
}
