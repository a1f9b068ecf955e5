//! What real mail clients said, said again: the answers must be those that the clients got.
//!
//! The transcripts come from `tests/interop/record`; `letterlock_testkit::transcript` tells how they are read. Sizes,
//! numbers, flags, structures and texts of messages are compared octet by octet. What may differ is what an answer says
//! to people, what the server can do beside, its name, and the space that is used.

use std::collections::HashMap;
use std::path::PathBuf;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use letterlock_mailbox::{Flags, Handle, InternalDate, NewMessage};
use letterlock_testkit::transcript::{Event, Transcript, Values, literal};

use crate::support::{Client, World};

macro_rules! transcripts {
    ($($test:ident: $file:literal),+ $(,)?) => {
        const ALL: &[&str] = &[$($file),+];
        $(
            #[tokio::test]
            async fn $test() {
                replay($file).await;
            }
        )+
    };
}

transcripts! {
    curl: "curl",
    fetchmail: "fetchmail",
    getmail: "getmail",
    imapclient: "imapclient",
    imapflow: "imapflow",
    mbsync: "mbsync",
    mbsync_conflicts: "mbsync-conflicts",
    neomutt: "neomutt",
    offlineimap: "offlineimap",
    python: "python",
    roundcube: "roundcube",
    thunderbird: "thunderbird",
}

#[test]
fn every_transcript_is_replayed() {
    let mut found: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    assert_eq!(found, ALL);
}

/// A difference in any part of an answer that counts is found.
#[tokio::test]
async fn another_answer_is_noticed() {
    replay("imapflow").await;
    let text = std::fs::read_to_string(folder().join("imapflow.txt")).unwrap();
    for (said, other) in [
        ("* 2 EXISTS", "* 3 EXISTS"),
        ("S: B OK Done", "S: B NO Done"),
        ("BODYSTRUCTURE (\"text\" \"plain\"", "BODYSTRUCTURE (\"text\" \"html\""),
        ("[APPENDUID ‹uidvalidity 1› 2]", "[APPENDUID ‹uidvalidity 1› 4]"),
        ("S| last line of second", "S| past line of second"),
    ] {
        assert!(text.contains(said), "{said}");
        let (changed, several) = read(&text.replace(said, other));
        let mut replay = Replay::start(&changed.account, several).await;
        assert!(replay.run(&changed).await.is_err(), "{other}");
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")
}

async fn replay(name: &str) {
    let text = std::fs::read_to_string(folder().join(format!("{name}.txt"))).unwrap();
    let (transcript, several) = read(&text);
    let mut replay = Replay::start(&transcript.account, several).await;
    if let Err(difference) = replay.run(&transcript).await {
        panic!("{name}.txt, {difference}");
    }
}

struct Replay {
    world: World,
    handle: Handle,
    values: Values,
    connections: HashMap<u32, Wire>,
    /// Several are open at the same time somewhere.
    several: bool,
    /// Keeps the mailbox open from the beginning, as it was.
    _keeper: Client,
}

impl Replay {
    async fn start(account: &str, several: bool) -> Replay {
        let world = World::of(account, |_| {}).await;
        let (mut keeper, _) = world.greeted_over_tls().await;
        keeper.ok(&format!("LOGIN {account} {}", world.password)).await;
        let handle = world.mailboxes.handle(world.account).expect("somebody is logged in");
        let values = Values::new(account, &world.password);
        Replay { world, handle, values, connections: HashMap::new(), several, _keeper: keeper }
    }

    /// Runs it up to the first difference, which is told.
    async fn run(&mut self, transcript: &Transcript) -> Result<(), String> {
        for step in &transcript.steps {
            self.step(&step.event).await.map_err(|wrong| format!("line {}: {wrong}", step.line))?;
        }
        Ok(())
    }

    async fn step(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Delivered(date, message) => self.deliver(date, message).await?,
            Event::Gone(uids) => self.remove(uids).await?,
            Event::Opened(connection, port) => {
                let (client, greeting) = match port.as_str() {
                    "imaps" => self.world.greeted_over_tls().await,
                    _ => self.world.greeted().await,
                };
                self.connections.insert(*connection, Wire::new(client, &greeting));
            }
            Event::Client(connection, said) => {
                let filled = self.values.fill(said).map_err(|error| error.to_string())?;
                self.wire(*connection)?.send(&filled).await;
            }
            Event::Server(connection, said) => {
                let actual = self.wire(*connection)?.answer().await;
                let expected = said.first(essence(&said.octets));
                let told = if self.several { without_recent(&actual) } else { actual.clone() };
                let got = &told[..essence(&told)];
                if !self.values.agree(&expected, got) {
                    let said = String::from_utf8_lossy(&said.octets);
                    let actual = String::from_utf8_lossy(&actual);
                    return Err(format!("expected\n{said}\nand got\n{actual}"));
                }
                self.wire(*connection)?.answered(&actual).await;
            }
            Event::Closed(connection) => {
                let wire = self.connections.remove(connection).ok_or("no connection")?;
                if wire.last.ends_with(b" LOGOUT\r\n") && !wire.buffer.is_empty() {
                    return Err(format!("more: {}", String::from_utf8_lossy(&wire.buffer)));
                }
            }
        }
        Ok(())
    }

    async fn deliver(&self, date: &str, message: &[u8]) -> Result<(), String> {
        let internal_date = InternalDate::parse(date).ok_or("a date")?;
        let bytes = message.to_vec().into();
        let new = NewMessage { bytes, flags: Flags::default(), internal_date };
        let appended = self.handle.append("INBOX", vec![new]).await;
        appended.map(drop).map_err(|error| error.to_string())
    }

    async fn remove(&self, uids: &[u32]) -> Result<(), String> {
        let folders = self.handle.folders().await.map_err(|error| error.to_string())?;
        let inbox = folders.iter().find(|folder| folder.name == "INBOX").and_then(|inbox| inbox.id);
        let set = uids.iter().copied().collect();
        let removed = self.handle.remove(inbox.ok_or("INBOX")?, &set).await;
        assert_eq!(removed.map_err(|error| error.to_string())?, uids);
        Ok(())
    }

    fn wire(&mut self, connection: u32) -> Result<&mut Wire, String> {
        self.connections.get_mut(&connection).ok_or_else(|| "no connection".to_owned())
    }
}

