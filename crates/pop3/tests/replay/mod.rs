//! What real mail clients said, said again: the answers must be those that the clients got.
//!
//! The transcripts come from `tests/interop/record`; `letterlock_testkit::transcript` tells how they are read. What may
//! differ is what an answer says to people, and what the server can do beside.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use letterlock_mailbox::{Flags, InternalDate, NewMessage};
use letterlock_net::{Audience, Stream};
use letterlock_testkit::ca::trusting_client_config;
use letterlock_testkit::pop3::Client;
use letterlock_testkit::transcript::{Event, Said, Transcript, Values};

use super::World;

const PATIENCE: Duration = Duration::from_secs(20);
const HOST: &str = "mx.a.test";

#[tokio::test]
async fn transcripts_are_replayed() {
    let mut count = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if let Err(difference) = replay(&Transcript::read(&path).unwrap()).await {
            panic!("{}, {difference}", path.display());
        }
        count += 1;
    }
    assert!(count > 0, "no transcript");
}

/// A difference in any part of an answer that counts is found.
#[tokio::test]
async fn another_answer_is_noticed() {
    let text = std::fs::read_to_string(folder().join("fetchmail.txt")).unwrap();
    replay(&Transcript::parse(&text).unwrap()).await.unwrap();
    for (said, other) in [
        ("S: +OK Marked", "S: -ERR Marked"),
        ("S: -ERR Unknown", "S: +OK Unknown"),
        ("S: +OK 1 18", "S: +OK 2 18"),
        ("S: last line of", "S: past line of"),
        ("S: UIDL", "S: UIDX"),
    ] {
        assert!(text.contains(said), "{said}");
        let changed = Transcript::parse(&text.replace(said, other)).unwrap();
        assert!(replay(&changed).await.is_err(), "{other}");
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")
}

/// Up to the first difference, which is told.
async fn replay(transcript: &Transcript) -> Result<(), String> {
    let world = World::of(&transcript.account, PATIENCE).await;
    let values = Values::new(&transcript.account, &world.token);
    let mut replay = Replay { world, values, connections: HashMap::new() };
    for step in &transcript.steps {
        replay.step(&step.event).await.map_err(|wrong| format!("line {}: {wrong}", step.line))?;
    }
    Ok(())
}

struct Replay {
    world: World,
    values: Values,
    connections: HashMap<u32, Wire>,
}

impl Replay {
    async fn step(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Delivered(date, message) => self.deliver(date, message).await,
            Event::Gone(uids) => self.remove(uids).await,
            Event::Opened(connection, port) => {
                let client = connect(&self.world, port == "pop3s").await?;
                self.connections.insert(*connection, Wire::new(client));
                Ok(())
            }
            Event::Client(connection, said) => {
                let filled = self.values.fill(said).map_err(|error| error.to_string())?;
                self.wire(*connection)?.send(filled).await
            }
            Event::Server(connection, said) => {
                // Its lines are compared when the last one is there.
                let Some(said) = self.wire(*connection)?.listing(said).await? else {
                    return Ok(());
                };
                let actual = self.wire(*connection)?.line().await?;
                let expected = said.first(essence(&said.octets));
                if self.values.agree(&expected, &actual.as_bytes()[..essence(actual.as_bytes())]) {
                    return Ok(());
                }
                let said = String::from_utf8_lossy(&said.octets);
                Err(format!("expected\n{said}\nand got\n{actual}"))
            }
            Event::Closed(connection) => {
                self.connections.remove(connection);
                Ok(())
            }
        }
    }

    async fn deliver(&self, date: &str, message: &[u8]) -> Result<(), String> {
        let internal_date = InternalDate::parse(date).ok_or("a date")?;
        let bytes = message.to_vec().into();
        let new = NewMessage { bytes, flags: Flags::default(), internal_date };
        let appended = self.world.handle.append("INBOX", vec![new]).await;
        appended.map(drop).map_err(|error| error.to_string())
    }

    async fn remove(&self, uids: &[u32]) -> Result<(), String> {
        let folders = self.world.handle.folders().await.map_err(|error| error.to_string())?;
        let inbox = folders.iter().find(|folder| folder.name == "INBOX").and_then(|inbox| inbox.id);
        let set = uids.iter().copied().collect();
        let removed = self.world.handle.remove(inbox.ok_or("INBOX")?, &set).await;
        assert_eq!(removed.map_err(|error| error.to_string())?, uids);
        Ok(())
    }

    fn wire(&mut self, connection: u32) -> Result<&mut Wire, String> {
        self.connections.get_mut(&connection).ok_or_else(|| "no connection".to_owned())
    }
}

