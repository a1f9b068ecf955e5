//! Slots of every kind: what opens them, and what must not.

use proptest::prelude::*;

use super::*;
use crate::ServerKey;

fn server_key() -> ServerKey {
    ServerKey::from_key(Key::from_bytes([3; 32]))
}

/// A slot of any kind, and how to open it with the right credential.
struct Case {
    account: AccountId,
    key: AccountKey,
    slot: Slot,
    text: String,
}

impl Case {
    fn new(kind: SlotKind) -> Self {
        let (account, key) = (AccountId::generate(), AccountKey::random());
        let (text, slot) = match kind {
            SlotKind::Password => {
                let text = "pässword 1";
                (text.to_owned(), password(account, 5, text, &key, Argon2Cost::FLOOR))
            }
            SlotKind::AppPassword => {
                let (text, slot) = app_password(account, 5, &key);
                (text.to_string(), slot)
            }
            SlotKind::Recovery => {
                let (text, slot) = recovery(account, 5, &key);
                (text.to_string(), slot)
            }
            SlotKind::Server => (String::new(), server(account, 5, &key, &server_key())),
            SlotKind::Organisation => {
                let (text, public) = OrganisationKey::generate();
                (text.to_string(), organisation(account, 5, &key, &public).unwrap())
            }
        };
        assert_eq!((slot.id, slot.kind), (5, kind));
        Self { account, key, slot, text }
    }
}

fn open(account: AccountId, slot: &Slot, kind: SlotKind, text: &str) -> Result<Key, SlotError> {
    match kind {
        SlotKind::Password => open_password(account, slot, text),
        SlotKind::AppPassword => open_app_password(account, slot, text),
        SlotKind::Recovery => open_recovery(account, slot, text),
        SlotKind::Server => open_server(account, slot, &server_key()),
        SlotKind::Organisation => open_organisation(account, slot, text),
    }
    .map(|key| key.0)
}

const KINDS: [SlotKind; 4] =
    [SlotKind::Password, SlotKind::AppPassword, SlotKind::Recovery, SlotKind::Server];
/// Those that take no Argon2.
const FAST: [SlotKind; 3] = [SlotKind::AppPassword, SlotKind::Recovery, SlotKind::Server];

#[test]
fn kinds_have_stable_codes() {
    assert_eq!(KINDS.map(SlotKind::code), [1, 2, 3, 4]);
    assert_eq!(SlotKind::from_code(5), Some(SlotKind::Organisation));
    for kind in KINDS {
        assert_eq!(SlotKind::from_code(kind.code()), Some(kind));
    }
    assert_eq!(SlotKind::from_code(0), None);
    assert_eq!(SlotKind::from_code(6), None);
}

#[test]
fn the_right_credential_opens() {
    for kind in KINDS {
        let case = Case::new(kind);
        assert_eq!(open(case.account, &case.slot, kind, &case.text), Ok(case.key.0));
    }
}

#[test]
fn another_account_or_slot_does_not() {
    for kind in KINDS {
        let case = Case::new(kind);
        // A password that verifies, with a key that does not open, is a moved slot.
        let expected =
            if kind == SlotKind::Password { SlotError::Malformed } else { SlotError::Wrong };
        let elsewhere = open(AccountId::generate(), &case.slot, kind, &case.text);
        assert_eq!(elsewhere, Err(expected), "{kind:?}");
        let moved = Slot { id: 6, ..case.slot.clone() };
        assert_eq!(open(case.account, &moved, kind, &case.text), Err(expected), "{kind:?}");
    }
}

#[test]
fn a_slot_of_one_kind_is_not_opened_as_another() {
    for kind in FAST {
        let case = Case::new(kind);
        for other in KINDS.into_iter().filter(|other| *other != kind) {
            let opened = open(case.account, &case.slot, other, &case.text);
            assert_eq!(opened, Err(SlotError::Malformed));
            let relabelled = Slot { kind: other, ..case.slot.clone() };
            assert!(open(case.account, &relabelled, other, &case.text).is_err());
        }
    }
}

