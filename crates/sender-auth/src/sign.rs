//! DKIM keys and signatures of our own: relaxed/relaxed, RSA-2048 or Ed25519 with SHA-256 (RFC 6376, RFC 8463).

use aws_lc_rs::digest::{Context, SHA256, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use letterlock_address::Domain;
use zeroize::Zeroizing;

use crate::known;

/// The kinds of DKIM keys that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// RSA with 2,048 bits, which everybody verifies.
    Rsa2048,
    /// Ed25519 (RFC 8463), to use beside RSA.
    Ed25519,
}

/// A new key pair.
pub struct NewKey {
    /// The private key: PKCS #8 in DER.
    pub private: Zeroizing<Vec<u8>>,
    /// The value of the TXT record at `<selector>._domainkey.<domain>`.
    pub public_dns: String,
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKey").field("public_dns", &self.public_dns).finish_non_exhaustive()
    }
}

/// Why a key or a signature could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The private key is neither RSA nor Ed25519 in PKCS #8.
    #[error("the DKIM key cannot be read")]
    Key,
    /// The cryptographic library failed.
    #[error("DKIM signing failed")]
    Crypto,
    /// The message has no From field, which every signature must cover (RFC 6376 §5.4).
    #[error("the message has no From field to sign")]
    NoFrom,
    /// The selector is not a DNS name.
    #[error("the DKIM selector is not a name")]
    Selector,
}

/// Makes a key pair.
pub fn generate_key(algorithm: KeyAlgorithm) -> Result<NewKey, SignError> {
    match algorithm {
        KeyAlgorithm::Rsa2048 => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| SignError::Crypto)?;
            let private: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| SignError::Crypto)?;
            let public: PublicKeyX509Der<'_> =
                pair.public_key().as_der().map_err(|_| SignError::Crypto)?;
            Ok(NewKey {
                private: Zeroizing::new(private.as_ref().to_vec()),
                public_dns: format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(public.as_ref())),
            })
        }
        KeyAlgorithm::Ed25519 => {
            let pair = Ed25519KeyPair::generate().map_err(|_| SignError::Crypto)?;
            let private: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| SignError::Crypto)?;
            // RFC 8463 §4: the bare 32 octets, not a SubjectPublicKeyInfo.
            let public = STANDARD.encode(pair.public_key().as_ref());
            Ok(NewKey {
                private: Zeroizing::new(private.as_ref().to_vec()),
                public_dns: format!("v=DKIM1; k=ed25519; p={public}"),
            })
        }
    }
}

/// A private key, ready to sign many messages.
pub struct SigningKey(Pair);

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SigningKey").field(&self.algorithm_name()).finish()
    }
}

/// Fields that are signed as often as they occur and once more, so that none can be added (RFC 6376 §8.15).
const SEALED: [&str; 9] = [
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
];

/// Fields that are signed where they occur. Lists and forwarders may add them, so their absence is not signed.
const SIGNED: [&str; 8] = [
    "Sender",
    "Reply-To",
    "In-Reply-To",
    "References",
    "List-ID",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "TLS-Required",
];

impl SigningKey {
    /// Reads a private key: PKCS #8 in DER, of either kind.
    pub fn from_pkcs8(private: &[u8]) -> Result<Self, SignError> {
        if let Ok(pair) = RsaKeyPair::from_pkcs8(private) {
            return Ok(Self(Pair::Rsa(Box::new(pair))));
        }
        Ed25519KeyPair::from_pkcs8(private)
            .map(|pair| Self(Pair::Ed25519(pair)))
            .map_err(|_| SignError::Key)
    }

