//! What a running server's own memory holds: keys while a mailbox is unlocked, none once it is locked; and how little of
//! large messages while they come.
//!
//! The tests read every writable page of the server's process, as root of the machine could, and its resident size.

#[path = "thief/loot.rs"]
#[expect(dead_code, reason = "the thief looks for more than keys")]
mod loot;
#[path = "support/mail.rs"]
mod mail;
#[path = "support/place.rs"]
mod place;

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use anyhow::{Context as _, Result, ensure};
use letterlock_directory::Directory;
use letterlock_imap_wire::structure;
use letterlock_testkit::imap::Client as ImapClient;
use letterlock_vault::{Pool, ServerKey, slot};
use loot::Loot;
use mail::wait_for_mail;
use place::{ANN, Place, place};

/// In the text of a letter.
const TEXT: &str = "kestrel-nine-harbour";

/// Something to look for.
struct Wanted {
    name: &'static str,
    octets: Vec<u8>,
}

/// The keys of Ann's mailbox file and her password, from a copy of the server's folder.
async fn secrets(place: &Place) -> Result<Vec<Wanted>> {
    let loot = Loot::take(place.server.data_dir())?;
    let server_key = ServerKey::load_or_create(loot.folder(), None)?;
    let pool = Pool::new("owner", 1);
    let directory = Directory::open(loot.folder(), &server_key, &pool).await?;
    let account = directory.snapshot().account_by_address(&ANN.parse()?).context("no account")?;
    let slots = account.slots.iter();
    let open = |named: &letterlock_directory::NamedSlot| {
        slot::open_password(account.id, &named.slot, &place.password).ok()
    };
    let key = slots.filter_map(open).next().context("the password opens no slot")?;
    let secrets = account.secrets.open(account.id, &key, &server_key)?;
    let page = secrets.file_keys().page.expose().to_vec();
    directory.close().await?;
    tokio::task::spawn_blocking(move || pool.shutdown()).await?;
    let password = place.password.clone().into_bytes();
    Ok(vec![
        Wanted { name: "the key of the mailbox's pages", octets: page },
        Wanted { name: "the password", octets: password },
    ])
}

/// How often each of these stands in what the process may write to.
fn scan(pid: u32, wanted: &[Wanted]) -> Result<Vec<usize>> {
    let mut memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut found = vec![0; wanted.len()];
    for line in std::fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(range), Some(access)) = (fields.next(), fields.next()) else { continue };
        if !access.starts_with("rw") {
            continue;
        }
        let (first, last) = range.split_once('-').context("a range")?;
        let (first, last) = (u64::from_str_radix(first, 16)?, u64::from_str_radix(last, 16)?);
        let mut octets = vec![0; usize::try_from(last - first)?];
        memory.seek(SeekFrom::Start(first))?;
        // A region may have been given back since the list was made.
        if memory.read_exact(&mut octets).is_err() {
            continue;
        }
        for (count, wanted) in found.iter_mut().zip(wanted) {
            *count += memchr::memmem::find_iter(&octets, &wanted.octets).count();
        }
    }
    Ok(found)
}

#[tokio::test]
async fn a_locked_mailbox_leaves_no_key_in_memory() -> Result<()> {
    let place = place(|setup| setup.set("auth", "grace", "\"1h\"")).await?;
    let server = &place.server;
    let letter = format!("From: <x@elsewhere.test>\r\nSubject: {TEXT}\r\n\r\n{TEXT}\r\n");
    let mut client = server.imap_client(ANN, &place.password).await?;
    client.append("INBOX", "", letter.as_bytes()).await?;
    let mut other = server.imap_client(ANN, &place.password).await?;
    wait_for_mail(&mut other, "INBOX", 1).await?;
    ensure!(client.command("SELECT INBOX").await?.len() > 3);
    client.command("SEARCH BODY kestrel").await?;
    client.command("FETCH 1 BODY[]").await?;
    client.command("CREATE Kestrel").await?;

    let mut wanted = secrets(&place).await?;
    let pid = server.pid().context("the server runs")?;
    let open = scan(pid, &wanted)?;
    ensure!(open[0] > 0, "the look is blind: an unlocked mailbox has its key in memory");

    server.run(&["account", "lock", ANN]).await?;
    client.until_closed().await?;
    other.until_closed().await?;
    wanted.push(Wanted { name: "text of a letter", octets: TEXT.into() });
    let locked = scan(pid, &wanted)?;
    for (wanted, count) in wanted.iter().zip(&locked).take(2) {
        ensure!(*count == 0, "{} stands in memory {count} times", wanted.name);
    }
    eprintln!("{} stands in memory {} times", wanted[2].name, locked[2]);
    Ok(())
}

