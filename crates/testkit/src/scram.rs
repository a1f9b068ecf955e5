//! The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677).

use std::num::NonZeroU32;

use anyhow::{Context as _, bail};
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// One exchange. Messages go out and come in as base64, as the mail protocols carry them.
#[derive(Debug)]
pub struct Scram {
    password: String,
    header: String,
    bare: String,
    bound: Vec<u8>,
    expected: Option<String>,
}

impl Scram {
    /// `flag` is `n`, `y` or `p=` with the name of a binding, whose data `binding` is.
    pub fn new(user: &str, password: &str, flag: &str, binding: &[u8]) -> Self {
        let header = format!("{flag},,");
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self {
            password: password.to_owned(),
            bound: [header.as_bytes(), binding].concat(),
            header,
            bare: format!("n={user},r=fyko+d2lbbFgONRv9qkxdawL"),
            expected: None,
        }
    }

    /// The first message.
    pub fn first(&self) -> String {
        STANDARD.encode(format!("{}{}", self.header, self.bare))
    }

    /// The last message, in answer to the server's first.
    pub fn last(&mut self, challenge: &str) -> anyhow::Result<String> {
        let server = String::from_utf8(STANDARD.decode(challenge)?)?;
        let mut parts = server.split(',');
        let mut part = |name: &str| {
            let found = parts.next().and_then(|part| part.strip_prefix(name));
            found.map(str::to_owned).with_context(|| format!("no {name} in {server}"))
        };
        let (nonce, salt, iterations) = (part("r=")?, part("s=")?, part("i=")?);
        if !nonce.starts_with("fyko+d2lbbFgONRv9qkxdawL") || nonce.len() < 40 {
            bail!("nonce {nonce}");
        }
        let iterations: NonZeroU32 = iterations.parse()?;
        let mut salted = [0; 32];
        let salt = STANDARD.decode(salt)?;
        let password = self.password.as_bytes();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password, &mut salted);
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(&self.bound));
        let message = format!("{},{server},{without_proof}", self.bare);
        let client = sign(&salted, b"Client Key");
        let stored = digest::digest(&digest::SHA256, &client);
        let mut proof = sign(stored.as_ref(), message.as_bytes());
        proof.iter_mut().zip(&client).for_each(|(octet, key)| *octet ^= key);
        let signature = sign(&sign(&salted, b"Server Key"), message.as_bytes());
        self.expected = Some(format!("v={}", STANDARD.encode(signature)));
        Ok(STANDARD.encode(format!("{without_proof},p={}", STANDARD.encode(proof))))
    }

    /// Fails unless the server's last message proves that it knows the password.
    pub fn verify(&self, challenge: &str) -> anyhow::Result<()> {
        let server = String::from_utf8(STANDARD.decode(challenge)?)?;
        if self.expected.as_ref() != Some(&server) {
            bail!("the server proves nothing by {server}");
        }
        Ok(())
    }
}

fn sign(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}
