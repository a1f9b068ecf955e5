//! Large messages: what is sent piece by piece has to be what the whole message says.

use letterlock_imap_wire::Section;
use letterlock_imap_wire::section::{SectionText, binary, section};

use crate::support::{Client, World};

/// More than a megabyte: plain text, base64, quoted-printable, and a message with an attachment of its own.
fn message() -> String {
    let base64 =
        "SGVsbG8sIHdvcmxkISBUaGlzIGlzIGEgbGluZSBvZiBhbiBhdHRhY2htZW50Lgo=\r\n".repeat(8_000);
    let quoted = "caf=C3=A9 au lait, a long line that goes on=\r\n and on  \r\n".repeat(6_000);
    let inner = format!(
        "Subject: inner\r\nX-Odd: 1\r\nContent-Type: multipart/mixed; boundary=in\r\n\r\n--in\r\n\r\n{}\r\n--in--\r\n",
        "inner text\r\n".repeat(20_000)
    );
    let zeros = "AAAA".repeat(90_000);
    let parts = [
        "Content-Type: text/plain\r\n\r\nThe first words".to_owned(),
        format!("Content-Type: image/png\r\nContent-Transfer-Encoding: BASE64\r\n\r\n{base64}"),
        format!(
            "Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n{quoted}"
        ),
        format!("Content-Type: message/rfc822\r\n\r\n{inner}"),
        format!("Content-Type: x/y\r\nContent-Transfer-Encoding: base64\r\n\r\n{zeros}"),
        "Content-Type: x/y\r\nContent-Transfer-Encoding: x-odd\r\n\r\nodd".to_owned(),
    ];
    let body: String = parts.iter().map(|part| format!("--out\r\n{part}\r\n")).collect();
    format!(
        "Subject: outer\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=out\r\n\r\n{body}--out--\r\n"
    )
}

async fn inbox(world: &World, message: &str) -> Client {
    let mut client = world.log_in().await;
    client.append("INBOX", "", message).await;
    client.ok("SELECT INBOX").await;
    client
}

fn path(text: &str) -> Vec<u32> {
    text.split('.').filter_map(|number| number.parse().ok()).collect()
}

#[tokio::test]
async fn pieces_of_a_large_message_are_those_of_the_whole() {
    let (world, whole) = (World::start().await, message());
    let mut client = inbox(&world, &whole).await;
    let fields = || SectionText::HeaderFields(vec!["Subject".into()]);
    for (name, part, text) in [
        ("", "", SectionText::Whole),
        ("HEADER", "", SectionText::Header),
        ("TEXT", "", SectionText::Text),
        ("1", "1", SectionText::Whole),
        ("2", "2", SectionText::Whole),
        ("2.MIME", "2", SectionText::Mime),
        ("4", "4", SectionText::Whole),
        ("4.HEADER", "4", SectionText::Header),
        ("4.TEXT", "4", SectionText::Text),
        ("4.1", "4.1", SectionText::Whole),
        ("4.HEADER.FIELDS (Subject)", "4", fields()),
        ("HEADER.FIELDS (Subject)", "", fields()),
        ("9", "9", SectionText::Whole),
        ("1.HEADER", "1", SectionText::Header),
    ] {
        let wanted = Section { part: path(part), text };
        let expected = section(whole.as_bytes(), &wanted).map(|found| found.into_owned());
        // Beside an item that needs the body in any case.
        for range in
            [None, Some((0, 10)), Some((3, 700_000)), Some((600_001, 5)), Some((9_000_000, 5))]
        {
            let partial =
                range.map(|(from, count)| format!("<{from}.{count}>")).unwrap_or_default();
            let origin = range.map(|(from, _)| format!("<{from}>")).unwrap_or_default();
            let expected = expected.as_ref().map(|octets| {
                let (from, count) = range.unwrap_or((0, usize::MAX));
                let octets = &octets[from.min(octets.len())..];
                &octets[..count.min(octets.len())]
            });
            let expected = match expected {
                Some(octets) => {
                    format!("{{{}}}\r\n{}", octets.len(), String::from_utf8_lossy(octets))
                }
                None => "NIL".to_owned(),
            };
            let got =
                client.ok(&format!("FETCH 1 (BINARY.SIZE[1] BODY.PEEK[{name}]{partial})")).await;
            let wanted = format!("* 1 FETCH (BINARY.SIZE[1] 15 BODY[{name}]{origin} {expected})");
            assert!(got == [wanted], "{name}{partial}");
        }
    }
}

#[tokio::test]
async fn decoded_parts_of_a_large_message_are_those_of_the_whole() {
    let (world, whole) = (World::start().await, message());
    let mut client = inbox(&world, &whole).await;
    for part in ["1", "2", "3", "4", "4.1", "5", "7"] {
        let octets = binary(whole.as_bytes(), &path(part)).map(|found| found.unwrap().into_owned());
        let size = octets.as_ref().map_or(0, Vec::len);
        for (partial, from, count) in [
            ("", 0, usize::MAX),
            ("<0.9>", 0, 9),
            ("<2.300000>", 2, 300_000),
            ("<200007.11>", 200_007, 11),
        ] {
            let expected = octets.as_ref().map(|octets| {
                let octets = &octets[from.min(octets.len())..];
                &octets[..count.min(octets.len())]
            });
            let origin = if partial.is_empty() { String::new() } else { format!("<{from}>") };
            let expected = match expected {
                Some(octets) => {
                    let tilde = if octets.contains(&0) { "~" } else { "" };
                    format!("{tilde}{{{}}}\r\n{}", octets.len(), String::from_utf8_lossy(octets))
                }
                None => "NIL".to_owned(),
            };
            let got = client
                .ok(&format!("FETCH 1 (BINARY.PEEK[{part}]{partial} BINARY.SIZE[{part}])"))
                .await;
            let wanted =
                format!("* 1 FETCH (BINARY[{part}]{origin} {expected} BINARY.SIZE[{part}] {size})");
            assert!(got == [wanted], "{part}{partial}");
        }
    }
    client.gives("FETCH 1 BINARY.PEEK[6]", "NO [UNKNOWN-CTE]").await;
    assert_eq!(client.ok("FETCH 1 PREVIEW").await, ["* 1 FETCH (PREVIEW \"The first words\")"]);
    let got = client.ok("FETCH 1 (RFC822)").await;
    let wanted =
        format!("* 1 FETCH (FLAGS (\\Seen \\Recent) RFC822 {{{}}}\r\n{whole})", whole.len());
    assert!(got == [wanted], "reading sets \\Seen");
}

#[tokio::test]
async fn a_large_message_arrives_although_it_is_expunged_meanwhile() {
    let (world, whole) = (World::start().await, message());
    let mut client = inbox(&world, &whole).await;
    let mut other = world.select("INBOX").await;
    // The client reads nothing until the other one is done.
    client.send("t FETCH 1 (BODY.PEEK[])\r\n").await;
    let head = client.octets().await;
    assert!(head.starts_with(b"* 1 FETCH (BODY[] {"));
    other.ok("STORE 1 FLAGS (\\Deleted)").await;
    other.ok("EXPUNGE").await;
    let mut got = head;
    while !got[got.len().saturating_sub(200)..].windows(6).any(|six| six == b"\r\nt OK") {
        got.extend(client.octets().await);
    }
    let start = got.iter().position(|octet| *octet == b'\n').unwrap() + 1;
    assert!(got[start..].starts_with(whole.as_bytes()), "the message is whole");
}