/// How many clients send at once, and what each of them sends at least, in octets.
const CLIENTS: usize = 4;
const LARGE: usize = 50_000_000;

/// Resident memory of a process, in octets.
fn resident(pid: u32) -> Result<usize> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kilobytes = line.split_ascii_whitespace().nth(1).context("no number")?;
    Ok(kilobytes.parse::<usize>()? * 1024)
}

/// A letter with a large attachment that does not pack.
fn large(number: usize) -> Vec<u8> {
    let head = format!(
        "From: Bob <bob@elsewhere.test>\r\nSubject: large {number}\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\n{TEXT}-{number}\r\n--b\r\nContent-Type: application/pdf; name=x\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n"
    );
    let mut letter = head.into_bytes();
    let mut random = number as u64 + 1;
    while letter.len() < LARGE {
        for _ in 0..9 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            letter.extend_from_slice(format!("{:08x}", random >> 32).as_bytes());
        }
        letter.extend_from_slice(b"\r\n");
    }
    letter.extend_from_slice(b"--b--\r\n");
    letter
}

#[tokio::test]
async fn large_messages_that_come_take_little_memory() -> Result<()> {
    let place = place(|setup| setup).await?;
    let server = &place.server;
    let pid = server.pid().context("the server runs")?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(server.imap_client(ANN, &place.password).await?);
    }
    clients[0].append("INBOX", "", b"Subject: first\r\n\r\nfirst\r\n").await?;
    let before = resident(pid)?;
    let letters: Vec<Vec<u8>> = (0..CLIENTS).map(large).collect();
    for (client, letter) in clients.iter_mut().zip(&letters) {
        client.send(&format!("t APPEND INBOX {{{}}}", letter.len())).await?;
        client.expect("+ ").await?;
    }
    // Side by side, a megabyte at a time. The last octets are held back, so that all of them are under way at the end.
    let (mut peak, mut at, last) = (before, 0, LARGE - 10_000);
    while at < last {
        let end = (at + (1 << 20)).min(last);
        for (client, letter) in clients.iter_mut().zip(&letters) {
            client.send_raw(&letter[at..end]).await?;
            peak = peak.max(resident(pid)?);
        }
        at = end;
    }
    let grown = peak - before;
    eprintln!(
        "{CLIENTS} messages of {LARGE} octets: {before} octets before, {grown} more at the most"
    );
    ensure!(grown < LARGE / 2, "{CLIENTS} messages of {LARGE} octets took {grown} octets");
    for (client, letter) in clients.iter_mut().zip(&letters) {
        client.send_raw(&letter[last..]).await?;
        client.send("").await?;
        let done = client.until_tagged("t").await?;
        ensure!(done.last().is_some_and(|line| line.text().starts_with("t OK [APPENDUID")));
    }
    read_back(&mut clients[0], &letters).await
}

/// Everything is as if the letters had come at once.
async fn read_back(client: &mut ImapClient, letters: &[Vec<u8>]) -> Result<()> {
    client.select("INBOX").await?;
    for (number, letter) in letters.iter().enumerate() {
        let found = client.uid_search(&format!("BODY {TEXT}-{number} SUBJECT large")).await?;
        ensure!(found.len() == 1, "{number} is found as {found:?}");
        ensure!(client.fetch_body(found[0]).await? == *letter, "{number} reads back otherwise");
        let told =
            client.command(&format!("UID FETCH {} (ENVELOPE BODYSTRUCTURE)", found[0])).await?;
        let summary = structure::summarise(letter);
        let expected =
            [summary.envelope, b" BODYSTRUCTURE ".to_vec(), summary.body_structure].concat();
        let expected = String::from_utf8(expected)?;
        ensure!(told.iter().any(|line| line.contains(&expected)), "{told:?}: no {expected}");
    }
    Ok(())
}
