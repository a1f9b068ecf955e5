//! The clients against the scripted exchanger, and small servers that speak a canned dialogue.

use std::net::SocketAddr;
use std::time::Duration;

use letterlock_testkit::ca::TestCa;
use letterlock_testkit::mx::{Behaviour, FakeMx, Script, Stage};
use letterlock_testkit::{imap, pop3, smtp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const SOON: Duration = Duration::from_secs(10);
const MESSAGE: &[u8] = b"From: a@x.test\r\n\r\n.dots\r\n..\r\nend\r\n";

#[tokio::test]
async fn messages_are_collected_as_they_were_sent() {
    let mx = FakeMx::start(Script::new("mx.test")).expect("an exchanger");
    let mut client = smtp::Client::connect(mx.address()).await.expect("a session");
    let keywords = client.ehlo("me.test").await.expect("EHLO");
    assert!(
        keywords.contains(&"8BITMIME".to_owned()) && !keywords.contains(&"STARTTLS".to_owned())
    );
    let reply =
        client.deliver("a@x.test", &["b@y.test", "c@y.test"], MESSAGE).await.expect("a reply");
    assert_eq!(reply.code, 250);
    client.ask("MAIL FROM:<> BODY=8BITMIME", "250").await.expect("MAIL");
    client.ask("RCPT TO:<d@y.test> NOTIFY=NEVER", "250").await.expect("RCPT");
    client.send_raw(b"BDAT 4\r\nabc\nBDAT 3 LAST\r\nde\n").await.expect("sent");
    client.expect("250").await.expect("a chunk");
    client.expect("250").await.expect("the message");
    client.quit().await.expect("the end");
    let messages = mx.wait_for(2, SOON).await.expect("messages");
    assert_eq!(messages[0].bytes, MESSAGE);
    assert_eq!(messages[0].addresses(), ["b@y.test", "c@y.test"]);
    assert_eq!((messages[0].from.as_str(), messages[0].tls), ("a@x.test", false));
    assert_eq!(messages[1].text(), "abc\nde\n");
    assert_eq!(messages[1].parameters, "BODY=8BITMIME");
    assert_eq!(messages[1].recipients[0].parameters, "NOTIFY=NEVER");
    assert!(mx.wait_for(3, Duration::from_millis(20)).await.is_err());
}

#[tokio::test]
async fn starttls_with_a_certificate_of_the_authority() {
    let ca = TestCa::new().expect("an authority");
    let issued = ca.issue(&["mx.test"]).expect("a certificate");
    let mx = FakeMx::start(Script::new("mx.test").with_tls(issued)).expect("an exchanger");
    let trust = ca.client_config().expect("trust");
    let mut client = smtp::Client::connect(mx.address()).await.expect("a session");
    assert!(client.ehlo("me.test").await.expect("EHLO").contains(&"STARTTLS".to_owned()));
    client.starttls(trust.clone(), "mx.test").await.expect("TLS");
    assert!(!client.ehlo("me.test").await.expect("EHLO").contains(&"STARTTLS".to_owned()));
    client.deliver("", &["b@y.test"], MESSAGE).await.expect("a reply");
    assert!(mx.wait_for(1, SOON).await.expect("a message")[0].tls);

    let mut client = smtp::Client::connect(mx.address()).await.expect("a session");
    assert!(client.starttls(trust.clone(), "other.test").await.is_err(), "another name");
    let expired = ca.issue_expired(&["mx.test"]).expect("a certificate");
    let old = FakeMx::start(Script::new("mx.test").with_tls(expired)).expect("an exchanger");
    let mut client = smtp::Client::connect(old.address()).await.expect("a session");
    assert!(client.starttls(trust, "mx.test").await.is_err(), "an expired certificate");
}

#[tokio::test]
async fn the_exchanger_misbehaves_as_told() {
    let script =
        Script::new("mx.test").without("PIPELINING").recipient("no@y.test", "550 5.1.1 nobody");
    let mx = FakeMx::start(script).expect("an exchanger");
    mx.once(Stage::Greeting, Behaviour::ReplyThenClose("554 no".to_owned()));
    let mut client = smtp::Client::connect(mx.address()).await.expect("a session");
    assert_eq!(client.greeting.code, 554);
    assert_eq!(client.until_closed().await.expect("the end"), "");

    mx.once(Stage::Mail, Behaviour::Reply("451 4.3.0 later".to_owned()));
    mx.once(Stage::EndOfData, Behaviour::KeepThenClose);
    mx.always(Stage::Quit, Behaviour::Close);
    let mut client = smtp::Client::connect(mx.address()).await.expect("a session");
    assert!(!client.ehlo("me.test").await.expect("EHLO").contains(&"PIPELINING".to_owned()));
    assert_eq!(client.command("MAIL FROM:<a@x.test>").await.expect("a reply").code, 451);
    client.ask("MAIL FROM:<a@x.test>", "250").await.expect("MAIL");
    client.ask("RCPT TO:<NO@y.test>", "550 5.1.1").await.expect("RCPT");
    assert_eq!(client.command("DATA").await.expect("a reply").code, 503);
    client.ask("RCPT TO:<yes@y.test>", "250").await.expect("RCPT");
    assert!(client.data(MESSAGE).await.is_err(), "no reply to a message that was kept");
    assert_eq!(mx.wait_for(1, SOON).await.expect("a message")[0].addresses(), ["yes@y.test"]);
    mx.wait_for_connections(2, SOON).await.expect("connections");

    let address = mx.address();
    drop(mx);
    assert!(smtp::Client::connect(address).await.is_err(), "the port is closed");
}

/// A server that says its lines, each after the client sent one that ends so.
async fn canned(dialogue: &'static [(&'static str, &'static str)]) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut received = String::new();
        for (awaited, answer) in dialogue {
            while !received.ends_with(awaited) {
                received.push(char::from(stream.read_u8().await.expect("an octet")));
            }
            received.clear();
            stream.write_all(answer.as_bytes()).await.expect("sent");
        }
    });
    address
}

