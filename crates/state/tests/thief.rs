//! What a thief finds who has the disk and the server's key: every page of the file and every frame of its log opened,
//! free room included. No sender of mail to an account that only its owner opens.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use jiff::Timestamp;
use letterlock_state::{Check, Event, Privacy, Retention, State};
use letterlock_vault::{DeliveryId, Pool, ServerKey};

const PAGE: usize = 4096;
const FRAME: usize = 4120;

/// What is sealed in `octets`, the last 56 of which are nonce, tag and outer hash.
fn opened(cipher: &XChaCha20Poly1305, aad: &[u8], octets: &[u8]) -> Option<Vec<u8>> {
    let (text, tail) = octets.split_at(octets.len() - 56);
    let mut plain = text.to_vec();
    let (nonce, tag) = (XNonce::try_from(&tail[..24]).ok()?, Tag::try_from(&tail[24..40]).ok()?);
    cipher.decrypt_inout_detached(&nonce, aad, plain.as_mut_slice().into(), &tag).ok()?;
    Some(plain)
}

/// Everything that opens in the file and its log, one after the other; how many pages and frames.
fn steal(folder: &Path, key: &ServerKey) -> (Vec<u8>, usize) {
    let keys = key.file_keys("state");
    let cipher = XChaCha20Poly1305::new(keys.page.expose().into());
    let (mut found, mut count) = (Vec::new(), 0);
    let main = std::fs::read(folder.join("state.db")).unwrap();
    for (number, page) in (1_u32..).zip(main.chunks_exact(PAGE)) {
        let aad = [b"main", &number.to_be_bytes()[..]].concat();
        found.extend(opened(&cipher, &aad, page).expect("a page of the main file"));
        count += 1;
    }
    let log = std::fs::read(folder.join("state.db-wal")).unwrap_or_default();
    let Some((header, frames)) = log.split_at_checked(32) else { return (found, count) };
    for (number, frame) in (1_u32..).zip(frames.chunks_exact(FRAME)) {
        let aad = [b"wal", &header[16..24], &number.to_be_bytes()].concat();
        // Frames of an earlier generation stand behind those of this one.
        if let Some(plain) = opened(&cipher, &aad, frame) {
            found.extend(plain);
            count += 1;
        }
    }
    (found, count)
}

fn contains(octets: &[u8], word: &str) -> bool {
    octets.windows(word.len()).any(|part| part == word.as_bytes())
}

/// The events of a message that name who sent it.
fn events(privacy: Privacy, sender: &str) -> Vec<Event> {
    let domain = sender.split_once('@').unwrap().1;
    let check = || {
        let domain = privacy.show(domain.to_owned());
        Some(Check { result: "pass".into(), domain, reason: "aligned".into() })
    };
    let recipient = || "ann@example.org".into();
    vec![
        Event::Received {
            listener: "smtp".into(),
            client: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
            hello: Some("relay.example.net".into()),
            tls: None,
            account: None,
            reverse_path: privacy.show(sender.to_owned()),
            size: 4096,
        },
        Event::Verified {
            spf: check(),
            dkim: check(),
            dmarc: check(),
            arc: check(),
            outcome: "accepted".into(),
        },
        Event::Accepted { recipients: 1 },
        Event::Parked { address: recipient() },
        Event::Unlocked { address: recipient() },
        Event::Filed { address: recipient() },
    ]
}

#[tokio::test]
async fn with_the_servers_key_no_sender_of_a_user_held_accounts_mail_is_found() {
    let dir = tempfile::TempDir::new().unwrap();
    let key = ServerKey::load_or_create(dir.path(), None).unwrap();
    let pool = Pool::new("state", 1);
    let state = State::open(dir.path(), &key, &pool, Retention::default()).await.unwrap();
    let now = Timestamp::now();
    let (sealed, clear) = ("secretive@hidden.example", "outspoken@shown.example");
    for _ in 0..200 {
        let id = DeliveryId::generate();
        state.record_all(id, now, events(Privacy::of_recipients(true), sealed));
        let id = DeliveryId::generate();
        state.record_all(id, now, events(Privacy::of_recipients(false), clear));
    }
    state.flush().await.unwrap();
    let search = |least: usize| {
        let (octets, count) = steal(dir.path(), &key);
        assert!(count >= least, "{count} pages and frames");
        // The thief knows his trade: he finds the others, and the recipients.
        assert!(contains(&octets, "outspoken@shown.example"));
        assert!(contains(&octets, "ann@example.org"));
        for word in ["secretive", "hidden.example"] {
            assert!(!contains(&octets, word), "{word}");
        }
    };
    // The log, then the file with what was deleted in it.
    search(20);
    state.prune(now - jiff::SignedDuration::from_hours(1)).await.unwrap();
    state.close().await.unwrap();
    search(20);
}
