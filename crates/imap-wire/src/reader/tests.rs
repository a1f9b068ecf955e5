//! Dialogues of the RFCs and hostile input, through the reader.

use super::*;
use crate::command::Command;
use proptest::prelude::*;

pub(super) fn reader() -> CommandReader {
    CommandReader::new(Limits {
        line: 200,
        literal: 100,
        append: 1000,
        command: 400,
        discard: 2000,
        depth: 20,
    })
}

pub(super) fn drain(reader: &mut CommandReader) -> Vec<Event> {
    reader.by_ref().collect()
}

pub(super) fn run(input: &[u8]) -> Vec<Event> {
    let mut reader = reader();
    reader.feed(input);
    drain(&mut reader)
}

/// Tag or kind of each event, for short expectations.
pub(super) fn brief(events: &[Event]) -> String {
    let words: Vec<String> = events
        .iter()
        .map(|event| match event {
            Event::Command(tagged) => format!("{}:{:?}", tagged.tag, tagged.command),
            Event::Continue => "+".into(),
            Event::Line(line) => format!("line({})", String::from_utf8_lossy(line.expose())),
            Event::Bad { tag, .. } => format!("{}:BAD", tag.as_deref().unwrap_or("*")),
            Event::No { tag, code, .. } => format!("{tag}:NO {code:?}"),
            Event::Fatal { .. } => "BYE".into(),
            Event::AppendBegin(begin) => {
                format!("{}:begin({},{})", begin.tag, begin.index, begin.size)
            }
            Event::AppendChunk(chunk) => format!("<{}>", String::from_utf8_lossy(chunk)),
            Event::CatenateUrl(url) => format!("url({})", String::from_utf8_lossy(url)),
            Event::CatenateText { size, .. } => format!("text({size})"),
            Event::AppendEnd => "end".into(),
            Event::AppendDone { tag } => format!("{tag}:done"),
        })
        .collect();
    words.join(" ")
}

#[test]
fn pipelined_commands_come_one_by_one() {
    assert_eq!(brief(&run(b"a NOOP\r\nb capability\r\nc Lo")), "a:Noop b:Capability");
    let events = run(b"a LOGIN joe \"sec\\\"ret\"\r\nb SELECT INBOX\r\n");
    let Event::Command(Tagged { command: Command::Login { user, password }, .. }) = &events[0]
    else {
        panic!("{events:?}")
    };
    assert_eq!((user.as_str(), password.expose()), ("joe", &b"sec\"ret"[..]));
    assert!(!format!("{events:?}").contains("sec"), "secrets stay out of Debug");
    assert_eq!(events.len(), 2);
}

#[test]
fn the_login_literals_of_rfc_3501() {
    // RFC 3501 §7.5.
    let mut reader = reader();
    reader.feed(b"A001 LOGIN {11}\r\n");
    assert_eq!(drain(&mut reader), [Event::Continue]);
    reader.feed(b"FRED FOOBAR {7}\r\n");
    assert_eq!(drain(&mut reader), [Event::Continue]);
    reader.feed(b"fat man\r\n");
    let expected =
        Command::Login { user: "FRED FOOBAR".into(), password: Secret::new(b"fat man".to_vec()) };
    assert_eq!(
        drain(&mut reader),
        [Event::Command(Tagged { tag: "A001".into(), command: expected })]
    );
    assert!(reader.is_idle());
    // RFC 7888 §3: the same in one packet.
    let events = run(b"A001 LOGIN {11+}\r\nFRED FOOBAR {7+}\r\nfat man\r\n");
    assert!(matches!(&events[..], [Event::Command(_)]), "{events:?}");
}

#[test]
fn empty_and_odd_literals() {
    assert!(matches!(&run(b"a LOGIN {0+}\r\n {0+}\r\n\r\n")[..], [Event::Command(_)]));
    assert_eq!(brief(&run(b"a LOGIN {1+}\r\n\0 x\r\nb NOOP\r\n")), "a:BAD b:Noop");
    assert_eq!(brief(&run(b"a LOGIN {1 x\r\nb NOOP\r\n")), "a:BAD b:Noop");
    assert_eq!(brief(&run(b"a LOGIN {}\r\nb NOOP\r\n")), "a:BAD b:Noop");
    assert_eq!(brief(&run(b"a LOGIN x{3+}\r\nabc y\r\nb NOOP\r\n")), "a:BAD b:Noop");
}

