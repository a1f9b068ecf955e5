//! The Sender Rewriting Scheme: the reverse-path of a message that is passed on.
//!
//! A forwarder that keeps the sender's address fails the sender's SPF. So it puts an address of its own there, in which
//! the sender's stands, with a day stamp and a hash that only the forwarder can make:
//!
//! ```text
//! ann@a.test            forwarded by f.test    SRS0=HASH=TT=a.test=ann@f.test
//! SRS0=…@f.test         forwarded by g.test    SRS1=HASH=f.test==HASH=TT=a.test=ann@g.test
//! SRS1=…@g.test         forwarded by h.test    SRS1=HASH=f.test==HASH=TT=a.test=ann@h.test
//! ```
//!
//! A bounce to such an address goes back one step. The scheme has no RFC; this follows its authors' paper and what
//! is deployed: letters may change their case on the way, `+` and `-` may stand for the first `=`.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{Domain, LocalPart, Mailbox};

/// How many days a rewritten address is good for: bounces come within the five days that servers try, or late.
const VALID_DAYS: u64 = 21;
/// A clock may be a little behind that of yesterday's start.
const EARLY_DAYS: u64 = 1;
/// Characters of the hash, five bits each. Four is the least in use.
const HASH_LENGTH: usize = 6;
/// The longest local part that every server must take (RFC 5321 §4.5.3.1.1).
const LONGEST: usize = 64;
/// Day stamps count to this and begin anew.
const STAMPS: u64 = 1024;
/// RFC 4648's base 32: it survives a change of case.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Why an address could not be rewritten, or not be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SrsError {
    /// The rewritten local part would be longer than 64 octets.
    #[error("the rewritten address would be too long")]
    TooLong,
    /// It looks like a rewritten address, but parts are missing.
    #[error("the return address is malformed")]
    Malformed,
    /// The hash is not ours.
    #[error("the return address was not made here")]
    Forged,
    /// It was made too long ago.
    #[error("the return address has expired")]
    Expired,
}

/// Rewrites reverse-paths and takes them back, under a secret key.
#[derive(Clone)]
pub struct Srs(Zeroizing<[u8; 32]>);

impl fmt::Debug for Srs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Srs(..)")
    }
}

/// What a local part is, seen with the scheme's eyes.
enum Form<'a> {
    /// What stands behind `SRS0`, its separator included.
    First(&'a str),
    /// What stands behind `SRS1` and its separator.
    Later(&'a str),
    Plain,
}

fn form(local: &str) -> Form<'_> {
    let Some((tag, rest)) = local.split_at_checked(4) else { return Form::Plain };
    match rest.strip_prefix(['=', '+', '-']) {
        Some(_) if tag.eq_ignore_ascii_case("SRS0") => Form::First(rest),
        Some(behind) if tag.eq_ignore_ascii_case("SRS1") => Form::Later(behind),
        _ => Form::Plain,
    }
}

/// Whether a local part has the form of a rewritten one.
pub fn is_rewritten(local: &LocalPart) -> bool {
    !matches!(form(local.as_str()), Form::Plain)
}

impl Srs {
    /// A rewriter with this key.
    pub fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// The reverse-path, in `domain`, of a message from `sender` that is passed on. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// `TooLong`: then the message can only go on under its own reverse-path.
    pub fn forward(
        &self,
        sender: &Mailbox,
        domain: &Domain,
        now: i64,
    ) -> Result<Mailbox, SrsError> {
        let local = sender.local.as_str();
        let text = match form(local) {
            Form::First(rest) => self.later(sender.domain.as_str(), rest),
            Form::Later(behind) => {
                match behind.split_once('=').and_then(|(_, rest)| rest.split_once('=')) {
                    // The first forwarder stays, the one in between is left out.
                    Some((first, rest)) if Domain::parse(first).is_ok() => self.later(first, rest),
                    _ => self.first(sender, now),
                }
            }
            Form::Plain => self.first(sender, now),
        };
        if text.len() > LONGEST {
            return Err(SrsError::TooLong);
        }
        let local = LocalPart::from_decoded(&text).map_err(|_| SrsError::TooLong)?;
        joined(local, domain.clone()).ok_or(SrsError::TooLong)
    }

    fn first(&self, sender: &Mailbox, now: i64) -> String {
        let (local, domain) = (sender.local.as_str(), sender.domain.as_str());
        let stamp = stamp(day(now));
        let hash = self.hash(&["0", &stamp, domain, local]);
        format!("SRS0={hash}={stamp}={domain}={local}")
    }

    fn later(&self, first: &str, rest: &str) -> String {
        let hash = self.hash(&["1", first, rest]);
        format!("SRS1={hash}={first}={rest}")
    }