#[tokio::test]
async fn imap_literals_and_tags() {
    let address = canned(&[
        ("", "* OK ready\r\n"),
        ("A001 LOGIN \"a \\\"b\" \"c\\\\\"\r\n", "A001 OK in\r\n"),
        ("A002 SELECT \"INBOX\"\r\n", "* 2 EXISTS\r\nA002 OK [READ-WRITE] yes\r\n"),
        (
            "A003 UID FETCH 7 BODY.PEEK[]\r\n",
            "* 3 EXISTS\r\n* 1 FETCH (UID 7 BODY[] {6}\r\na)\r\n{1 FLAGS ())\r\nA003 OK\r\n",
        ),
        ("A004 APPEND \"X\" (\\Seen) {4}\r\n", "+ go\r\n"),
        ("abc\n\r\n", "A004 OK [APPENDUID 1 2] done\r\n"),
        ("A005 UID SEARCH ALL\r\n", "* SEARCH 3 9\r\nA005 OK\r\n"),
        ("A006 UID SEARCH SEEN\r\n", "* ESEARCH (TAG \"A006\") UID ALL 2:4,9\r\nA006 OK\r\n"),
        ("A007 IDLE\r\n", "+ idling\r\n* 4 EXISTS\r\n"),
        ("DONE\r\n", "A007 OK\r\n"),
        ("A008 NOPE\r\n", "A008 BAD no\r\n"),
    ])
    .await;
    let mut client = imap::Client::connect(address).await.expect("a session");
    assert_eq!(client.greeting, "* OK ready");
    client.login("a \"b", "c\\").await.expect("LOGIN");
    let selected = client.select("INBOX").await.expect("SELECT");
    assert_eq!(selected, ["* 2 EXISTS", "OK [READ-WRITE] yes"]);
    assert_eq!(client.fetch_body(7).await.expect("a body"), b"a)\r\n{1");
    let appended = client.append("X", "\\Seen", b"abc\n").await.expect("APPEND");
    assert_eq!(appended, ["OK [APPENDUID 1 2] done"]);
    assert_eq!(client.uids().await.expect("UIDs"), [3, 9]);
    assert_eq!(client.uid_search("SEEN").await.expect("UIDs"), [2, 3, 4, 9]);
    let tag = client.idle().await.expect("IDLE");
    assert_eq!(client.response().await.expect("an event").text(), "* 4 EXISTS");
    client.done(&tag).await.expect("DONE");
    assert!(client.command("NOPE").await.is_err());
}

#[tokio::test]
async fn pop3_lines_and_dots() {
    let address = canned(&[
        ("", "+OK ready\r\n"),
        ("USER a\r\n", "+OK\r\n"),
        ("PASS b\r\n", "+OK\r\n"),
        ("LIST\r\n", "+OK\r\n1 10\r\n.\r\n"),
        ("RETR 1\r\n", "+OK\r\n..x\r\n\r\ny\r\n.\r\n"),
        ("DELE 9\r\n", "-ERR no\r\n"),
        ("QUIT\r\n", "+OK bye\r\n"),
    ])
    .await;
    let mut client = pop3::Client::connect(address).await.expect("a session");
    client.login("a", "b").await.expect("login");
    assert_eq!(client.multi("LIST").await.expect("LIST"), ["1 10"]);
    assert_eq!(client.retrieve(1).await.expect("RETR"), b".x\r\n\r\ny\r\n");
    assert_eq!(client.try_command("DELE 9").await.expect("a line"), "-ERR no");
    client.quit().await.expect("QUIT");
}