/// A connection, with TLS from the first octet or without.
async fn connect(world: &World, secure: bool) -> Result<Client, String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (pop3, shutdown) = (world.pop3.clone(), world.shutdown.clone());
    tokio::spawn(async move {
        let (socket, peer) = listener.accept().await.unwrap();
        let mut stream = Stream::plain(socket);
        if secure {
            stream = stream.start_tls(&pop3.tls, Audience::Clients, PATIENCE).await.unwrap();
        }
        pop3.serve(stream, peer, shutdown).await;
    });
    let client = if secure {
        Client::connect_tls(address, trusting_client_config().unwrap(), HOST).await
    } else {
        Client::connect(address).await
    };
    client.map_err(|error| error.to_string())
}

/// How many octets of an answer have to be the same: after the status only a code, or figures.
fn essence(said: &[u8]) -> usize {
    let Some(status) = [b"+OK".as_slice(), b"-ERR"].into_iter().find(|word| said.starts_with(word))
    else {
        return said.len();
    };
    match said[status.len()..].trim_ascii_start().first() {
        Some(b'0'..=b'9') => said.len(),
        Some(b'[') => said.iter().position(|octet| *octet == b']').map_or(said.len(), |at| at + 1),
        _ => status.len(),
    }
}

/// Whether this line of a list of capabilities says at least the same as that one.
fn offers(got: &str, wanted: &str) -> bool {
    let (got, wanted) = (&got[..essence(got.as_bytes())], &wanted[..essence(wanted.as_bytes())]);
    let words: Vec<&str> = got.split(' ').collect();
    words.first().copied() == wanted.split(' ').next()
        && wanted.split(' ').all(|word| words.contains(&word))
}

/// What the client asked last.
#[derive(PartialEq)]
enum Asked {
    /// Nothing that is treated in a way of its own.
    Other,
    /// CAPA; the lines that the transcript has.
    Capabilities(Vec<String>),
    /// STLS.
    Tls,
}

struct Wire {
    client: Client,
    greeted: bool,
    asked: Asked,
}

impl Wire {
    fn new(client: Client) -> Wire {
        Wire { client, greeted: false, asked: Asked::Other }
    }

    async fn send(&mut self, octets: Vec<u8>) -> Result<(), String> {
        self.asked = match octets.to_ascii_uppercase().as_slice() {
            b"CAPA\r\n" => Asked::Capabilities(Vec::new()),
            // Sent with the handshake, when the answer is wanted.
            b"STLS\r\n" => {
                self.asked = Asked::Tls;
                return Ok(());
            }
            _ => Asked::Other,
        };
        self.client.send_raw(&octets).await.map_err(|error| error.to_string())
    }

    /// Takes a line of a list of capabilities or the answer to STLS; gives others back. At least what the client saw
    /// must be in the list.
    async fn listing(&mut self, said: &Said) -> Result<Option<Said>, String> {
        let line = String::from_utf8_lossy(&said.octets).into_owned();
        match &mut self.asked {
            Asked::Tls => {
                self.asked = Asked::Other;
                let config = trusting_client_config().unwrap();
                let done = self.client.stls(config, HOST).await;
                done.map(|()| None).map_err(|error| error.to_string())
            }
            Asked::Capabilities(lines) if line != "." => {
                lines.push(line);
                Ok(None)
            }
            Asked::Capabilities(lines) => {
                let lines = std::mem::take(lines);
                self.asked = Asked::Other;
                let mut actual = vec![self.line().await?];
                while actual.last().is_some_and(|line| line != ".") {
                    actual.push(self.line().await?);
                }
                match lines.iter().find(|line| !actual.iter().any(|got| offers(got, line))) {
                    Some(missing) => Err(format!("{missing} is not in\n{}", actual.join("\n"))),
                    None => Ok(None),
                }
            }
            Asked::Other => Ok(Some(said.clone())),
        }
    }

    async fn line(&mut self) -> Result<String, String> {
        if !std::mem::replace(&mut self.greeted, true) {
            return Ok(self.client.greeting.clone());
        }
        self.client.expect("").await.map_err(|error| error.to_string())
    }
}
