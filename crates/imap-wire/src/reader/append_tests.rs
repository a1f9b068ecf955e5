//! CATENATE through the reader (RFC 4469), and how a driver refuses it.

use super::tests::{brief, drain, reader, run};
use super::*;
use std::sync::Arc;

/// RFC 4469, Appendix A, and with MULTIAPPEND and REPLACE.
#[test]
fn catenate() {
    let mut reader = reader();
    reader.feed(b"A003 APPEND Drafts (\\Seen \\Draft $MDNSent) CATENATE (TEXT {42}\r\n");
    let events = drain(&mut reader);
    assert_eq!(brief(&events), "A003:begin(0,0) text(42) +");
    let Event::AppendBegin(begin) = &events[0] else { panic!() };
    assert!(begin.catenate && begin.flags.len() == 3);
    reader.feed(&[b'x'; 42]);
    reader.feed(b" URL \"/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER\" TEXT {2}\r\n");
    let events = brief(&drain(&mut reader));
    assert!(
        events.ends_with("> url(/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER) text(2) +"),
        "{events}"
    );
    reader.feed(b"ab URL /a)\r\nb NOOP\r\n");
    assert_eq!(brief(&drain(&mut reader)), "<ab> url(/a) end A003:done b:Noop");
    for (command, events) in [
        ("APPEND x CATENATE (URL /a)\r\n", "a:begin(0,0) url(/a) end a:done"),
        (
            "APPEND x CATENATE (URL {2+}\r\n/a URL {2+}\r\n/b TEXT {1+}\r\nc)\r\n",
            "a:begin(0,0) url(/a) url(/b) text(1) <c> end a:done",
        ),
        (
            "APPEND {1+}\r\nx catenate (text {1+}\r\nc text {0+}\r\n UTF8 (~{1+}\r\nd) URL /u)\r\n",
            "a:begin(0,0) text(1) <c> text(0) text(1) <d> url(/u) end a:done",
        ),
        (
            "APPEND x (\\Seen) CATENATE (URL /a) CATENATE (URL /b) {1+}\r\nm CATENATE (TEXT {1+}\r\nc) {1+}\r\nn\r\n",
            "a:begin(0,0) url(/a) end a:begin(1,0) url(/b) end a:begin(2,1) <m> end a:begin(3,0) text(1) <c> end \
             a:begin(4,1) <n> end a:done",
        ),
        ("UID REPLACE 4 x CATENATE (URL /a)\r\n", "a:begin(0,0) url(/a) end a:done"),
        ("REPLACE 4 x CATENATE (URL /a) CATENATE (URL /b)\r\n", "a:BAD"),
        ("REPLACE 4 x CATENATE (TEXT {1+}\r\nm) {1+}\r\nn\r\n", "a:begin(0,0) text(1) <m> a:BAD"),
        ("APPEND x CATENATE ()\r\n", "a:BAD"),
        ("APPEND x CATENATE (URL /a\r\n", "a:BAD"),
        ("APPEND x CATENATE (URL /a TEXT \"no\")\r\n", "a:BAD"),
        ("APPEND x CATENATE (TEXT {1+}\r\nmx)\r\n", "a:begin(0,0) text(1) <m> a:BAD"),
        ("APPEND x CATENATE (TEXT {1+}\r\nm) x\r\n", "a:begin(0,0) text(1) <m> a:BAD"),
        ("APPEND x CATENATE (TEXT {600+}\r\n", "a:begin(0,0) text(600)"),
        ("APPEND x CATENATE (TEXT {1001}\r\n", "a:NO TooBig"),
    ] {
        assert_eq!(brief(&run(format!("a {command}").as_bytes())), events, "{command}");
    }
    let many = format!("a APPEND x{}\r\n", " CATENATE (URL /a)".repeat(10));
    assert_eq!(brief(&run(many.as_bytes())).matches("url(/a) end").count(), 10);
    // Together the literals may have no more than a message.
    let text = "x".repeat(600);
    let both = format!("a APPEND x CATENATE (TEXT {{600+}}\r\n{text} TEXT {{600}}\r\nb NOOP\r\n");
    let events = brief(&run(both.as_bytes()));
    assert!(events.ends_with("> a:NO TooBig b:Noop"), "{events}");
}