#[test]
fn bad_commands_keep_line_discipline() {
    assert_eq!(
        brief(&run(b"a FOO {10+}\r\nb NOOP\r\n\r\n {3+}\r\nabc\r\nc NOOP\r\n")),
        "a:BAD c:Noop"
    );
    assert_eq!(brief(&run(b"\r\na NOOP\r\n")), "*:BAD a:Noop");
    assert_eq!(brief(&run(b"+ NOOP\r\nGET / HTTP/1.1\r\na\r\n")), "*:BAD GET:BAD a:BAD");
    assert_eq!(
        brief(&run(b"a NOOP x\r\nb NOOP \r\nc  NOOP\r\nd NOOP\r\n")),
        "a:BAD b:BAD c:BAD d:Noop"
    );
}

#[test]
fn bare_lf_is_refused_at_once_and_swallows_up_to_crlf() {
    let mut reader = reader();
    reader.feed(b"a SEARCH SUBJECT \"x\n");
    assert_eq!(brief(&drain(&mut reader)), "a:BAD");
    reader.feed(b"b DELETE INBOX\r");
    assert_eq!(drain(&mut reader), []);
    reader.feed(b"\nc NOOP\r\n");
    assert_eq!(brief(&drain(&mut reader)), "c:Noop");
    assert_eq!(brief(&run(b"a NOOP\rx\r\nb NOOP\r\n")), "a:BAD b:Noop");
    assert_eq!(
        brief(&run(b"a LOGIN {1+}\r\nx\nb NOOP {2+}\r\n\r\n\r\nc NOOP\r\n")),
        "a:BAD c:Noop"
    );
}

#[test]
fn limits_hold() {
    let long = [b"a NOOP".as_slice(), &[b'x'; 300], b"\r\nb NOOP\r\n"].concat();
    assert_eq!(brief(&run(&long)), "a:BAD b:Noop");
    assert_eq!(brief(&run(b"a LOGIN {101}\r\nb NOOP\r\n")), "a:BAD b:Noop");
    assert_eq!(brief(&run(b"a LOGIN {101+}\r\nb NOOP\r\n")), "BYE");
    assert_eq!(brief(&run(b"a LOGIN {99999999999999999999999}\r\nb NOOP\r\n")), "a:BAD b:Noop");
    let many = [b"a ID (".as_slice(), b"{100+}\r\n", &[b'x'; 100]].concat();
    let many = [many, [b" {100+}\r\n".as_slice(), &[b'x'; 100]].concat().repeat(3)].concat();
    assert_eq!(brief(&run(&many)), "BYE");
    let deep =
        [b"a SEARCH ".as_slice(), &b"(".repeat(30), b"ALL", &b")".repeat(30), b"\r\n"].concat();
    assert_eq!(brief(&run(&deep)), "a:BAD");
    let endless = vec![b'x'; 3 << 20];
    assert_eq!(brief(&run(&endless)), "*:BAD BYE");
    let mut dead = reader();
    dead.feed(b"a LOGIN {101+}\r\n");
    drain(&mut dead);
    dead.feed(b"b NOOP\r\n");
    assert_eq!(drain(&mut dead), []);
}

#[test]
fn the_append_of_rfc_9051() {
    let mut reader = reader();
    reader.feed(b"A003 APPEND saved-messages (\\Seen) {326}\r\n");
    let events = drain(&mut reader);
    assert_eq!(brief(&events), "A003:begin(0,326) +");
    let Event::AppendBegin(begin) = &events[0] else { panic!() };
    assert_eq!(begin.flags, [Flag::Seen]);
    assert_eq!(begin.mailbox.as_wire(), b"saved-messages");
    reader.feed(&[b'x'; 300]);
    assert!(matches!(&drain(&mut reader)[..], [Event::AppendChunk(chunk)] if chunk.len() == 300));
    reader.feed(b"yyyyyyyyyyyyyyyyyyyyyyyyyy\r\nb NOOP\r\n");
    assert_eq!(brief(&drain(&mut reader)), "<yyyyyyyyyyyyyyyyyyyyyyyyyy> end A003:done b:Noop");
}

