//! A copy of a server's folder, and eyes for it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use letterlock_vault::Key;
use tempfile::TempDir;

const PAGE: usize = 4096;
const LOG_HEADER: usize = 32;
const FRAME: usize = 24 + PAGE;
const NONCE: usize = 24;
const TAG: usize = 16;
const OUTER: usize = 16;

/// All files of a data directory, copied away.
pub(crate) struct Loot {
    folder: TempDir,
    /// Where each file is, and its octets.
    pub(crate) files: Vec<(PathBuf, Vec<u8>)>,
}

impl Loot {
    /// Copies everything under `data_dir` but sockets.
    pub(crate) fn take(data_dir: &Path) -> Result<Self> {
        let mut loot = Self { folder: TempDir::new()?, files: Vec::new() };
        let target = loot.folder.path().to_owned();
        loot.copy(data_dir, &target)?;
        Ok(loot)
    }

    fn copy(&mut self, from: &Path, to: &Path) -> Result<()> {
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
            if kind.is_dir() {
                std::fs::create_dir(&target)?;
                self.copy(&entry.path(), &target)?;
            } else if kind.is_file() {
                // Permissions too: the key's file has to be private.
                std::fs::copy(entry.path(), &target)?;
                self.files.push((target.clone(), std::fs::read(&target)?));
            }
        }
        Ok(())
    }

    /// Where the copies are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The plain text of every page of a database and of every frame of its log that this key opens, whether SQLite
    /// still uses it or not. The layout is read here without the vault's code.
    pub(crate) fn pages(&self, name: &str, key: &Key) -> Result<Vec<Vec<u8>>> {
        let path = self.folder.path().join(name);
        let mut opened = Vec::new();
        for (number, page) in (1_u32..).zip(std::fs::read(&path)?.chunks_exact(PAGE)) {
            let place = [&b"main"[..], &number.to_be_bytes()].concat();
            opened.extend(open(key, &place, page));
        }
        let log = PathBuf::from(format!("{}-wal", path.display()));
        let log = if log.exists() { std::fs::read(log)? } else { Vec::new() };
        let (Some(salts), Some(frames)) = (log.get(16..24), log.get(LOG_HEADER..)) else {
            return Ok(opened);
        };
        for (number, frame) in (1_u32..).zip(frames.chunks_exact(FRAME)) {
            let place = [&b"wal"[..], salts, &number.to_be_bytes()].concat();
            opened.extend(open(key, &place, frame));
        }
        Ok(opened)
    }
}

/// Text, nonce, tag, outer hash.
fn open(key: &Key, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (text, tail) = sealed.split_at(sealed.len() - NONCE - TAG - OUTER);
    let (nonce, tag) = tail[..NONCE + TAG].split_at(NONCE);
    key.open(place, &[nonce, text, tag].concat()).ok().map(|plain| plain.to_vec())
}

/// Whether a canary stands there, plain or in a form that mail and databases know.
pub(crate) fn canary_in(octets: &[u8], canary: &str) -> bool {
    forms(canary).iter().any(|form| memchr::memmem::find(octets, form).is_some())
}

/// Plain, UTF-16 of both orders, hexadecimal, quoted-printable, and base64 at each of the three offsets.
pub(crate) fn forms(canary: &str) -> Vec<Vec<u8>> {
    let mut forms = vec![
        canary.as_bytes().to_vec(),
        canary.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        canary.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        canary.bytes().map(|octet| format!("{octet:02x}")).collect::<String>().into_bytes(),
        canary.replace('-', "=2D").into_bytes(),
        canary.bytes().map(|octet| format!("={octet:02X}")).collect::<String>().into_bytes(),
    ];
    for offset in 0..3 {
        let padded = [&b"???"[..offset], canary.as_bytes()].concat();
        let encoded = STANDARD_NO_PAD.encode(&padded).into_bytes();
        // The first and the last group also hold what stands beside the canary.
        let (start, end) = (if offset == 0 { 0 } else { 4 }, encoded.len() / 4 * 4 - 4);
        forms.push(encoded[start..end].to_vec());
    }
    forms
}
