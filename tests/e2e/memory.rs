//! What a running server's own memory holds: keys while a mailbox is unlocked, none once it is locked.
//!
//! The test reads every writable page of the server's process, as root of the machine could.

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