/// RFC 8508.
#[test]
fn replace_is_an_append_that_names_a_message() {
    use crate::command::Replaced;
    use crate::sequence::SequenceNumber;
    let replaces = |octets: &[u8]| match run(octets).swap_remove(0) {
        Event::AppendBegin(begin) => begin.replaces,
        other => panic!("{other:?}"),
    };
    let four = SequenceNumber::Value(std::num::NonZeroU32::new(4).unwrap());
    assert_eq!(
        replaces(b"a REPLACE 4 Drafts (\\Draft) {3+}\r\nabc\r\n"),
        Some(Replaced { uid: false, message: four })
    );
    assert_eq!(
        replaces(b"a uid replace * {6+}\r\nDrafts {3+}\r\nabc\r\n"),
        Some(Replaced { uid: true, message: SequenceNumber::Last })
    );
    assert_eq!(replaces(b"a APPEND Drafts {3+}\r\nabc\r\n"), None);
    assert_eq!(
        brief(&run(b"a REPLACE 4 x {3+}\r\nabc\r\nb NOOP\r\n")),
        "a:begin(0,3) <abc> end a:done b:Noop"
    );
    // One message, and one that is replaced.
    assert_eq!(
        brief(&run(b"a REPLACE 4 x {1+}\r\na {1+}\r\nb\r\nb NOOP\r\n")),
        "a:begin(0,1) <a> end a:BAD b:Noop"
    );
    for bad in [
        "REPLACE 1:2 x",
        "REPLACE $ x",
        "REPLACE x",
        "REPLACE 0 x",
        "UID APPEND x",
        "UID REPLACE x",
    ] {
        let line = format!("a {bad} {{3+}}\r\nabc\r\nb NOOP\r\n");
        assert_eq!(brief(&run(line.as_bytes())), "a:BAD b:Noop", "{bad}");
    }
    assert_eq!(brief(&run(b"a REPLACE 1 x\r\nb UID REPLACE 1 x\r\n")), "a:BAD b:BAD");
}

#[test]
fn append_forms() {
    let events =
        run(b"a APPEND {5+}\r\nINBOX (\\Seen $x) \" 1-Feb-1994 00:00:00 +0000\" ~{3+}\r\nabc\r\n");
    assert_eq!(brief(&events), "a:begin(0,3) <abc> end a:done");
    let Event::AppendBegin(begin) = &events[0] else { panic!() };
    assert_eq!(begin.date.unwrap().timestamp().to_string(), "1994-02-01T00:00:00Z");
    assert!(begin.binary && !begin.utf8);
    assert_eq!(brief(&run(b"a APPEND x UTF8 (~{3+}\r\nabc)\r\n")), "a:begin(0,3) <abc> end a:done");
    assert_eq!(brief(&run(b"a APPEND x UTF8 (~{3+}\r\nabc\r\n")), "a:begin(0,3) <abc> end a:BAD");
    assert_eq!(brief(&run(b"a APPEND x {0+}\r\n\r\n")), "a:begin(0,0) end a:done");
    // Several of them, RFC 6855 §4 with RFC 3502.
    let two = b"a APPEND x UTF8 (~{3+}\r\nabc) (\\Seen) UTF8 (~{2+}\r\nde)\r\n";
    assert_eq!(brief(&run(two)), "a:begin(0,3) <abc> end a:begin(1,2) <de> end a:done");
    let mixed = b"a APPEND x UTF8 (~{3+}\r\nabc) {2+}\r\nde\r\n";
    assert_eq!(brief(&run(mixed)), "a:begin(0,3) <abc> end a:begin(1,2) <de> end a:done");
    assert_eq!(
        brief(&run(b"a APPEND x UTF8 (~{3+}\r\nabc {2+}\r\nde\r\n")),
        "a:begin(0,3) <abc> end a:BAD"
    );
    // MULTIAPPEND, RFC 3502.
    let two = b"a APPEND x (\\Seen) {3+}\r\nabc (\\Draft) {2+}\r\nde\r\nb NOOP\r\n";
    assert_eq!(brief(&run(two)), "a:begin(0,3) <abc> end a:begin(1,2) <de> end a:done b:Noop");
    assert_eq!(
        brief(&run(b"a APPEND x {3+}\r\nabcd\r\nb NOOP\r\n")),
        "a:begin(0,3) <abc> end a:BAD b:Noop"
    );
    assert_eq!(brief(&run(b"a APPEND x\r\nb APPEND\r\n")), "a:BAD b:BAD");
    assert_eq!(brief(&run(b"a APPEND x (\\Seen {3}\r\nb NOOP\r\n")), "a:BAD b:Noop");
    assert_eq!(
        brief(&run(b"a APPEND x (\\Seen {3+}\r\nabc {1+}\r\nx\r\nb NOOP\r\n")),
        "a:BAD b:Noop"
    );
}

#[test]
fn large_messages_are_refused_before_or_after_they_come() {
    assert_eq!(brief(&run(b"a APPEND x {1001}\r\nb NOOP\r\n")), "a:NO TooBig b:Noop");
    let plus = [b"a APPEND x {1001+}\r\n".as_slice(), &[b'x'; 1001], b"\r\nb NOOP\r\n"].concat();
    assert_eq!(brief(&run(&plus)), "a:NO TooBig b:Noop");
    assert_eq!(brief(&run(b"a APPEND x {2001+}\r\n")), "BYE");
}

