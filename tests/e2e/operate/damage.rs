//! Damage in each kind of file, found by the outer hashes as `verify` looks at them: no key that reads is needed.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use letterlock_vault::{Disk, Key, ServerKey, verify_file};

use crate::deliver::deliver;
use crate::mail::wait_for_mail;
use crate::place::{ANN, Place, place};

const PAGE: usize = 4096;
const FRAME: usize = 24 + PAGE;
const LOG_HEADER: usize = 32;

/// Every database of the server, with its integrity key.
fn files(place: &Place) -> Result<Vec<(PathBuf, Key)>> {
    let data = place.server.data_dir();
    let server_key = ServerKey::load_or_create(data, None)?;
    let mut files: Vec<(PathBuf, Key)> = ["directory", "queue", "state"]
        .into_iter()
        .map(|name| (data.join(format!("{name}.db")), server_key.file_keys(name).integrity))
        .collect();
    for entry in std::fs::read_dir(data.join("accounts"))? {
        let folder = entry?.path();
        let name = folder.file_name().and_then(|name| name.to_str()).context("a name")?;
        let key = server_key.integrity_key(name.parse()?, 0);
        files.push((folder.join("mailbox.db"), key));
    }
    Ok(files)
}

fn log_of(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}

#[tokio::test]
async fn each_damaged_page_of_each_file_is_named() -> Result<()> {
    let mut place = place(|setup| setup).await?;
    let mut client = place.server.imap_client(ANN, &place.password).await?;
    deliver(&place.server, ANN, "filed").await?;
    wait_for_mail(&mut client, "INBOX", 1).await?;
    drop(client);
    place.server.run(&["account", "lock", ANN]).await?;
    deliver(&place.server, ANN, "parked").await?;
    place.server.terminate().await?;
    for (path, key) in files(&place)? {
        let sound = std::fs::read(&path)?;
        let pages = sound.len() / PAGE;
        ensure!(pages > 5 && verify_file(&Disk, &path, &key)?.is_whole(), "{}", path.display());
        let damaged = |octets: &[u8]| -> Result<Vec<u32>> {
            std::fs::write(&path, octets)?;
            Ok(verify_file(&Disk, &path, &key)?.damaged)
        };
        for page in 1..=pages {
            let (start, number) = ((page - 1) * PAGE, page as u32);
            let mut flipped = sound.clone();
            flipped[start + page * 37 % PAGE] ^= 1 << (page % 8);
            ensure!(damaged(&flipped)? == [number], "{} {page}: flipped", path.display());
            let mut zeroed = sound.clone();
            zeroed[start..start + PAGE].fill(0);
            ensure!(damaged(&zeroed)? == [number], "{} {page}: zeroed", path.display());
            if page > 1 {
                let mut swapped = sound.clone();
                let (before, here) = swapped.split_at_mut(start);
                before[start - PAGE..].swap_with_slice(&mut here[..PAGE]);
                ensure!(damaged(&swapped)? == [number - 1, number], "{page}: swapped");
            }
            ensure!(damaged(&sound[..start + 100])? == [number], "{page}: cut");
        }
        std::fs::write(&path, &sound)?;
    }
    Ok(())
}

#[tokio::test]
async fn each_damaged_frame_of_each_log_is_named() -> Result<()> {
    let mut place = place(|setup| setup).await?;
    let mut client = place.server.imap_client(ANN, &place.password).await?;
    for subject in ["one", "two", "three"] {
        deliver(&place.server, ANN, subject).await?;
    }
    wait_for_mail(&mut client, "INBOX", 3).await?;
    place.server.kill9()?;
    let mut logs = 0;
    for (path, key) in files(&place)? {
        let log = log_of(&path);
        let Ok(sound) = std::fs::read(&log) else { continue };
        // Of what an earlier log left behind its end nothing counts.
        let frames = verify_file(&Disk, &path, &key)?.frames as usize;
        logs += usize::from(frames > 1);
        for frame in 1..frames {
            let mut changed = sound.clone();
            changed[LOG_HEADER + (frame - 1) * FRAME + frame * 41 % FRAME] ^= 1;
            std::fs::write(&log, changed)?;
            let found = verify_file(&Disk, &path, &key)?;
            ensure!(found.damaged_frames == [frame as u32], "{} {frame}", log.display());
        }
        std::fs::write(&log, &sound)?;
    }
    ensure!(logs >= 2, "{logs} logs were looked at");
    Ok(())
}