/// Whatever of it has come, the rest of a refused command is no command.
#[test]
fn the_driver_can_refuse_at_any_event() {
    let command = "a APPEND x CATENATE (URL /a TEXT {3+}\r\nabc URL /b) {2+}\r\nde CATENATE (URL /c URL /d)\r\n";
    let count = run(command.as_bytes()).len();
    assert_eq!(count, 14);
    for refused_at in 0..count - 1 {
        let mut reader = reader();
        reader.feed(command.as_bytes());
        reader.feed(b"b NOOP\r\n");
        (0..=refused_at).for_each(|_| drop(reader.next().unwrap()));
        reader.refuse_append();
        assert_eq!(brief(&drain(&mut reader)), "b:Noop", "{refused_at}");
    }
    // A synchronising literal that was not asked for is not sent; one that was is read to its end.
    let mut reader = reader();
    reader.feed(b"a APPEND x CATENATE (URL /a TEXT {30}\r\n");
    assert_eq!(brief(&[reader.next().unwrap(), reader.next().unwrap()]), "a:begin(0,0) url(/a)");
    reader.refuse_append();
    reader.feed(b"b NOOP\r\nc APPEND x {3}\r\n");
    assert_eq!(brief(&drain(&mut reader)), "b:Noop c:begin(0,3) +");
    reader.feed(b"d");
    assert_eq!(brief(&drain(&mut reader)), "<d>");
    reader.refuse_append();
    reader.feed(b"ef (\\Seen) {5}\r\ng NOOP\r\n");
    assert_eq!(brief(&drain(&mut reader)), "g:Noop");
}

#[test]
fn an_url_is_asked_for_when_what_stands_before_it_was_taken() {
    let mut asked = reader();
    asked.feed(b"a APPEND x CATENATE (URL /a URL {2}\r\n");
    assert_eq!(brief(&drain(&mut asked)), "a:begin(0,0) url(/a) +");
    asked.feed(b"/b URL {2}\r\n");
    assert_eq!(brief(&drain(&mut asked)), "url(/b) +");
    asked.feed(b"/c)\r\nb NOOP\r\n");
    assert_eq!(brief(&drain(&mut asked)), "url(/c) end a:done b:Noop");
    for (sent, events, rest) in [
        ("URL {2}\r\n", 1, ""),
        ("URL {2}\r\n", 2, "/a URL {9+}\r\nc NOOP\r\n)\r\n"),
        ("URL {2+}\r\n/a URL {9+}\r\nc NOOP\r\n)\r\n", 1, ""),
        ("URL {2+}\r\n/a URL {9+}\r\nc NOOP\r\n)\r\n", 2, ""),
    ] {
        let mut refused = reader();
        refused.feed(format!("a APPEND x CATENATE ({sent}").as_bytes());
        (0..events).for_each(|_| drop(refused.next().unwrap()));
        refused.refuse_append();
        refused.feed(format!("{rest}b NOOP\r\n").as_bytes());
        assert_eq!(brief(&drain(&mut refused)), "b:Noop", "{sent} {events}");
    }
    assert_eq!(
        brief(&run(b"a APPEND x CATENATE (URL {9999}\r\nb NOOP\r\n")),
        "a:begin(0,0) a:BAD b:Noop"
    );
}

/// Each is read once, and nothing is kept of it then.
#[test]
fn many_urls_take_no_more_time_each_than_few() {
    let mut reader = reader();
    reader.feed(b"a APPEND x CATENATE (URL {2+}\r\n/a");
    assert_eq!(brief(&drain(&mut reader)), "a:begin(0,0)");
    for _ in 0..2000 {
        reader.feed(b" URL {2+}\r\n/a");
        assert_eq!(drain(&mut reader).len(), 1);
        assert!(reader.command.len() < 50, "{}", reader.command.len());
    }
    reader.feed(b")\r\n");
    assert_eq!(brief(&drain(&mut reader)), "url(/a) end a:done");
}

#[test]
fn a_long_name_is_not_copied_for_each_message_of_a_line() {
    let mut reader = reader();
    let name = "x".repeat(40);
    let many = " CATENATE (URL /a)".repeat(8);
    reader.feed(format!("a APPEND {name}{many}\r\n").as_bytes());
    assert_eq!(brief(&[reader.next().unwrap()]), "a:begin(0,0)");
    let shared = |coming: &&Coming| matches!(coming, Coming::Begin(whose, ..) if Arc::strong_count(whose) == 7);
    assert_eq!(reader.coming.iter().filter(shared).count(), 7);
}