#[test]
fn the_driver_can_refuse_a_message() {
    for (head, body) in [("{3}", ""), ("{3+}", "abc {2+}\r\n\r\n\r\n")] {
        let mut reader = reader();
        reader.feed(format!("a APPEND x {head}\r\n{body}b NOOP\r\n").as_bytes());
        assert_eq!(brief(&[reader.next().unwrap()]), "a:begin(0,3)");
        reader.refuse_append();
        assert_eq!(brief(&drain(&mut reader)), "b:Noop", "{head}");
    }
}

#[test]
fn continuation_lines() {
    let mut reader = reader();
    reader.feed(b"a IDLE\r\nDONE\r\nb AUTHENTICATE PLAIN\r\nAGEAYg==\r\nc NOOP\r\n");
    assert_eq!(brief(&[reader.next().unwrap()]), "a:Idle");
    reader.expect_continuation();
    assert_eq!(brief(&[reader.next().unwrap()]), "line(DONE)");
    let Some(Event::Command(Tagged {
        command: Command::Authenticate { mechanism, initial: None },
        ..
    })) = reader.next()
    else {
        panic!()
    };
    assert_eq!(mechanism, "PLAIN");
    reader.expect_continuation();
    assert_eq!(brief(&drain(&mut reader)), "line(AGEAYg==) c:Noop");
    reader.expect_continuation();
    reader.feed(b"DONE\n");
    assert_eq!(brief(&drain(&mut reader)), "*:BAD");
}

#[test]
fn starttls_drops_what_came_before() {
    let mut reader = reader();
    reader.feed(b"a STARTTLS\r\nb LOGIN x {3+}\r\n");
    assert_eq!(brief(&[reader.next().unwrap()]), "a:StartTls");
    assert!(reader.discard_input());
    assert_eq!(drain(&mut reader), []);
    reader.feed(b"c NOOP\r\n");
    assert_eq!(brief(&drain(&mut reader)), "c:Noop");
    assert!(!reader.discard_input());
}

#[test]
fn an_unknown_charset_is_no() {
    let events = run(b"a SEARCH CHARSET KLINGON TEXT x\r\n");
    assert!(
        matches!(&events[..], [Event::No { code: Code::BadCharset(known), .. }] if known.len() == 2),
        "{events:?}"
    );
}

/// Chunks of one message join: only their boundaries depend on the packets.
fn joined(events: Vec<Event>) -> Vec<Event> {
    let mut out: Vec<Event> = Vec::new();
    for event in events {
        match (out.last_mut(), event) {
            (Some(Event::AppendChunk(head)), Event::AppendChunk(tail)) => {
                *head = [head.as_ref(), tail.as_ref()].concat().into();
            }
            (_, event) => out.push(event),
        }
    }
    out
}

fn in_pieces(input: &[u8], cuts: &[usize]) -> Vec<Event> {
    let mut reader = reader();
    let mut events = Vec::new();
    let mut rest = input;
    for cut in cuts.iter().copied().chain([usize::MAX]) {
        let (piece, tail) = rest.split_at(cut.min(rest.len()));
        reader.feed(piece);
        while let Some(event) = reader.next() {
            if matches!(&event, Event::Command(Tagged { command: Command::Idle, .. })) {
                reader.expect_continuation();
            }
            events.push(event);
        }
        rest = tail;
    }
    joined(events)
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"a NOOP\r\n".to_vec()),
        Just(b"a IDLE\r\nDONE\r\n".to_vec()),
        Just(b"a LOGIN {3+}\r\nabc {2}\r\nxy\r\n".to_vec()),
        Just(b"a APPEND x (\\Seen) {5+}\r\nhello\r\n".to_vec()),
        Just(b"a APPEND {1+}\r\nx {5+}\r\nhe\r\no {1+}\r\ny\r\n".to_vec()),
        Just(b"a APPEND x {1500+}\r\n".to_vec()),
        Just(b"a FOO {4+}\r\n\r\n\r\n \n x\r\n".to_vec()),
        Just([b'x'; 230].to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..12),
    ]
}

proptest! {
    #[test]
    fn packets_do_not_matter(
        lines in proptest::collection::vec(line(), 0..8),
        cuts in proptest::collection::vec(0usize..40, 0..30),
    ) {
        let input = lines.concat();
        let whole = in_pieces(&input, &[]);
        prop_assert_eq!(&in_pieces(&input, &cuts), &whole);
        prop_assert_eq!(&in_pieces(&input, &vec![1; input.len()]), &whole);
    }

    #[test]
    fn noise_never_panics(input in proptest::collection::vec(any::<u8>(), 0..300)) {
        in_pieces(&input, &[7, 7, 7]);
    }
}
