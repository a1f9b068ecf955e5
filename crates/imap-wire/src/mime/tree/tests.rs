//! Places of parts, and the limits.

use super::*;
use std::fmt::Write as _;

fn outline(tree: &Tree<'_>, place: usize, out: &mut String) {
    let part = &tree.parts()[place];
    match &part.kind {
        PartKind::Leaf => {
            let body =
                String::from_utf8_lossy(tree.body(part)).replace('\r', "").replace('\n', "|");
            write!(out, "<{body}>").unwrap();
        }
        PartKind::Multipart(children) => {
            out.push('(');
            children.iter().for_each(|child| outline(tree, *child, out));
            out.push(')');
        }
        PartKind::Message(inner) => {
            out.push_str("msg");
            outline(tree, *inner, out);
        }
    }
}

fn shape(message: &str) -> String {
    let mut out = String::new();
    outline(&Tree::parse(message.as_bytes()), 0, &mut out);
    let unix = message.replace("\r\n", "\n");
    let mut again = String::new();
    outline(&Tree::parse(unix.as_bytes()), 0, &mut again);
    assert_eq!(out, again, "line ends do not matter");
    out
}

fn multipart(boundary: &str) -> String {
    format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n")
}

#[test]
fn ordinary_messages() {
    assert_eq!(shape("A: b\r\n\r\nhello\r\n"), "<hello|>");
    let two = multipart("x")
        + "preamble\r\n--x\r\n\r\none\r\n--x\r\nA: b\r\n\r\ntwo\r\n\r\n--x--\r\nepilogue";
    assert_eq!(shape(&two), "(<one><two|>)");
    let inner = multipart("y") + "--y\r\n\r\nin\r\n--y--\r\nepi\r\n";
    assert_eq!(
        shape(&(multipart("x") + "--x\r\n" + &inner + "--x\r\n\r\nout\r\n--x--")),
        "((<in>)<out>)"
    );
    let message =
        multipart("x") + "--x\r\nContent-Type: message/rfc822\r\n\r\nS: t\r\n\r\nbody\r\n--x--";
    assert_eq!(shape(&message), "(msg<body>)");
    let digest = multipart("x").replace("mixed", "digest") + "--x\r\n\r\nS: t\r\n\r\nbody\r\n--x--";
    assert_eq!(shape(&digest), "(msg<body>)");
}

#[test]
fn malformed_messages() {
    // No end, no boundary line, no boundary parameter, nothing at all.
    assert_eq!(shape(&(multipart("x") + "--x\r\n\r\none")), "(<one>)");
    assert_eq!(shape(&(multipart("x") + "hello")), "<hello>");
    assert_eq!(shape("Content-Type: multipart/mixed\r\n\r\nhello"), "<hello>");
    assert_eq!(shape(""), "<>");
    // A part without an empty line, a part without anything.
    assert_eq!(
        shape(&(multipart("x") + "--x\r\n--x\r\nContent-Type: text/plain\r\n--x\r\n\r\n--x--\r\n")),
        "(<><><>)"
    );
    // An outer boundary ends the inner multipart.
    let open = multipart("x")
        + "--x\r\n"
        + &multipart("y")
        + "--y\r\n\r\nin\r\n--x\r\n\r\nout\r\n--x--\r\n";
    assert_eq!(shape(&open), "((<in>)<out>)");
    // A boundary is the whole line; one that begins with another is another.
    let prefix = multipart("x")
        + "--x\r\n"
        + &multipart("xy")
        + "--xy\r\n\r\n--xz\r\n--xy-- \r\n--x--\t\r\n";
    assert_eq!(shape(&prefix), "((<--xz>))");
    // Equal boundaries: the innermost.
    let equal =
        multipart("x") + "--x\r\n" + &multipart("x") + "--x\r\n\r\nin\r\n--x--\r\n--x--\r\n";
    assert_eq!(shape(&equal), "((<in>))");
    // `--x` inside a line is text.
    assert_eq!(shape(&(multipart("x") + "--x\r\n\r\na --x\r\n --x\r\n--x--")), "(<a --x| --x>)");
}

#[test]
fn ranges_are_exact() {
    let message = multipart("x") + "--x\r\nA: b\r\n\r\none\r\n\r\n--x--\r\n";
    let tree = Tree::parse(message.as_bytes());
    let part = tree.locate(&[1]).unwrap();
    assert_eq!(tree.header(part), b"A: b\r\n\r\n");
    assert_eq!(tree.body(part), b"one\r\n");
    assert_eq!(tree.body(tree.root()), b"--x\r\nA: b\r\n\r\none\r\n\r\n--x--\r\n");
    assert!(
        tree.locate(&[2]).is_none()
            && tree.locate(&[1, 1]).is_none()
            && tree.locate(&[0]).is_none()
    );
}

#[test]
fn depth_and_count_are_limited() {
    let deep: String =
        (0..200).map(|n| format!("{}--b{n}\r\n", multipart(&format!("b{n}")))).collect();
    let tree = Tree::parse(deep.as_bytes());
    assert_eq!(tree.parts().len(), MAX_DEPTH + 1);
    assert!(tree.parts()[MAX_DEPTH].media_type.is("application", "octet-stream"));
    let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(200);
    assert_eq!(Tree::parse(nested.as_bytes()).parts().len(), MAX_DEPTH + 1);
    let wide = multipart("x") + &"--x\r\n\r\n".repeat(MAX_PARTS + 500);
    let tree = Tree::parse(wide.as_bytes());
    assert_eq!(tree.parts().len(), MAX_PARTS);
    assert!(tree.parts()[MAX_PARTS - 1].body.len() > 1000);
}

#[test]
fn hostile_messages_take_linear_time() {
    // Many nested multiparts, and millions of lines that look like their boundaries.
    let long = "b".repeat(200);
    let head: String = (0..45)
        .map(|n| format!("{0}--{1}{n}\r\n", multipart(&format!("{long}{n}")), long))
        .collect();
    let message = head + "\r\n" + &format!("--{long}\r\n").repeat(20_000);
    let started = std::time::Instant::now();
    Tree::parse(message.as_bytes());
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}
