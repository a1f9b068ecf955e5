//! Generated secrets: app passwords, recovery keys, and the text of the organisation's private key.
//!
//! Their text names its kind by a prefix and its slot by number, and ends in a checksum: so a
//! typing mistake is told from a wrong secret, a person's password never tries these slots, and
//! nobody's Argon2 runs for them. The secret is random, so one round of HKDF serves as KDF.
//!
//! Text: `llap-`, `llrk-` or `llok-`, then in Crockford's base 32, lower case, in groups of four: slot id
//! (1 to 4 octets, big-endian, no leading zero but for slot 0), secret (16 or 32), the first 3
//! octets of a SHA-256. It is read in either case, with or without hyphens and spaces, and with
//! `o`, `i`, `l` for `0`, `1`, `1`.
//!
//! Data: version (1 octet, 1), method (1 octet: 1, HKDF-SHA256), sealed key (72). App passwords that log in by SCRAM too
//! have version 2, see `scram`. The organisation's slot has its own form, see `organisation`; the slot number in its
//! key's text is 0 and says nothing.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Slot, SlotError, SlotKind, body, scram, unwrap, wrap};
use crate::key::random_fill;
use crate::{AccountId, AccountKey, Key, OpenError};

const VERSION: u8 = 1;
const HKDF_SHA256: u8 = 1;
const CHECKSUM_LEN: usize = 3;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// One of the kinds of text.
pub(super) struct Shape {
    kind: SlotKind,
    prefix: &'static str,
    /// Octets of the secret.
    secret: usize,
    label: &'static str,
}

const APP_PASSWORD: Shape =
    Shape { kind: SlotKind::AppPassword, prefix: "llap-", secret: 16, label: "app password slot" };
pub(super) const ORGANISATION: Shape =
    Shape { kind: SlotKind::Organisation, prefix: "llok-", secret: 32, label: "" };
const RECOVERY: Shape =
    Shape { kind: SlotKind::Recovery, prefix: "llrk-", secret: 32, label: "recovery slot" };

/// The text of an app password.
pub enum AppPassword {}

impl AppPassword {
    /// The slot that an app password says it is for; `None` for any text that is no app password,
    /// one with a typing mistake too. Says nothing of whether the secret is right.
    pub fn recognise(text: &str) -> Option<u32> {
        APP_PASSWORD.decode(text).map(|token| token.slot)
    }
}

/// The text of a recovery key.
pub enum RecoveryKey {}

impl RecoveryKey {
    /// The slot that a recovery key says it is for; `None` for any text that is no recovery key,
    /// one with a typing mistake too. Says nothing of whether the secret is right.
    pub fn recognise(text: &str) -> Option<u32> {
        RECOVERY.decode(text).map(|token| token.slot)
    }
}

/// Makes an app password: its text, to be shown once, and its slot.
pub fn app_password(
    account: AccountId,
    id: u32,
    account_key: &AccountKey,
) -> (Zeroizing<String>, Slot) {
    APP_PASSWORD.make(account, id, account_key)
}

/// Makes an app password that logs in by SCRAM too: its text, to be shown once, and its slot. `salt` is the same for all
/// app passwords of an account. Takes a millisecond or two.
pub fn app_password_with_scram(
    account: AccountId,
    id: u32,
    account_key: &AccountKey,
    salt: &[u8; scram::SCRAM_SALT],
) -> (Zeroizing<String>, Slot) {
    let mut octets = Zeroizing::new(vec![0; APP_PASSWORD.secret]);
    random_fill(&mut octets);
    let text = APP_PASSWORD.encode(id, &octets);
    let secret = APP_PASSWORD.wrapping(account, id, &octets);
    let slot = scram::make(account, id, &text, &secret, salt, account_key);
    (text, slot)
}

/// Opens an app password's slot, whether it has SCRAM data or not.
///
/// # Errors
/// [`SlotError::Wrong`] for any text that is not this slot's; [`SlotError::Malformed`] and
/// [`SlotError::Unsupported`] by the data's shape.
pub fn open_app_password(
    account: AccountId,
    slot: &Slot,
    text: &str,
) -> Result<AccountKey, SlotError> {
    if slot.kind == SlotKind::AppPassword && slot.data.first() == Some(&scram::VERSION) {
        let token = APP_PASSWORD.decode(text).filter(|token| token.slot == slot.id);
        let octets = token.ok_or(SlotError::Wrong)?.secret;
        let secret = APP_PASSWORD.wrapping(account, slot.id, &octets);
        return scram::open_secret(account, slot, &secret);
    }
    APP_PASSWORD.open(account, slot, text)
}

/// Makes a recovery key: its text, to be shown once, and its slot.
pub fn recovery(
    account: AccountId,
    id: u32,
    account_key: &AccountKey,
) -> (Zeroizing<String>, Slot) {
    RECOVERY.make(account, id, account_key)
}

/// Opens a recovery key's slot.
///
/// # Errors
/// As [`open_app_password`].
pub fn open_recovery(account: AccountId, slot: &Slot, text: &str) -> Result<AccountKey, SlotError> {
    RECOVERY.open(account, slot, text)
}