/// How many octets of an answer have to be the same.
fn essence(said: &[u8]) -> usize {
    let words: Vec<&[u8]> = said.splitn(4, |octet| *octet == b' ').collect();
    let count = |words: &[&[u8]]| words.iter().map(|word| word.len() + 1).sum::<usize>() - 1;
    match *words.as_slice() {
        [b"+", ..] => 1,
        [_, b"OK" | b"NO" | b"BAD" | b"BYE" | b"PREAUTH", b"[CAPABILITY", ..] => count(&words[..3]),
        [_, b"OK" | b"NO" | b"BAD" | b"BYE" | b"PREAUTH", text, ..] if text.starts_with(b"[") => {
            said.split_inclusive(|octet| *octet == b']').next().map_or(said.len(), <[u8]>::len)
        }
        [_, b"OK" | b"NO" | b"BAD" | b"BYE" | b"PREAUTH", ..]
        | [b"*", b"CAPABILITY" | b"ID" | b"QUOTA", ..] => count(&words[..2]),
        _ => said.len(),
    }
}

/// Which of several sessions is told that a message is recent is their race: such answers are compared without it.
fn without_recent(said: &[u8]) -> Vec<u8> {
    let words: Vec<&[u8]> = said.split(|octet| *octet == b' ').collect();
    if let [.., _, b"RECENT"] = words.as_slice() {
        return [&words[..words.len() - 2].join(&b' '), b" 0 RECENT".as_slice()].concat();
    }
    let (mut kept, mut rest) = (Vec::with_capacity(said.len()), said);
    while let Some(at) = rest.windows(RECENT.len()).position(|part| part == RECENT) {
        let space = usize::from(at > 0 && rest[at - 1] == b' ');
        kept.extend_from_slice(&rest[..at - space]);
        rest = &rest[at + RECENT.len()..];
    }
    kept.extend_from_slice(rest);
    kept
}