#[test]
fn a_wrong_credential_is_wrong() {
    let case = Case::new(SlotKind::Password);
    for text in ["", "pässword 2", "pässword 1 ", "PÄSSWORD 1"] {
        assert_eq!(open(case.account, &case.slot, case.slot.kind, text), Err(SlotError::Wrong));
    }
    for kind in [SlotKind::AppPassword, SlotKind::Recovery] {
        let case = Case::new(kind);
        // Well-formed, for a slot of this number, but another secret.
        let other = Case::new(kind);
        for text in [other.text.as_str(), "", "pässword 1", &case.text[..20]] {
            assert_eq!(open(case.account, &case.slot, kind, text), Err(SlotError::Wrong));
        }
    }
    let case = Case::new(SlotKind::Server);
    let other = ServerKey::from_key(Key::random());
    assert_eq!(open_server(case.account, &case.slot, &other).unwrap_err(), SlotError::Wrong);
}

#[test]
fn generated_texts_name_their_slot() {
    assert_eq!(AppPassword::recognise(&Case::new(SlotKind::AppPassword).text), Some(5));
    assert_eq!(RecoveryKey::recognise(&Case::new(SlotKind::Recovery).text), Some(5));
    let case = Case::new(SlotKind::AppPassword);
    let (text, _) = app_password(case.account, 6, &case.key);
    assert_eq!(open_app_password(case.account, &case.slot, &text).unwrap_err(), SlotError::Wrong);
}

#[test]
fn no_octet_of_a_fast_slot_can_be_changed() {
    for kind in FAST {
        let case = Case::new(kind);
        for at in 0..case.slot.data.len() {
            let mut slot = case.slot.clone();
            slot.data[at] ^= 1;
            let opened = open(case.account, &slot, kind, &case.text);
            let expected = match at {
                0 => SlotError::Unsupported(0),
                1 if kind != SlotKind::Server => SlotError::Malformed,
                _ => SlotError::Wrong,
            };
            assert_eq!(opened, Err(expected), "octet {at} of {kind:?}");
        }
    }
}

#[test]
fn no_field_of_a_password_slot_can_be_changed() {
    let case = Case::new(SlotKind::Password);
    // Version, method, memory (high, low), passes, lanes, salt, verifier, nonce, key, tag.
    let expected = [
        (0, SlotError::Unsupported(0)),
        (1, SlotError::Malformed),
        (2, SlotError::Malformed),
        (5, SlotError::Wrong),
        (9, SlotError::Wrong),
        (10, SlotError::Malformed),
        (14, SlotError::Wrong),
        (30, SlotError::Wrong),
        (62, SlotError::Malformed),
        (100, SlotError::Malformed),
        (133, SlotError::Malformed),
    ];
    assert_eq!(case.slot.data.len(), 134);
    for (at, error) in expected {
        let mut slot = case.slot.clone();
        slot.data[at] ^= 1;
        let opened = open(case.account, &slot, SlotKind::Password, &case.text);
        assert_eq!(opened, Err(error), "octet {at}");
    }
}

#[test]
fn the_header_is_bound_to_the_wrap() {
    let (account, key, wrapping) = (AccountId::generate(), AccountKey::random(), Key::random());
    let mut slot = wrap(account, 1, SlotKind::Server, &[1, 2, 3], &wrapping, &key);
    assert_eq!(unwrap(account, &slot, 3, &wrapping).unwrap().0, key.0);
    slot.data[2] = 4;
    assert_eq!(unwrap(account, &slot, 3, &wrapping).unwrap_err(), OpenError::Unauthentic);
}

#[test]
fn truncated_slots_are_malformed() {
    for kind in FAST {
        let case = Case::new(kind);
        for length in 0..case.slot.data.len() {
            let slot = Slot { data: case.slot.data[..length].to_vec(), ..case.slot.clone() };
            assert!(open(case.account, &slot, kind, &case.text).is_err(), "{length} of {kind:?}");
        }
        let slot = Slot { data: Vec::new(), ..case.slot };
        assert_eq!(open(case.account, &slot, kind, &case.text), Err(SlotError::Malformed));
    }
    let case = Case::new(SlotKind::Password);
    for length in (0..62).chain([133]) {
        let slot = Slot { data: case.slot.data[..length].to_vec(), ..case.slot.clone() };
        assert_eq!(
            open(case.account, &slot, SlotKind::Password, &case.text),
            Err(SlotError::Malformed),
            "{length}"
        );
    }
}