struct Token {
    slot: u32,
    secret: Zeroizing<Vec<u8>>,
}

impl Shape {
    fn make(
        &self,
        account: AccountId,
        id: u32,
        account_key: &AccountKey,
    ) -> (Zeroizing<String>, Slot) {
        let mut secret = Zeroizing::new(vec![0; self.secret]);
        random_fill(&mut secret);
        let wrapping = self.wrapping(account, id, &secret);
        let slot = wrap(account, id, self.kind, &[VERSION, HKDF_SHA256], &wrapping, account_key);
        (self.encode(id, &secret), slot)
    }

    fn open(&self, account: AccountId, slot: &Slot, text: &str) -> Result<AccountKey, SlotError> {
        if body(slot, self.kind, VERSION)?.first() != Some(&HKDF_SHA256) {
            return Err(SlotError::Malformed);
        }
        let token = self.decode(text).filter(|token| token.slot == slot.id);
        let secret = token.ok_or(SlotError::Wrong)?.secret;
        unwrap(account, slot, 2, &self.wrapping(account, slot.id, &secret)).map_err(|error| {
            match error {
                OpenError::Unauthentic => SlotError::Wrong,
                _ => SlotError::Malformed,
            }
        })
    }

    fn wrapping(&self, account: AccountId, id: u32, secret: &[u8]) -> Key {
        let context = [&account.to_bytes()[..], &id.to_be_bytes()].concat();
        Key::derive_from(secret, self.label, &context)
    }

    /// The secret in a text.
    pub(super) fn secret(&self, text: &str) -> Option<Zeroizing<Vec<u8>>> {
        self.decode(text).map(|token| token.secret)
    }

    pub(super) fn encode(&self, id: u32, secret: &[u8]) -> Zeroizing<String> {
        let id = id.to_be_bytes();
        let leading = id.iter().take(3).take_while(|octet| **octet == 0).count();
        // With room for all from the start: growing would leave copies behind.
        let mut octets = Zeroizing::new(Vec::with_capacity(4 + self.secret + CHECKSUM_LEN));
        octets.extend_from_slice(&id[leading..]);
        octets.extend_from_slice(secret);
        let checksum = self.checksum(&octets);
        octets.extend_from_slice(&checksum);

        let mut text = Zeroizing::new(String::with_capacity(self.prefix.len() + octets.len() * 2));
        text.push_str(self.prefix);
        for (at, digit) in digits(&octets).enumerate() {
            if at > 0 && at % 4 == 0 {
                text.push('-');
            }
            text.push(char::from(ALPHABET[usize::from(digit)]));
        }
        text
    }

    fn decode(&self, text: &str) -> Option<Token> {
        let text = text.trim();
        let (prefix, text) = text.split_at_checked(self.prefix.len())?;
        if !prefix.eq_ignore_ascii_case(self.prefix) {
            return None;
        }
        let longest = 4 + self.secret + CHECKSUM_LEN;
        let mut octets = Zeroizing::new(Vec::with_capacity(longest));
        let (mut bits, mut held) = (0u32, 0u32);
        for character in text.bytes().filter(|octet| !matches!(octet, b'-' | b' ')) {
            bits = bits << 5 | u32::from(digit(character)?);
            held += 5;
            if held >= 8 {
                held -= 8;
                if octets.len() == longest {
                    return None;
                }
                octets.push((bits >> held & 0xff) as u8);
            }
            bits &= (1 << held) - 1;
        }
        // What is left over is padding: fewer bits than a digit has, and all zero.
        if held >= 5 || bits != 0 {
            return None;
        }
        let (payload, checksum) =
            octets.split_at_checked(octets.len().checked_sub(CHECKSUM_LEN)?)?;
        let (id, secret) = payload.split_at_checked(payload.len().checked_sub(self.secret)?)?;
        if !(1..=4).contains(&id.len()) || (id.len() > 1 && id[0] == 0) {
            return None;
        }
        if checksum != self.checksum(payload) {
            return None;
        }
        let slot = id.iter().fold(0, |slot, octet| slot << 8 | u32::from(*octet));
        Some(Token { slot, secret: Zeroizing::new(secret.to_vec()) })
    }

    /// Finds typing mistakes; it hides and proves nothing.
    fn checksum(&self, payload: &[u8]) -> [u8; CHECKSUM_LEN] {
        let hash = Sha256::new().chain_update(self.prefix).chain_update(payload).finalize();
        [hash[0], hash[1], hash[2]]
    }
}

/// The octets as digits of five bits, the last one padded with zeros.
fn digits(octets: &[u8]) -> impl Iterator<Item = u8> {
    (0..(octets.len() * 8).div_ceil(5)).map(|digit| {
        let bit = digit * 5;
        let at = |index: usize| u16::from(octets.get(index).copied().unwrap_or(0));
        let pair = at(bit / 8) << 8 | at(bit / 8 + 1);
        (pair >> (11 - bit % 8) & 31) as u8
    })
}