    pub(crate) fn algorithm_name(&self) -> &'static str {
        match &self.0 {
            Pair::Rsa(_) => "rsa-sha256",
            Pair::Ed25519(_) => "ed25519-sha256",
        }
    }

    /// Makes the `DKIM-Signature` field, folded and with its final CRLF, to be put before `message` (CRLF line
    /// ends). `now` becomes `t=`.
    pub fn sign(
        &self,
        message: &[u8],
        domain: &Domain,
        selector: &str,
        now: Timestamp,
    ) -> Result<String, SignError> {
        check_selector(selector)?;
        let (fields, body) = split(message);
        let (names, signed) = select(&fields, &[])?;
        let algorithm = self.algorithm_name();
        let seconds = now.as_second().max(0);
        let body_hash = STANDARD.encode(hash_body(body));
        let header = format!(
            "DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed; d={domain};\r\n\
             \ts={selector}; t={seconds};\r\n\
             \th={};\r\n\
             \tbh={body_hash};\r\n\
             \tb=",
            names.join(":\r\n\t ")
        );
        self.finish(header, signed)
    }

    /// Signs what a field covers and then the field itself, with an empty `b=` and without its CRLF (RFC 6376 §3.7),
    /// and gives the whole field.
    pub(crate) fn finish(
        &self,
        mut header: String,
        mut signed: Vec<u8>,
    ) -> Result<String, SignError> {
        let (name, value) = header.split_once(':').ok_or(SignError::Crypto)?;
        relax_field(name.as_bytes(), value.as_bytes(), &mut signed);
        let signature = STANDARD.encode(self.raw(&signed)?);
        for (index, part) in signature.as_bytes().chunks(72).enumerate() {
            if index > 0 {
                header.push_str("\r\n\t ");
            }
            header.push_str(std::str::from_utf8(part).map_err(|_| SignError::Crypto)?);
        }
        header.push_str("\r\n");
        Ok(header)
    }

    fn raw(&self, data: &[u8]) -> Result<Vec<u8>, SignError> {
        match &self.0 {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), data, &mut signature)
                    .map_err(|_| SignError::Crypto)?;
                Ok(signature)
            }
            // RFC 8463 §3: Ed25519 signs the hash of the data.
            Pair::Ed25519(pair) => Ok(pair.sign(digest(&SHA256, data).as_ref()).as_ref().to_vec()),
        }
    }
}

/// Signs with a key as it is stored. Keys that have signed in the last minutes are not read anew.
pub fn sign(
    message: &[u8],
    domain: &Domain,
    selector: &str,
    private: &[u8],
    now: Timestamp,
) -> Result<String, SignError> {
    known::key(private)?.sign(message, domain, selector, now)
}

pub(crate) fn check_selector(selector: &str) -> Result<(), SignError> {
    let label = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
    let good = !selector.is_empty() && selector.len() <= 200 && selector.bytes().all(label);
    if good { Ok(()) } else { Err(SignError::Selector) }
}

/// A field's name and value.
pub(crate) type Field<'m> = (&'m [u8], &'m [u8]);

