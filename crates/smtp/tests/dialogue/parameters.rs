//! What the envelope asks for reaches the queue, and so whoever carries the message on.

use letterlock_queue::{BodyType, Due, Notify, RequireTls, Ret};

use super::*;

const LETTER: &[u8] = b"From: ann@a.test\r\nSubject: x\r\n\r\ntext\r\n";

/// What is due at this time, for elsewhere.
async fn due(world: &World, at: Timestamp) -> Vec<Due> {
    world.queue.due(at, 10).await.unwrap()
}

/// Submits a message to elsewhere by BDAT, with these parameters of MAIL, and gives what the queue has of it.
async fn submitted(params: &str, message: &[u8]) -> Due {
    let world = World::new().await;
    let ann = world.add("ann@a.test").await;
    let mut client = world.logged_in(&ann, "ann@a.test").await;
    client.ask(&format!("MAIL FROM:<ann@a.test>{params}"), "250").await.unwrap();
    client.ask("RCPT TO:<far@b.test>", "250").await.unwrap();
    client.send_raw(format!("BDAT {} LAST\r\n", message.len()).as_bytes()).await.unwrap();
    client.send_raw(message).await.unwrap();
    client.expect("250").await.unwrap();
    due(&world, Timestamp::now()).await.remove(0)
}

#[tokio::test]
async fn what_is_asked_for_reaches_the_queue() {
    let world = World::new().await;
    let ann = world.add("ann@a.test").await;
    let mut client = world.logged_in(&ann, "ann@a.test").await;
    let mail = "MAIL FROM:<ann@a.test> RET=HDRS ENVID=q+2B1 REQUIRETLS SMTPUTF8";
    client.ask(mail, "250").await.unwrap();
    let rcpt = "RCPT TO:<far@b.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;old+40b.test";
    client.ask(rcpt, "250").await.unwrap();
    client.ask("RCPT TO:<jörg@bücher.test> NOTIFY=NEVER", "250").await.unwrap();
    assert_eq!(client.data(LETTER).await.unwrap().code, 250);
    let found = due(&world, Timestamp::now()).await.remove(0);
    assert_eq!((found.ret, found.envid.as_deref()), (Some(Ret::Headers), Some("q+1")));
    assert_eq!(found.require_tls, RequireTls::Required);
    assert!(found.smtputf8 && found.hold_until.is_none());
    let far = found.rows.iter().find(|row| row.address.to_string() == "far@b.test").unwrap();
    assert_eq!(far.notify, Notify::On { success: true, failure: false, delay: true });
    assert_eq!(far.orcpt.as_deref(), Some("rfc822;old@b.test"));
    let wide = found.rows.iter().find(|row| row.notify == Notify::Never).unwrap();
    assert_eq!(wide.address.to_string(), "jörg@xn--bcher-kva.test");
}

#[tokio::test]
async fn without_parameters_nothing_is_asked_for() {
    let found = submitted("", LETTER).await;
    assert_eq!((found.ret, found.envid), (None, None));
    assert_eq!((found.require_tls, found.body_type), (RequireTls::Unspecified, BodyType::SevenBit));
    assert_eq!((found.rows[0].notify, &found.rows[0].orcpt), (Notify::Unspecified, &None));
}

#[tokio::test]
async fn the_kind_of_a_body_is_found_and_not_believed() {
    for (params, tail, kind) in [
        (" BODY=8BITMIME", &b"plain\r\n"[..], BodyType::SevenBit),
        ("", b"Gr\xc3\xbc\xc3\x9fe\r\n", BodyType::EightBit),
        (" BODY=BINARYMIME", b"plain\r\n", BodyType::SevenBit),
        (" BODY=BINARYMIME", b"Gr\xc3\xbc\xc3\x9fe\r\n", BodyType::EightBit),
        (" BODY=BINARYMIME", b"a\nb", BodyType::Binary),
        (" BODY=BINARYMIME", b"a\0b\r\n", BodyType::Binary),
    ] {
        let found = submitted(params, &[LETTER, tail].concat()).await;
        assert_eq!(found.body_type, kind, "{params} {tail:?}");
    }
}

#[tokio::test]
async fn a_field_lifts_tls_unless_the_envelope_requires_it() {
    let letter = [b"TLS-Required: No\r\n", LETTER].concat();
    assert_eq!(submitted("", &letter).await.require_tls, RequireTls::Lifted);
    assert_eq!(submitted(" REQUIRETLS", &letter).await.require_tls, RequireTls::Required);
}

#[tokio::test]
async fn a_message_for_later_waits_for_everybody() {
    let world = World::new().await;
    let (ann, bob) = (world.add("ann@a.test").await, world.add("bob@a.test").await);
    let mut client = world.logged_in(&ann, "ann@a.test").await;
    client.ask("MAIL FROM:<ann@a.test> HOLDFOR=600", "250").await.unwrap();
    client.ask("RCPT TO:<far@b.test>", "250").await.unwrap();
    client.ask("RCPT TO:<bob@a.test>", "250").await.unwrap();
    assert_eq!(client.data(LETTER).await.unwrap().code, 250);
    // A message that is not held comes behind it, and arrives first.
    let reply = client.deliver("ann@a.test", &["bob@a.test"], LETTER).await.unwrap();
    assert_eq!(reply.code, 250);
    arrived(&bob).await;
    let now = Timestamp::now();
    assert!(due(&world, now).await.is_empty());
    let later = now.checked_add(jiff::SignedDuration::from_secs(601)).unwrap();
    let found = due(&world, later).await.remove(0);
    let left = found.hold_until.unwrap().duration_since(now).as_secs();
    assert!((590..=600).contains(&left), "{left}");
}

#[tokio::test]
async fn international_addresses_are_local_in_every_spelling() {
    let world = World::new().await;
    let name = Domain::parse("bücher.test").unwrap();
    world.directory.add_domain(name, None, Vec::new(), Timestamp::now()).await.unwrap();
    let owner = world.add("jörg@bücher.test").await;
    let mut client = world.greeted().await;
    client.ask("MAIL FROM:<a@b.test>", "250").await.unwrap();
    client.ask("RCPT TO:<jörg@xn--bcher-kva.test>", "553 5.6.7").await.unwrap();
    client.ask("RCPT TO:<postmaster@xn--bcher-kva.test>", "250").await.unwrap();
    client.ask("RCPT TO:<postmaster@bücher.test>", "553 5.6.7").await.unwrap();
    client.ask("RSET", "250").await.unwrap();
    client.ask("MAIL FROM:<ñ@b.test> SMTPUTF8", "250").await.unwrap();
    for spelling in ["jörg@bücher.test", "Jo\u{308}rg@BÜCHER.test", "JÖRG@xn--bcher-kva.test"] {
        client.ask(&format!("RCPT TO:<{spelling}>"), "250").await.unwrap();
    }
    let letter = "From: ñ@b.test\r\nTo: jörg@bücher.test\r\nSubject: ñ\r\n\r\n";
    assert_eq!(client.data(letter.as_bytes()).await.unwrap().code, 250);
    let message = arrived(&owner).await;
    assert!(message.contains(" with UTF8SMTP id ") && message.ends_with(letter), "{message}");
}