#[test]
fn a_password_slot_is_salted_and_wraps_the_same_key() {
    let case = Case::new(SlotKind::Password);
    let again = password(case.account, 5, &case.text, &case.key, Argon2Cost::FLOOR);
    for range in [14..30, 30..62, 62..86, 86..134] {
        assert_ne!(again.data[range.clone()], case.slot.data[range]);
    }
    assert_eq!(open(case.account, &again, SlotKind::Password, &case.text), Ok(case.key.0));
}

#[test]
fn cost_has_a_floor_and_a_ceiling() {
    let cheap = Argon2Cost { memory_kib: 8, passes: 1, lanes: 0 };
    let case = Case::new(SlotKind::Password);
    let slot = password(case.account, 1, "x", &case.key, cheap);
    assert_eq!(password_cost(&slot), Ok(Argon2Cost::FLOOR));
    let more = Argon2Cost { memory_kib: 20 * 1024, passes: 3, lanes: 2 };
    let slot = password(case.account, 1, "x", &case.key, more);
    assert_eq!(password_cost(&slot), Ok(more));
    assert_eq!(open_password(case.account, &slot, "x").unwrap().0, case.key.0);
    assert_eq!(password_cost(&Case::new(SlotKind::Server).slot), Err(SlotError::Malformed));
    assert_eq!(Argon2Cost::default(), Argon2Cost::FLOOR);
}

#[test]
fn damaged_parameters_cost_nothing() {
    let case = Case::new(SlotKind::Password);
    for at in [2, 6, 10] {
        let mut slot = case.slot.clone();
        slot.data[at..at + 4].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(password_cost(&slot), Err(SlotError::Malformed));
        let opened = open(case.account, &slot, SlotKind::Password, &case.text);
        assert_eq!(opened, Err(SlotError::Malformed));
        slot.data[at..at + 4].copy_from_slice(&[0; 4]);
        let opened = open(case.account, &slot, SlotKind::Password, &case.text);
        assert_eq!(opened, Err(SlotError::Malformed));
    }
}

#[test]
fn dummy_work_takes_as_long_as_a_real_check() {
    let case = Case::new(SlotKind::Password);
    let time = |work: &dyn Fn()| {
        let least = (0..3).map(|_| {
            let start = std::time::Instant::now();
            work();
            start.elapsed()
        });
        least.min().unwrap()
    };
    let real = time(&|| {
        open(case.account, &case.slot, SlotKind::Password, "wrong").unwrap_err();
    });
    let dummy = time(&|| dummy_password_work(Argon2Cost::FLOOR));
    // Generous, for a busy machine; skipping the evaluation would be a thousand times faster.
    assert!(dummy * 4 > real && real * 4 > dummy, "{real:?} {dummy:?}");
}

#[test]
fn debug_says_nothing() {
    let slot = Case::new(SlotKind::Server).slot;
    assert_eq!(format!("{slot:?}"), "Slot { id: 5, kind: Server, .. }");
}

proptest! {
    #[test]
    fn noise_never_panics_nor_opens(noise: Vec<u8>, id: u32, versioned: bool) {
        let mut data = noise;
        if versioned {
            data.splice(..0, [1, 1]);
        }
        // So that no proptest run spends its time in Argon2: the shape alone is looked at.
        let slot = Slot { id, kind: SlotKind::Password, data };
        let _ = password_cost(&slot);
        for kind in FAST {
            let slot = Slot { kind, ..slot.clone() };
            let account = AccountId::from_bytes([1; 16]);
            let (text, _) = app_password(account, id, &AccountKey(Key::from_bytes([1; 32])));
            prop_assert!(open(account, &slot, kind, &text).is_err());
        }
    }
}
