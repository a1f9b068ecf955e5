//! A message that passes by has the structure that it has in memory.

use super::*;
use crate::mime::header::LONGEST_VALUE;
use proptest::prelude::*;

/// The outline of a message that comes in pieces of that size.
fn passing_by(message: &[u8], piece: usize) -> Outline<'static> {
    let mut outliner = Outliner::new();
    message.chunks(piece).for_each(|piece| outliner.push(piece));
    outliner.finish()
}

fn same(message: &[u8], piece: usize) {
    let tree = Tree::parse(message);
    let (whole, passing) = (Outline::of(&tree), passing_by(message, piece));
    assert_eq!(passing, whole, "in pieces of {piece}: {}", message.escape_ascii());
    assert_eq!(passing.summarise(), whole.summarise());
}

#[test]
fn corners() {
    let multipart = "Content-Type: multipart/mixed; boundary=b\n";
    for message in [
        "",
        "\r",
        "\n",
        "\r\n",
        "A",
        "A: b\r\n",
        "Subject:\r\n\r\n",
        "Subject\t \r:x\r\n y\n\n",
        " Subject: folded first\r\nSubject: x",
        "\rSubject: x\n\nbody",
        "Content-Type: message/rfc822\n\n",
        "Content-Type: message/rfc822\n\nContent-Type: message/rfc822\n\nSubject: x\n\n\n",
        "Content-Type: text/plain; boundary=b\n\n--b\n\n--b--",
    ] {
        (1..4).for_each(|piece| same(message.as_bytes(), piece));
    }
    for body in [
        "",
        "\n",
        "\n--b",
        "\n--b--",
        "\n--b \t\r\n\r\n--b",
        "\n--b\n--b\n\n--b--\nepilogue\n--b\n",
        "\n--b\r\n\r\n\r\n--b\r\n\r\n--b--\r\n",
        "\n\n--b\nContent-Type: message/rfc822\n\nSubject: cut\n--b--\n",
        "\n\n--b\nContent-Type: message/rfc822\n\n\n\n--b\n\nx",
        "\n\n--bb\n--b-\n--b --\n--b--x\n",
        "\n--b\nContent-Type: multipart/digest; boundary=\"b--\"\n\n--b--\n\n\nx\n--b----\n\n--b\n",
    ] {
        let message = [multipart, body].concat();
        (1..9).for_each(|piece| same(message.as_bytes(), piece));
    }
}

#[test]
fn limits_hold_in_both() {
    for length in LONGEST_VALUE - 3..LONGEST_VALUE + 4 {
        let long = "x".repeat(length);
        let message =
            format!("Subject:{long}\r\nContent-Type: text/plain; a={long}\r\nTo:\n {long}\n\n");
        same(message.as_bytes(), 1000);
    }
    let boundary = "y".repeat(300);
    let spaces = " ".repeat(70_000);
    for line in [format!("--{boundary}"), format!("--b{spaces}"), format!("--b{spaces}x")] {
        let head = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
        same(format!("{head}{line}\r\nX: {line}\r\n\r\n{line}\r\nz").as_bytes(), 777);
    }
    let deep: String = (0..60)
        .map(|level| format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n"))
        .collect();
    same(deep.as_bytes(), 50);
    same("Content-Type: message/rfc822\n\n".repeat(60).as_bytes(), 50);
    let many = "--b\n\nx\n".repeat(10_050);
    same(format!("Content-Type: multipart/mixed; boundary=b\n\n{many}--b--\n").as_bytes(), 4096);
}

#[test]
fn a_hostile_message_takes_little() {
    let part = format!("--b\nContent-Id: {0}\nContent-Type: x/y; z={0}\n\n", "i".repeat(20_000));
    let message = format!("Content-Type: multipart/mixed; boundary=b\n\n{}", part.repeat(500));
    same(message.as_bytes(), 65_536);
    let summary = passing_by(message.as_bytes(), 65_536).summarise();
    assert!(message.len() > 20_000_000 && summary.body_structure.len() < 5_000_000);
}

/// Lines of which messages are made that are hard to take apart.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let text = prop::sample::select(vec![
        "",
        "--a",
        "--a--",
        "--b",
        "--b--",
        "--a ",
        "--ab",
        "--",
        "Content-Type: multipart/mixed; boundary=a",
        "content-type: multipart/digest; boundary=\"b\"",
        "Content-Type: multipart/x; boundary=a--",
        "Content-Type: message/rfc822",
        "Content-Type: text/plain",
        "CONTENT-TYPE : multipart/alternative;",
        " boundary=b",
        "\tfolded",
        "Subject: x",
        "From: a@b (c)",
        "Content-ID: <x>",
        "Content-Description:",
        "Content-Disposition: attachment; filename=x",
        ": nothing",
        "\r",
        "text",
    ]);
    let end = prop::sample::select(vec!["\r\n", "\r\n", "\n", "", " \r\n"]);
    (text, end).prop_map(|(text, end)| [text, end].concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn made_of_lines(lines in prop::collection::vec(line(), 0..30), piece in 1usize..40) {
        same(&lines.concat(), piece);
    }

    #[test]
    fn any_octets(octets in prop::collection::vec(any::<u8>(), 0..200), piece in 1usize..20) {
        same(&octets, piece);
    }
}
