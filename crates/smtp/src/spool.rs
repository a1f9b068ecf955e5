//! A message while it is being received: in memory up to a bound, then in a temporary
//! file, sealed under a key that lives in memory only.
//!
//! A slow client with a large message so costs disk and not memory, and what is left of
//! the file after a crash cannot be read by anybody.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use letterlock_vault::Key;

/// Nonce and tag that sealing adds to a piece.
const OVERHEAD: usize = 40;

/// Where and when messages leave memory.
#[derive(Clone, Debug)]
pub struct SpoolRules {
    /// Folder for the temporary files; on the same disk as the data, since that is writable.
    pub folder: Arc<Path>,
    /// Octets that may stay in memory.
    pub memory: usize,
}

/// A message body that grows.
#[derive(Debug)]
pub(crate) struct Spool {
    rules: SpoolRules,
    /// What has not been written to the file.
    tail: Vec<u8>,
    spilled: Option<Spilled>,
}

#[derive(Debug)]
struct Spilled {
    file: File,
    key: Key,
    /// Plain lengths of the sealed pieces, in order.
    pieces: Vec<usize>,
}

impl Spool {
    pub(crate) fn new(rules: SpoolRules) -> Spool {
        Spool { rules, tail: Vec::new(), spilled: None }
    }

    /// The buffer that the protocol's reader appends to; call [`Spool::settle`] afterwards.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    /// Moves the buffer to the file when it has become too large.
    pub(crate) async fn settle(&mut self) -> io::Result<()> {
        if self.tail.len() < self.rules.memory {
            return Ok(());
        }
        let (tail, spilled) = (std::mem::take(&mut self.tail), self.spilled.take());
        let folder = self.rules.folder.clone();
        let spilled = blocking(move || {
            let mut spilled = match spilled {
                Some(spilled) => spilled,
                None => Spilled {
                    file: nameless_file(&folder)?,
                    key: Key::random(),
                    pieces: Vec::new(),
                },
            };
            let number = spilled.pieces.len() as u64;
            spilled.file.write_all(&spilled.key.seal(&number.to_be_bytes(), &tail))?;
            spilled.pieces.push(tail.len());
            Ok(spilled)
        })
        .await?;
        self.spilled = Some(spilled);
        Ok(())
    }

    /// The whole message.
    pub(crate) async fn finish(self) -> io::Result<Bytes> {
        let Spool { tail, spilled, .. } = self;
        let Some(mut spilled) = spilled else { return Ok(Bytes::from(tail)) };
        blocking(move || {
            let mut whole = Vec::with_capacity(spilled.pieces.iter().sum::<usize>() + tail.len());
            spilled.file.rewind()?;
            for (number, length) in spilled.pieces.iter().enumerate() {
                let mut sealed = vec![0; length + OVERHEAD];
                spilled.file.read_exact(&mut sealed)?;
                let piece = spilled.key.open(&(number as u64).to_be_bytes(), &sealed);
                whole.extend_from_slice(&piece.map_err(io::Error::other)?);
            }
            whole.extend_from_slice(&tail);
            Ok(Bytes::from(whole))
        })
        .await
    }
}

/// A file that has no name, so that no way of dying leaves it behind.
fn nameless_file(folder: &Path) -> io::Result<File> {
    std::fs::create_dir_all::<PathBuf>(folder.into())?;
    tempfile::tempfile_in(folder)
}

async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> io::Result<R> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(folder: &Path, memory: usize) -> SpoolRules {
        SpoolRules { folder: folder.into(), memory }
    }

    #[tokio::test]
    async fn small_and_large_messages_come_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        for size in [0, 99, 100, 1000, 12_345] {
            let message: Vec<u8> = (0..size).map(|i| i as u8).collect();
            let mut spool = Spool::new(rules(folder.path(), 100));
            for piece in message.chunks(37) {
                spool.buffer().extend_from_slice(piece);
                spool.settle().await.unwrap();
                assert!(spool.tail.len() < 100);
            }
            assert_eq!(spool.spilled.is_some(), size >= 100);
            assert_eq!(spool.finish().await.unwrap(), message);
        }
    }

    #[tokio::test]
    async fn nothing_readable_reaches_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(rules(folder.path(), 10));
        spool.buffer().extend_from_slice(b"the canary in the mine");
        spool.settle().await.unwrap();
        let spilled = spool.spilled.as_mut().unwrap();
        let mut raw = Vec::new();
        spilled.file.rewind().unwrap();
        spilled.file.read_to_end(&mut raw).unwrap();
        assert_eq!(raw.len(), 22 + OVERHEAD);
        assert!(!raw.windows(6).any(|w| w == b"canary"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
    }
}