    /// Where mail to a rewritten address belongs: to its sender, or to the forwarder before us. `None` if the address
    /// is no rewritten one.
    ///
    /// # Errors
    /// `Malformed`, `Forged` or `Expired`.
    pub fn reverse(&self, address: &Mailbox, now: i64) -> Result<Option<Mailbox>, SrsError> {
        match form(address.local.as_str()) {
            Form::Plain => Ok(None),
            Form::First(rest) => self.to_sender(&rest[1..], now).map(Some),
            Form::Later(behind) => self.to_forwarder(behind).map(Some),
        }
    }

    fn to_sender(&self, text: &str, now: i64) -> Result<Mailbox, SrsError> {
        let mut parts = text.splitn(4, '=');
        let mut next = || parts.next().ok_or(SrsError::Malformed);
        let (hash, stamp, domain, local) = (next()?, next()?, next()?, next()?);
        self.check(hash, &["0", stamp, domain, local])?;
        let made = read_stamp(stamp).ok_or(SrsError::Malformed)?;
        let age = (day(now) + EARLY_DAYS + STAMPS - made) % STAMPS;
        if age > VALID_DAYS + EARLY_DAYS {
            return Err(SrsError::Expired);
        }
        mailbox(local, domain)
    }

    fn to_forwarder(&self, text: &str) -> Result<Mailbox, SrsError> {
        let mut parts = text.splitn(3, '=');
        let mut next = || parts.next().ok_or(SrsError::Malformed);
        let (hash, first, rest) = (next()?, next()?, next()?);
        self.check(hash, &["1", first, rest])?;
        mailbox(&format!("SRS0{rest}"), first)
    }

    fn check(&self, hash: &str, parts: &[&str]) -> Result<(), SrsError> {
        let made = self.hash(parts);
        match made.as_bytes().ct_eq(hash.to_ascii_uppercase().as_bytes()).into() {
            true => Ok(()),
            false => Err(SrsError::Forged),
        }
    }

    /// The hash over the parts in lower case, since any server on the way may write them so.
    fn hash(&self, parts: &[&str]) -> String {
        let mut hmac = match Hmac::<Sha256>::new_from_slice(self.0.as_slice()) {
            Ok(hmac) => hmac,
            // HMAC takes keys of any length (RFC 2104 §2).
            Err(_) => unreachable!("HMAC takes any key"),
        };
        for part in parts {
            hmac.update(part.to_lowercase().as_bytes());
            hmac.update(b"\0");
        }
        let tag = hmac.finalize().into_bytes();
        tag.iter().take(HASH_LENGTH).map(|octet| letter(u64::from(*octet))).collect()
    }
}

fn mailbox(local: &str, domain: &str) -> Result<Mailbox, SrsError> {
    let local = LocalPart::from_decoded(local).map_err(|_| SrsError::Malformed)?;
    let domain = Domain::parse(domain).map_err(|_| SrsError::Malformed)?;
    joined(local, domain).ok_or(SrsError::Malformed)
}

fn joined(local: LocalPart, domain: Domain) -> Option<Mailbox> {
    let mailbox = Mailbox { local, domain };
    (mailbox.to_string().len() <= Mailbox::MAX_OCTETS).then_some(mailbox)
}

/// The days since 1970, as far as stamps go.
fn day(now: i64) -> u64 {
    u64::try_from(now).unwrap_or(0) / 86_400 % STAMPS
}

fn stamp(day: u64) -> String {
    [day >> 5, day].into_iter().map(letter).collect()
}

/// The lowest five bits as a letter.
fn letter(bits: u64) -> char {
    // The index is below 32, as many as there are letters.
    char::from(ALPHABET[(bits & 31) as usize])
}

