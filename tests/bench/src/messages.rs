//! Mail to send: no two messages alike, of a given size, the same in every run.

use jiff::Timestamp;
use letterlock_address::Domain;
use letterlock_sender_auth::{KeyAlgorithm, SigningKey, generate_key};

/// The domain that the mail comes from.
pub(crate) const DOMAIN: &str = "sender.test";
/// The host that sends it.
pub(crate) const HOST: &str = "mx.sender.test";
/// The sender of envelope and header.
pub(crate) const SENDER: &str = "news@sender.test";
/// The selector of the DKIM key.
pub(crate) const SELECTOR: &str = "bench";

/// Signs for [`DOMAIN`].
pub(crate) struct Signer {
    key: SigningKey,
    /// The TXT record to publish at `bench._domainkey`.
    pub(crate) record: String,
    domain: Domain,
}

impl Signer {
    /// With a new RSA key of 2,048 bits, which is what most mail is signed with.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let key = generate_key(KeyAlgorithm::Rsa2048)?;
        Ok(Self {
            key: SigningKey::from_pkcs8(&key.private)?,
            record: key.public_dns,
            domain: Domain::parse(DOMAIN)?,
        })
    }

    /// The message with its signature before it.
    pub(crate) fn signed(&self, message: Vec<u8>) -> anyhow::Result<Vec<u8>> {
        let header = self.key.sign(&message, &self.domain, SELECTOR, Timestamp::now())?;
        let mut signed = header.into_bytes();
        signed.extend_from_slice(&message);
        Ok(signed)
    }
}

/// The message with this number: `multipart/alternative` with a text and an HTML part, together about `size` octets
/// (never fewer than the header takes). The text is words, frequent and rare ones as in prose, with
/// two that no other message has.
pub(crate) fn message(number: u32, to: &str, size: usize) -> Vec<u8> {
    letter(number, SENDER, to, size)
}

/// The same from somebody else.
pub(crate) fn letter(number: u32, from: &str, to: &str, size: usize) -> Vec<u8> {
    let mut random = Random::new(number);
    let boundary = format!("=_{:016x}", random.next());
    let header = format!(
        "From: News of the day <{from}>\r\n\
         To: <{to}>\r\n\
         Subject: Number {number}: {} {}\r\n\
         Date: Mon, 02 Jun 2025 10:11:12 +0000\r\n\
         Message-ID: <{number}.{:016x}@{DOMAIN}>\r\n",
        random.word(),
        random.word(),
        random.next(),
    );
    with_parts(header, &boundary, number, size, &mut random)
}

/// The header, and two parts as [`message`] says.
pub(crate) fn with_parts(
    header: String,
    boundary: &str,
    number: u32,
    size: usize,
    random: &mut Random,
) -> Vec<u8> {
    let mut text = header;
    text.push_str(&format!(
        "MIME-Version: 1.0\r\n\
         Content-Type: multipart/alternative; boundary=\"{boundary}\"\r\n\
         \r\n\
         --{boundary}\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         \r\n"
    ));
    let end = format!("--{boundary}--\r\n");
    text.push_str(&format!("Reference {}\r\n", reference(number)));
    let middle = text.len() + size.saturating_sub(text.len() + end.len()) / 2;
    prose(&mut text, middle, random);
    text.push_str(&format!(
        "--{boundary}\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>\r\n"
    ));
    prose(&mut text, size.saturating_sub(end.len()), random);
    text.push_str(&end);
    text.into_bytes()
}

/// A word that stands in the text of every hundredth message and nowhere else: for searches.
pub(crate) fn reference(number: u32) -> String {
    format!("ref{:02}q", number % 100)
}

/// Adds lines until the text has this length, or a few octets more.
fn prose(text: &mut String, length: usize, random: &mut Random) {
    let mut line = text.len();
    while text.len() < length {
        text.push_str(&random.word());
        if text.len() - line > 68 {
            text.push_str("\r\n");
            line = text.len();
        } else {
            text.push(' ');
        }
    }
    text.push_str("\r\n");
}

/// What words are made of.
const SYLLABLES: [&str; 32] = [
    "la", "ter", "mor", "ning", "ple", "as", "to", "ri", "ver", "in", "voi", "ce", "me", "et",
    "gar", "den", "qui", "an", "swe", "wea", "sta", "ti", "on", "win", "dow", "pa", "se", "yes",
    "har", "bo", "mu", "sic",
];

/// How many words there are. A language has some tens of thousands in use.
const WORDS: f64 = 60_000.0;

/// SplitMix64: quick, and the same for the same seed. Nothing here is secret.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u32) -> Self {
        Self(u64::from(seed) << 20)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A word: the n-th is used one n-th as often as the first (Zipf), and the frequent ones are short, as in prose.
    pub(crate) fn word(&mut self) -> String {
        let share = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        let mut rank = WORDS.powf(share) as usize;
        let mut word = String::new();
        loop {
            word.push_str(SYLLABLES[rank % SYLLABLES.len()]);
            rank /= SYLLABLES.len();
            if rank == 0 {
                return word;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_their_size_and_differ() {
        let one = message(1, "a@example.test", 4096);
        assert!((4000..4300).contains(&one.len()), "{}", one.len());
        assert_eq!(one, message(1, "a@example.test", 4096));
        assert_ne!(one, message(2, "a@example.test", 4096));
        assert!(one.split(|b| *b == b'\n').all(|line| line.len() < 200));
    }
}