/// The fields of the header as name and value (with its folds, without its final CRLF), and the body.
pub(crate) fn split(message: &[u8]) -> (Vec<Field<'_>>, &[u8]) {
    let mut fields = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        if let Some(body) = rest.strip_prefix(b"\r\n") {
            return (fields, body);
        }
        let mut end = 0;
        loop {
            end += match rest[end..].iter().position(|b| *b == b'\n') {
                Some(newline) => newline + 1,
                None => rest.len() - end,
            };
            if !matches!(rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (field, after) = rest.split_at(end);
        if let Some(colon) = field.iter().position(|b| *b == b':') {
            fields.push((&field[..colon], &field[colon + 1..]));
        }
        rest = after;
    }
    (fields, b"")
}

/// The names for `h=` and the canonical text of the fields, in the order in which a verifier takes them: of each name
/// the lowest field first (RFC 6376 §5.4.2).
/// `more` are signed where they occur, as are [`SIGNED`].
pub(crate) fn select(
    fields: &[Field<'_>],
    more: &[&'static str],
) -> Result<(Vec<&'static str>, Vec<u8>), SignError> {
    let mut names = Vec::new();
    let mut signed = Vec::new();
    for name in SEALED.iter().chain(&SIGNED).chain(more) {
        let mut found = false;
        for (held, value) in fields.iter().rev() {
            if held.trim_ascii().eq_ignore_ascii_case(name.as_bytes()) {
                found = true;
                names.push(*name);
                relax_field(held, value, &mut signed);
                signed.extend_from_slice(b"\r\n");
            }
        }
        if *name == "From" && !found {
            return Err(SignError::NoFrom);
        }
        if SEALED.contains(name) {
            names.push(*name);
        }
    }
    Ok((names, signed))
}

/// RFC 6376 §3.4.2, without the CRLF.
pub(crate) fn relax_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend(name.trim_ascii().iter().map(u8::to_ascii_lowercase));
    out.push(b':');
    let mut space = false;
    let mut begun = false;
    for b in value {
        match b {
            b' ' | b'\t' => space = true,
            b'\r' | b'\n' => {}
            _ => {
                if space && begun {
                    out.push(b' ');
                }
                space = false;
                begun = true;
                out.push(*b);
            }
        }
    }
}

/// The SHA-256 of the relaxed body (RFC 6376 §3.4.4): runs of blanks are one space, none ends a line, and empty lines
/// at the end are left out.
pub(crate) fn hash_body(body: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    let mut empty_lines = 0_usize;
    let mut line = Vec::with_capacity(128);
    let mut rest = body;
    while !rest.is_empty() {
        let end = rest.iter().position(|b| *b == b'\n').map_or(rest.len(), |newline| newline + 1);
        let (raw, after) = rest.split_at(end);
        rest = after;
        line.clear();
        let text = raw.strip_suffix(b"\n").unwrap_or(raw);
        relax_line(text.strip_suffix(b"\r").unwrap_or(text), &mut line);
        if line.is_empty() {
            empty_lines += 1;
            continue;
        }
        for _ in 0..std::mem::take(&mut empty_lines) {
            context.update(b"\r\n");
        }
        line.extend_from_slice(b"\r\n");
        context.update(&line);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn relax_line(text: &[u8], line: &mut Vec<u8>) {
    let mut space = false;
    for b in text {
        match b {
            b' ' | b'\t' => space = true,
            _ => {
                if std::mem::take(&mut space) {
                    line.push(b' ');
                }
                line.push(*b);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relaxed(value: &str) -> String {
        let mut out = Vec::new();
        relax_field(b"SubJect ", value.as_bytes(), &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn fields_are_relaxed() {
        assert_eq!(relaxed(" a  b\t c \r\n"), "subject:a b c");
        assert_eq!(relaxed(" a\r\n\t b\r\n"), "subject:a b");
        assert_eq!(relaxed("\r\n"), "subject:");
    }

    #[test]
    fn bodies_are_relaxed() {
        let of = |text: &str| digest(&SHA256, text.as_bytes()).as_ref().to_vec();
        // The example of RFC 6376 §3.4.5.
        assert_eq!(hash_body(b" C \r\nD \t E\r\n\r\n\r\n").to_vec(), of(" C\r\nD E\r\n"));
        assert_eq!(hash_body(b"").to_vec(), of(""));
        assert_eq!(hash_body(b"\r\n \r\n\r\n").to_vec(), of(""));
        assert_eq!(hash_body(b"a\r\n\r\nb").to_vec(), of("a\r\n\r\nb\r\n"));
    }

    #[test]
    fn refuses_what_it_cannot_sign() {
        let domain = Domain::parse("example.org").expect("a domain");
        let key = generate_key(KeyAlgorithm::Ed25519).expect("a key");
        let now = Timestamp::UNIX_EPOCH;
        let from = b"From: a@example.org\r\n\r\nx\r\n";
        let no_from = b"To: a@example.org\r\n\r\nFrom: x\r\n";
        assert_eq!(sign(no_from, &domain, "s", &key.private, now), Err(SignError::NoFrom));
        assert_eq!(sign(from, &domain, "s;x", &key.private, now), Err(SignError::Selector));
        assert_eq!(sign(from, &domain, "s", b"no key", now), Err(SignError::Key));
        assert!(!format!("{key:?}").contains("private"));
    }
}
