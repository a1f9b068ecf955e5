//! Messages whose 250 the client may not have read.
//!
//! A client that loses the connection before our 250 reaches it has to send the message again (RFC 5321 §4.5.4.1 makes
//! it responsible until then), and its user would find the message twice. So a message whose session ends with nothing
//! received after our 250 is remembered: where it came from, its envelope, and a keyed hash of its octets. The same again
//! within six hours is answered 250 and goes nowhere. A client that says anything after our 250 has read it; what it sends
//! then is a new message, however equal.
//!
//! Not recognised, so that the message is filed again: a retry after our own process died between the commit and the
//! 250, and one of a client that had sent QUIT, or another message, right behind the first without waiting. Nor one of a
//! message without Date and Message-ID: a device that says the same each time, and hangs up each time, means it anew.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use letterlock_smtp_wire::command::{Command, Mail, Rcpt};
use letterlock_smtp_wire::header;
use letterlock_vault::{AccountId, Key};

use crate::session::Envelope;

/// The memory of such messages. It lasts longer than the process, and each entry for six hours.
pub trait LostReplies: Send + Sync {
    /// Remembers a message by its hash. Must not wait.
    fn remember(&self, hash: [u8; 32], at: Timestamp);
    /// Whether the message is remembered; says yes once. Must not wait.
    fn take(&self, hash: &[u8; 32], now: Timestamp) -> bool;
}

/// The memory and the key under which messages are hashed, so that the memory tells nobody which they were.
#[derive(Clone)]
pub struct Retries {
    key: Key,
    replies: Arc<dyn LostReplies>,
}

/// What a message is recognised by.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// The client's address, of which the network counts: large senders try again from a neighbour.
    pub(crate) ip: IpAddr,
    /// Who is logged in.
    pub(crate) account: Option<AccountId>,
    /// MAIL and RCPT with all their parameters.
    pub(crate) envelope: &'a Envelope,
    /// The message as it came.
    pub(crate) body: &'a [u8],
}

impl Retries {
    /// The same key must be given at each start.
    pub fn new(key: Key, replies: Arc<dyn LostReplies>) -> Retries {
        Retries { key, replies }
    }

    /// The hash of a message. Takes a millisecond for a megabyte or so.
    pub(crate) fn hash(&self, facts: Facts<'_>) -> [u8; 32] {
        let Facts { ip, account, envelope, body } = facts;
        let mut head = network(ip);
        head.push(u8::from(account.is_some()));
        head.extend(account.map(AccountId::to_bytes).unwrap_or_default());
        let Envelope { reverse_path, params, recipients, .. } = envelope;
        Command::Mail(Mail { path: reverse_path.clone(), params: params.clone() })
            .encode(&mut head);
        for recipient in recipients {
            let path = recipient.address.clone().into();
            let params = recipient.params.clone();
            Command::Rcpt(Rcpt { path, params, non_ascii: false }).encode(&mut head);
        }
        let mut hasher = blake3::Hasher::new_keyed(self.key.expose());
        hasher.update(&(head.len() as u64).to_be_bytes()).update(&head).update(body);
        hasher.finalize().into()
    }

    /// Whether this message was accepted before, and its client never knew.
    pub(crate) fn take(&self, hash: &[u8; 32], now: Timestamp) -> bool {
        self.replies.take(hash, now)
    }
}

impl std::fmt::Debug for Retries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Retries(..)")
    }
}

/// Whether the same octets mean the same message: something in it tells it apart from its like. Everything that was
/// relayed has such a field, for the server that takes a submission adds them (RFC 6409 §8.2, §8.3).
pub(crate) fn is_one_of_a_kind(message: &[u8]) -> bool {
    header::fields(message).any(|field| field.is("Date") || field.is("Message-ID"))
}

/// An IPv4 /24 or an IPv6 /64.
fn network(ip: IpAddr) -> Vec<u8> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.octets()[..3].to_vec(),
        IpAddr::V6(ip) => ip.octets()[..8].to_vec(),
    }
}

/// A 250 that was given and that nothing of the client's has followed yet. Dropped like this, however the session
/// ended, the message is remembered.
pub(crate) struct Unread(Option<(Retries, [u8; 32])>);

impl Unread {
    pub(crate) fn new(retries: Retries, hash: [u8; 32]) -> Unread {
        Unread(Some((retries, hash)))
    }

    /// Something came: the client has read the 250.
    pub(crate) fn confirm(mut self) {
        self.0 = None;
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if let Some((retries, hash)) = self.0.take() {
            tracing::debug!("the client may not have read our 250");
            retries.replies.remember(hash, Timestamp::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Mutex;

    use letterlock_smtp_wire::command::{MailParams, RcptParams};

    use super::*;
    use crate::session::Recipient;

    #[derive(Default)]
    struct Memory(Mutex<HashSet<[u8; 32]>>);

    impl LostReplies for Memory {
        fn remember(&self, hash: [u8; 32], _: Timestamp) {
            self.0.lock().unwrap().insert(hash);
        }
        fn take(&self, hash: &[u8; 32], _: Timestamp) -> bool {
            self.0.lock().unwrap().remove(hash)
        }
    }

    fn envelope(from: &str, to: &[&str]) -> Envelope {
        Envelope {
            reverse_path: from.parse().unwrap(),
            params: MailParams::default(),
            hold_until: None,
            recipients: to
                .iter()
                .map(|to| Recipient { address: to.parse().unwrap(), params: RcptParams::default() })
                .collect(),
        }
    }

    #[test]
    fn a_message_is_recognised_by_client_envelope_and_octets() {
        let retries = Retries::new(Key::random(), Arc::new(Memory::default()));
        let one = envelope("a@b.test", &["x@c.test"]);
        let base =
            Facts { ip: [192, 0, 2, 1].into(), account: None, envelope: &one, body: b"hello" };
        let hash = retries.hash(base);
        assert_eq!(hash, retries.hash(Facts { ip: [192, 0, 2, 200].into(), ..base }));
        let two = envelope("a@b.test", &["x@c.test", "y@c.test"]);
        let other = envelope("", &["x@c.test"]);
        for different in [
            Facts { ip: [192, 0, 3, 1].into(), ..base },
            Facts { account: Some(AccountId::generate()), ..base },
            Facts { envelope: &two, ..base },
            Facts { envelope: &other, ..base },
            Facts { body: b"hello ", ..base },
        ] {
            assert_ne!(hash, retries.hash(different));
        }
        let elsewhere = Retries::new(Key::random(), Arc::new(Memory::default()));
        assert_ne!(hash, elsewhere.hash(base), "the hash is keyed");
    }

    #[test]
    fn a_message_that_has_no_name_and_no_date_is_like_others() {
        assert!(is_one_of_a_kind(b"Subject: x\r\nDATE: now\r\n\r\n"));
        assert!(is_one_of_a_kind(b"Message-Id: <x>\r\n\r\n"));
        assert!(!is_one_of_a_kind(b"Subject: Alarm\r\n\r\nDate: now\r\n"));
    }

    #[test]
    fn only_what_was_not_confirmed_is_remembered() {
        let retries = Retries::new(Key::random(), Arc::new(Memory::default()));
        Unread::new(retries.clone(), [1; 32]).confirm();
        drop(Unread::new(retries.clone(), [2; 32]));
        let now = Timestamp::now();
        assert!(!retries.take(&[1; 32], now));
        assert!(retries.take(&[2; 32], now));
        assert!(!retries.take(&[2; 32], now), "once");
    }
}