fn read_stamp(text: &str) -> Option<u64> {
    let digit = |b: u8| ALPHABET.iter().position(|held| *held == b.to_ascii_uppercase());
    let [high, low] = text.as_bytes() else { return None };
    Some((digit(*high)? as u64) << 5 | digit(*low)? as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400;
    const NOW: i64 = 20_000 * DAY + 5;

    fn srs(seed: u8) -> Srs {
        Srs::new([seed; 32])
    }

    fn address(text: &str) -> Mailbox {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn lower(mailbox: &Mailbox) -> Mailbox {
        address(&mailbox.to_string().to_lowercase())
    }

    #[test]
    fn a_chain_of_forwarders_goes_back_step_by_step() {
        let (f, g, h) = (srs(1), srs(2), srs(3));
        let ann = address("Ann@a.test");
        let at_f = f.forward(&ann, &domain("f.test"), NOW).unwrap();
        assert!(
            at_f.to_string().starts_with("SRS0=")
                && at_f.to_string().ends_with("=a.test=Ann@f.test")
        );
        let at_g = g.forward(&at_f, &domain("g.test"), NOW).unwrap();
        assert!(
            at_g.local.as_str().starts_with("SRS1=") && at_g.local.as_str().contains("=f.test==")
        );
        let at_h = h.forward(&at_g, &domain("h.test"), NOW).unwrap();
        // The one in between is left out, and asked no more.
        assert!(
            at_h.local.as_str().contains("=f.test==") && !at_h.local.as_str().contains("g.test")
        );
        assert_eq!(h.reverse(&at_h, NOW), Ok(Some(at_f.clone())));
        assert_eq!(g.reverse(&at_g, NOW), Ok(Some(at_f.clone())));
        assert_eq!(f.reverse(&at_f, NOW), Ok(Some(ann)));
    }

    #[test]
    fn addresses_expire() {
        let rewritten = srs(1).forward(&address("a@a.test"), &domain("f.test"), NOW).unwrap();
        for days in [-1, 0, 1, 21] {
            assert!(srs(1).reverse(&rewritten, NOW + days * DAY).is_ok(), "{days}");
        }
        for days in [-2, 22, 100, 1000] {
            assert_eq!(
                srs(1).reverse(&rewritten, NOW + days * DAY),
                Err(SrsError::Expired),
                "{days}"
            );
        }
    }

    #[test]
    fn what_others_made_is_refused() {
        let rewritten = srs(1).forward(&address("a@a.test"), &domain("f.test"), NOW).unwrap();
        assert_eq!(srs(2).reverse(&rewritten, NOW), Err(SrsError::Forged));
        let other = rewritten.to_string().replace("=a.test=", "=b.test=");
        assert_eq!(srs(1).reverse(&address(&other), NOW), Err(SrsError::Forged));
        for text in ["SRS0=x@f.test", "SRS0=@f.test", "SRS1=x=y@f.test", "srs0=a=b=c@f.test"] {
            assert_eq!(srs(1).reverse(&address(text), NOW), Err(SrsError::Malformed), "{text}");
        }
        for text in ["SRS0@f.test", "SRS2=a=b=c=d@f.test", "ann@f.test", "srs@f.test", "ü@f.test"]
        {
            assert_eq!(srs(1).reverse(&address(text), NOW), Ok(None), "{text}");
            assert!(!is_rewritten(&address(text).local));
        }
    }

    #[test]
    fn other_separators_are_understood() {
        let theirs = address("SRS0+abcd=XY=a.test=ann@f.test");
        assert!(is_rewritten(&theirs.local));
        let ours = srs(1).forward(&theirs, &domain("g.test"), NOW).unwrap();
        assert_eq!(
            srs(1).reverse(&lower(&ours), NOW).unwrap().map(|back| back.to_string().to_lowercase()),
            Some("srs0+abcd=xy=a.test=ann@f.test".to_owned())
        );
    }

    #[test]
    fn no_local_part_is_longer_than_all_must_take() {
        let long = address(&format!("{}@a.test", "x".repeat(60)));
        assert_eq!(srs(1).forward(&long, &domain("f.test"), NOW), Err(SrsError::TooLong));
    }

    proptest! {
        #[test]
        fn there_and_back(local in "[a-zA-Z0-9=+. _äß\"\\\\-]{1,30}", name in "[a-z]{1,8}\\.test", day in 0_i64..100_000, late in 0_i64..=21) {
            let sender = Mailbox { local: LocalPart::from_decoded(&local).unwrap(), domain: domain(&name) };
            let now = day * DAY;
            let Ok(rewritten) = srs(7).forward(&sender, &domain("f.test"), now) else { return Ok(()) };
            prop_assert!(rewritten.local.as_str().len() <= LONGEST);
            prop_assert!(is_rewritten(&rewritten.local));
            // It survives the wire, and one that folds its case.
            let wire = address(&rewritten.to_string());
            prop_assert_eq!(srs(7).reverse(&wire, now + late * DAY), Ok(Some(sender.clone())));
            if local.is_ascii() {
                let folded = srs(7).reverse(&lower(&wire), now + late * DAY).unwrap().unwrap();
                prop_assert_eq!(folded.canonical(), sender.canonical());
            }
        }

        #[test]
        fn nothing_panics(local in "(?i:srs[01])[=+-]\\PC{0,40}", now in any::<i64>()) {
            if let Ok(local) = LocalPart::from_decoded(&local) {
                let address = Mailbox { local, domain: domain("f.test") };
                let _ = srs(1).reverse(&address, now);
                let _ = srs(1).forward(&address, &domain("g.test"), now);
            }
        }
    }
}