const RECENT: &[u8] = br"\Recent";

/// The transcript, without `\Recent` if several connections are open at the same time, and whether they are.
fn read(text: &str) -> (Transcript, bool) {
    let (mut open, mut several) = (0, false);
    for line in text.lines() {
        match line.split(' ').nth(1) {
            Some("open") => open += 1,
            Some("close") => open -= 1,
            _ => {}
        }
        several |= open > 1;
    }
    let text = if several { lines_without_recent(text) } else { text.to_owned() };
    (Transcript::parse(&text).unwrap(), several)
}

fn lines_without_recent(text: &str) -> String {
    let lines = text.lines().map(|line| match line.contains(" S: ") {
        true => String::from_utf8(without_recent(line.as_bytes())).unwrap(),
        false => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join(
        "
",
    )
}

/// One of the client's connections.
struct Wire {
    /// `None` only while TLS begins.
    client: Option<Client>,
    /// What came and was not read, unpacked.
    buffer: Vec<u8>,
    /// The compression, once it began (RFC 4978).
    packing: Option<(Compress, Decompress)>,
    /// The last line that was sent.
    last: Vec<u8>,
}

impl Wire {
    fn new(client: Client, greeting: &str) -> Wire {
        let buffer = format!("{greeting}\r\n").into_bytes();
        Wire { client: Some(client), buffer, packing: None, last: Vec::new() }
    }

    async fn send(&mut self, octets: &[u8]) {
        self.last = octets.to_ascii_uppercase();
        let packed = self.packing.as_mut().map(|(deflate, _)| {
            let mut packed = Vec::with_capacity(octets.len() + 1024);
            deflate.compress_vec(octets, &mut packed, FlushCompress::Sync).unwrap();
            packed
        });
        self.client.as_mut().unwrap().send(packed.as_deref().unwrap_or(octets)).await;
    }

    /// An answer with its literals, without its last CRLF; what came so far when the connection has ended.
    async fn answer(&mut self) -> Vec<u8> {
        let mut end = 0;
        loop {
            match self.buffer[end..].windows(2).position(|two| two == b"\r\n") {
                Some(at) => {
                    let size = literal(&self.buffer[end..end + at]);
                    let Some(size) = size else {
                        let answer = self.buffer[..end + at].to_vec();
                        self.buffer.drain(..end + at + 2);
                        return answer;
                    };
                    while self.buffer.len() < end + at + 2 + size && self.more().await {}
                    end = self.buffer.len().min(end + at + 2 + size);
                }
                None if !self.more().await => return std::mem::take(&mut self.buffer),
                None => {}
            }
        }
    }

    async fn more(&mut self) -> bool {
        let octets = self.client.as_mut().unwrap().octets().await;
        let more = !octets.is_empty();
        self.take(&octets);
        more
    }

    fn take(&mut self, octets: &[u8]) {
        let Some((_, inflate)) = &mut self.packing else {
            return self.buffer.extend_from_slice(octets);
        };
        let mut plain = Vec::with_capacity(1 << 20);
        inflate.decompress_vec(octets, &mut plain, FlushDecompress::Sync).unwrap();
        self.buffer.extend(plain);
    }

    /// After some answers the connection is another one.
    async fn answered(&mut self, answer: &[u8]) {
        let last = std::mem::take(&mut self.last);
        let asked: Vec<&[u8]> = last.trim_ascii_end().split(|octet| *octet == b' ').collect();
        let tag = asked[0];
        let granted = answer.to_ascii_uppercase().starts_with(&[tag, b" OK"].concat());
        match asked[1..] {
            [b"COMPRESS", b"DEFLATE"] if granted => {
                let deflate = Compress::new(Compression::default(), false);
                self.packing = Some((deflate, Decompress::new(false)));
                let rest = std::mem::take(&mut self.buffer);
                self.take(&rest);
            }
            [b"STARTTLS"] if granted => {
                self.client = Some(self.client.take().unwrap().start_tls().await);
            }
            _ => self.last = last,
        }
    }
}
