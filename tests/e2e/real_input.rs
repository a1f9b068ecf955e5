//! Messages as they are found in the wild come out of the mailbox exactly as they went in.

#[path = "support/mail.rs"]
mod mail;
#[path = "support/place.rs"]
mod place;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use letterlock_testkit::imap::quoted;
use mail::wait_for_mail;
use place::{ANN, Place, place};

/// Who sends them all.
const BOB: &str = "bob@elsewhere.test";

/// A sample and its name.
struct Sample {
    name: String,
    raw: Vec<u8>,
}

fn read(folder: &Path) -> Result<Vec<Sample>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .with_context(|| format!("{}", folder.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "eml"));
    paths.sort();
    let read = |path: PathBuf| -> Result<Sample> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Sample { name, raw: std::fs::read(&path)? })
    };
    paths.into_iter().map(read).collect()
}

/// Our own samples; those that are tedious as files are made here.
fn own() -> Result<Vec<Sample>> {
    let mut samples = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/e2e/samples"))?;
    ensure!(samples.len() >= 8, "samples are missing");
    let mut made = |name: &str, raw: Vec<u8>| samples.push(Sample { name: name.to_owned(), raw });
    made("empty", Vec::new());
    made("one empty line", b"\n".to_vec());
    let line = |number: usize| format!("line {number}: {}\n", "abcdefghij".repeat(number % 9));
    let large: String = (0..6_000).map(line).collect();
    made("300 kB", format!("From: a@x.test\nSubject: large\n\n{large}").into_bytes());
    let mut deep = String::from("From: a@x.test\nSubject: deep\n");
    for level in 0..150 {
        deep.push_str(&format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n"));
    }
    deep.push_str("\nat the bottom\n");
    made("150 levels of multipart", deep.into_bytes());
    let octets: Vec<u8> = (1..=255_u8).filter(|octet| !b"\r\n".contains(octet)).collect();
    made("every octet", [&b"From: a@x.test\n\n"[..], &octets, b"\n"].concat());
    made("header without end", [&b"Subject: "[..], &b"x".repeat(40_000), b"\n\nbody\n"].concat());
    Ok(samples)
}

/// The samples of others, if they are at hand.
fn foreign() -> Result<Vec<Sample>> {
    match std::env::var_os("LETTERLOCK_TESTDATA") {
        Some(folder) => read(&Path::new(&folder).join("mime")),
        None => {
            println!("LETTERLOCK_TESTDATA is not set: the samples of others are left out");
            Ok(Vec::new())
        }
    }
}

/// Every line ends in CR LF, the last one too.
fn canonical(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + 64);
    for octet in raw.iter().filter(|octet| **octet != b'\r') {
        if *octet == b'\n' {
            out.push(b'\r');
        }
        out.push(*octet);
    }
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// What stands above the message is our trace and nothing else.
fn assert_stored(stored: &[u8], original: &[u8], name: &str) -> Result<()> {
    let shown = || String::from_utf8_lossy(&stored[..stored.len().min(2_000)]).into_owned();
    ensure!(stored.ends_with(original), "{name} was changed:\n{}", shown());
    let trace = std::str::from_utf8(&stored[..stored.len() - original.len()])?;
    let fields: Vec<&str> = trace
        .split_terminator("\r\n")
        .filter(|line| !line.starts_with([' ', '\t']))
        .filter_map(|line| line.split_once(':').map(|(field, _)| field))
        .collect();
    let expected =
        ["Return-Path", "Delivered-To", "Authentication-Results", "Received-SPF", "Received"];
    ensure!(fields == expected, "{name}: {fields:?}\n{}", shown());
    Ok(())
}

/// Sends all by SMTP and reads them back by IMAP and POP3.
async fn round_trip(place: &Place, samples: &[Sample]) -> Result<()> {
    let server = &place.server;
    let mut client = server.smtp_client().await?;
    let mut sent = Vec::new();
    for sample in samples {
        let text = canonical(&sample.raw);
        let reply =
            client.deliver(BOB, &[ANN], &text).await.with_context(|| sample.name.clone())?;
        if text.contains(&0) {
            ensure!(reply.code == 554, "{}: {reply}", sample.name);
            continue;
        }
        ensure!(reply.code == 250, "{}: {reply}", sample.name);
        sent.push((&sample.name, text));
    }
    let mut imap = server.imap_client(ANN, &place.password).await?;
    let held = wait_for_mail(&mut imap, "INBOX", sent.len()).await?;
    ensure!(held.len() == sent.len());
    // What is computed at arrival must not choke either.
    let lines =
        imap.command("UID FETCH 1:* (ENVELOPE BODYSTRUCTURE RFC822.SIZE INTERNALDATE)").await?;
    ensure!(lines.iter().filter(|line| line.contains(" FETCH ")).count() == sent.len());
    let mut pop = server.pop3_client(ANN, &place.password).await?;
    for ((number, (uid, _)), (name, text)) in (1..).zip(&held).zip(&sent) {
        let stored = imap.fetch_body(*uid).await?;
        assert_stored(&stored, text, name)?;
        ensure!(pop.retrieve(number).await? == stored, "{name} is another message by POP3");
    }
    pop.quit().await?;
    imap.logout().await
}

#[tokio::test]
async fn own_samples_pass_through_smtp_imap_and_pop3_octet_for_octet() -> Result<()> {
    round_trip(&place(|setup| setup).await?, &own()?).await
}

#[tokio::test]
async fn samples_of_others_pass_through_smtp_imap_and_pop3_octet_for_octet() -> Result<()> {
    let samples = foreign()?;
    if samples.is_empty() {
        return Ok(());
    }
    round_trip(&place(|setup| setup).await?, &samples).await
}

#[tokio::test]
async fn samples_with_bare_line_ends_are_refused_by_smtp_as_they_are() -> Result<()> {
    let place = place(|setup| setup).await?;
    let mut refused = 0;
    for sample in own()?.into_iter().chain(foreign()?) {
        let whole = canonical(&sample.raw);
        let missing_end = [&sample.raw[..], b"\r\n"].concat();
        if sample.raw == whole || missing_end == whole {
            continue;
        }
        let mut client = place.server.smtp_client().await?;
        let reply =
            client.deliver(BOB, &[ANN], &sample.raw).await.with_context(|| sample.name.clone())?;
        ensure!(reply.to_string().starts_with("521 5.5.2"), "{}: {reply}", sample.name);
        ensure!(client.until_closed().await?.is_empty());
        refused += 1;
    }
    ensure!(refused > 5, "only {refused} samples have bare line ends");
    let mut imap = place.server.imap_client(ANN, &place.password).await?;
    ensure!(wait_for_mail(&mut imap, "INBOX", 0).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn samples_are_appended_by_imap_as_they_are_also_those_with_nul() -> Result<()> {
    let place = place(|setup| setup).await?;
    let mut client = place.server.imap_client(ANN, &place.password).await?;
    let nul = Sample { name: "NUL".to_owned(), raw: b"From: a@x.test\r\n\r\na\0b\r\n".to_vec() };
    let mut kept = Vec::new();
    for sample in own()?.into_iter().chain(foreign()?).chain([nul]) {
        if sample.raw.is_empty() {
            // RFC 3502 §3.1: a literal of no octets takes the command back.
            let tag = client.send_command("APPEND Archive {0}").await?;
            client.expect("+").await?;
            client.send_raw(b"\r\n").await?;
            let answer = client.until_tagged(&tag).await?;
            let last = answer.last().context("an answer")?.text();
            ensure!(last.starts_with(&format!("{tag} NO")), "{}: {last}", sample.name);
            continue;
        }
        if sample.raw.contains(&0) {
            // RFC 3516 §4.4: literal8 brings any octets.
            let announced = format!("APPEND {} ~{{{}}}", quoted("Archive"), sample.raw.len());
            let tag = client.send_command(&announced).await?;
            client.expect("+").await?;
            client.send_raw(&[&sample.raw[..], b"\r\n"].concat()).await?;
            let answer = client.until_tagged(&tag).await?;
            let last = answer.last().context("an answer")?.text();
            ensure!(last.starts_with(&format!("{tag} OK")), "{}: {last}", sample.name);
        } else {
            client.append("Archive", "", &sample.raw).await.with_context(|| sample.name.clone())?;
        }
        kept.push(sample);
    }
    let held = wait_for_mail(&mut client, "Archive", kept.len()).await?;
    ensure!(held.len() == kept.len());
    ensure!(kept.iter().any(|sample| sample.raw.contains(&0)));
    for ((uid, _), sample) in held.iter().zip(&kept) {
        ensure!(client.fetch_body(*uid).await? == sample.raw, "{} was changed", sample.name);
    }
    Ok(())
}