/// The value of a character, with what people write for it.
fn digit(character: u8) -> Option<u8> {
    let lower = match character.to_ascii_lowercase() {
        b'o' => b'0',
        b'i' | b'l' => b'1',
        other => other,
    };
    ALPHABET.iter().position(|octet| *octet == lower).and_then(|at| u8::try_from(at).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_text_is_short_for_small_slots() {
        let text = APP_PASSWORD.encode(0, &[0; 16]);
        assert_eq!(text.len(), 44, "{}", *text);
        assert_eq!(&text[..25], "llap-0000-0000-0000-0000-");
        assert_eq!(AppPassword::recognise(&text), Some(0));
        assert!(RECOVERY.encode(u32::MAX, &[0xff; 32]).len() <= 84);
    }

    #[test]
    fn what_people_write_is_read() {
        let secret: Vec<u8> = (0..16).map(|octet| octet * 16).collect();
        let text = APP_PASSWORD.encode(33, &secret);
        let bare = format!("llap-{}", text[5..].replace('-', ""));
        let spaced = format!("  {}\r\n", text.replace('-', " ").replacen(' ', "-", 1));
        let misread = format!("llap-{}", text[5..].replace('0', "O").replace('1', "l"));
        assert_ne!(misread, *text);
        for variant in [text.to_uppercase(), bare, spaced, misread] {
            let token = APP_PASSWORD.decode(&variant).expect(&variant);
            assert_eq!((token.slot, &*token.secret), (33, &secret));
        }
    }

    #[test]
    fn each_typing_mistake_is_told() {
        let text = APP_PASSWORD.encode(7, &[0x5a; 16]);
        for at in 0..text.len() {
            let mut changed = text.to_string().into_bytes();
            changed[at] = if changed[at] == b'7' { b'8' } else { b'7' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(AppPassword::recognise(&changed), None, "{changed}");
            // A hyphen between groups is for the eye alone.
            let hyphen = at > 4 && &text[at..=at] == "-";
            let missing = [&text[..at], &text[at + 1..]].concat();
            assert_eq!(AppPassword::recognise(&missing), hyphen.then_some(7), "{missing}");
        }
        for end in 0..text.len() {
            assert_eq!(AppPassword::recognise(&text[..end]), None);
        }
        for more in ["0", "00", "z", "ä", "0000000000000000"] {
            assert_eq!(AppPassword::recognise(&format!("{}{more}", *text)), None, "{more}");
        }
    }

    #[test]
    fn one_kind_is_not_the_other() {
        let app = APP_PASSWORD.encode(1, &[1; 16]);
        let recovery = RECOVERY.encode(1, &[1; 32]);
        assert_eq!(RecoveryKey::recognise(&app), None);
        assert_eq!(AppPassword::recognise(&recovery), None);
        assert_eq!(RecoveryKey::recognise(&app.replace("llap", "llrk")), None);
        assert_eq!(RecoveryKey::recognise(&recovery), Some(1));
        for text in ["", "llap-", "llap", "correct horse battery staple", "ллап-0000"] {
            assert_eq!(AppPassword::recognise(text), None, "{text}");
        }
    }

    #[test]
    fn a_slot_id_has_one_spelling() {
        let octets = [&[0, 7][..], &[9; 16]].concat();
        let octets = [&octets[..], &APP_PASSWORD.checksum(&octets)].concat();
        let text: String =
            digits(&octets).map(|digit| char::from(ALPHABET[usize::from(digit)])).collect();
        assert_eq!(AppPassword::recognise(&format!("llap-{text}")), None);
        let octets = [&[7][..], &[9; 16]].concat();
        let octets = [&octets[..], &APP_PASSWORD.checksum(&octets)].concat();
        let text: String =
            digits(&octets).map(|digit| char::from(ALPHABET[usize::from(digit)])).collect();
        assert_eq!(AppPassword::recognise(&format!("llap-{text}")), Some(7));
    }

    proptest! {
        #[test]
        fn every_token_reads_back(id: u32, short: bool, secret: [u8; 32]) {
            let id = if short { id % 300 } else { id };
            let app = APP_PASSWORD.decode(&APP_PASSWORD.encode(id, &secret[..16])).unwrap();
            prop_assert_eq!((app.slot, &app.secret[..]), (id, &secret[..16]));
            let recovery = RECOVERY.decode(&RECOVERY.encode(id, &secret)).unwrap();
            prop_assert_eq!((recovery.slot, &recovery.secret[..]), (id, &secret[..]));
        }

        #[test]
        fn noise_is_no_token(noise: String, digits in "[0-9a-z -]{0,70}") {
            prop_assert_eq!(AppPassword::recognise(&noise), None);
            prop_assert_eq!(AppPassword::recognise(&format!("llap-{noise}")), None);
            // One in 2^24 would pass.
            prop_assert_eq!(AppPassword::recognise(&format!("llap-{digits}")), None);
            prop_assert_eq!(RecoveryKey::recognise(&format!("llrk-{digits}")), None);
        }
    }
}
