//! A scripted mail exchanger: it collects what it is sent and misbehaves as it is told.

mod session;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::bail;
use tokio::sync::watch;

use crate::background::Background;
use crate::ca::Issued;

/// The points of a session where the exchanger can be told what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Instead of the greeting.
    Greeting,
    /// Instead of the answer to EHLO.
    Ehlo,
    /// Instead of the answer to HELO.
    Helo,
    /// Instead of the answer to STARTTLS.
    StartTls,
    /// Instead of the answer to MAIL.
    Mail,
    /// Instead of the answer to each RCPT.
    Rcpt,
    /// Instead of the 354 after DATA.
    Data,
    /// Instead of the answer to the whole message.
    EndOfData,
    /// Instead of the answer to QUIT.
    Quit,
}

/// What the exchanger does at a stage instead of being polite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Says this and goes on, without having done what was asked: `"451 4.3.0 later"`. Lines are separated by `\n`.
    Reply(String),
    /// Says this and closes the connection.
    ReplyThenClose(String),
    /// Closes the connection without a word.
    Close,
    /// Says nothing and keeps the connection open.
    Hang,
    /// At [`Stage::EndOfData`]: keeps the message and closes without the 250, so that the sender cannot know.
    KeepThenClose,
}

/// How an exchanger behaves from the start.
#[derive(Clone, Debug)]
pub struct Script {
    /// The name in the greeting.
    pub hostname: String,
    /// The EHLO keywords; STARTTLS is added if there is a certificate. The default is PIPELINING, 8BITMIME,
    /// SMTPUTF8, CHUNKING, ENHANCEDSTATUSCODES, DSN and SIZE.
    pub keywords: Vec<String>,
    /// The certificate for STARTTLS; none: it is not offered.
    pub certificate: Option<Issued>,
    /// Answers to RCPT by address in lower case, instead of 250.
    pub recipients: BTreeMap<String, String>,
    /// The user and password that AUTH PLAIN and AUTH LOGIN want, and MAIL wants AUTH. The mechanisms that are offered
    /// stand among the keywords.
    pub login: Option<(String, String)>,
    /// TLS from the first octet, with the certificate.
    pub implicit_tls: bool,
}

impl Script {
    /// A polite exchanger without TLS.
    pub fn new(hostname: &str) -> Self {
        let keywords = [
            "PIPELINING",
            "8BITMIME",
            "SMTPUTF8",
            "CHUNKING",
            "ENHANCEDSTATUSCODES",
            "DSN",
            "SIZE 52428800",
        ];
        Self {
            hostname: hostname.to_owned(),
            keywords: keywords.iter().map(|keyword| (*keyword).to_owned()).collect(),
            certificate: None,
            recipients: BTreeMap::new(),
            login: None,
            implicit_tls: false,
        }
    }

    /// Offers STARTTLS with this certificate.
    pub fn with_tls(mut self, certificate: Issued) -> Self {
        self.certificate = Some(certificate);
        self
    }

    /// Offers a keyword besides.
    pub fn with(mut self, keyword: &str) -> Self {
        self.keywords.push(keyword.to_owned());
        self
    }

    /// Does not offer a keyword, whatever its parameters.
    pub fn without(mut self, keyword: &str) -> Self {
        self.keywords.retain(|held| held.split(' ').next() != Some(keyword));
        self
    }

    /// Answers RCPT for this address with this reply.
    pub fn recipient(mut self, address: &str, reply: &str) -> Self {
        self.recipients.insert(address.to_lowercase(), reply.to_owned());
        self
    }
}

/// A recipient of a collected message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The address without angle brackets.
    pub address: String,
    /// The parameters as they were sent.
    pub parameters: String,
}

/// A message that the exchanger has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it came from.
    pub peer: SocketAddr,
    /// The name in EHLO or HELO.
    pub helo: String,
    /// Whether it came over TLS.
    pub tls: bool,
    /// The reverse-path without angle brackets; empty for the null path.
    pub from: String,
    /// The parameters of MAIL as they were sent.
    pub parameters: String,
    /// The recipients that were taken.
    pub recipients: Vec<Recipient>,
    /// The message, dots unstuffed, line ends as they came.
    pub bytes: Vec<u8>,
}

impl Message {
    /// The addresses of the recipients.
    pub fn addresses(&self) -> Vec<&str> {
        self.recipients.iter().map(|recipient| recipient.address.as_str()).collect()
    }

    /// The message as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

#[derive(Debug, Default)]
struct State {
    once: BTreeMap<Stage, VecDeque<Behaviour>>,
    always: BTreeMap<Stage, Behaviour>,
    messages: Vec<Message>,
    connections: usize,
    commands: Vec<String>,
}

/// What the sessions share with the test.
#[derive(Debug)]
struct Shared {
    script: Mutex<Script>,
    state: Mutex<State>,
    /// Ticks whenever the state changed.
    changed: watch::Sender<u64>,
}

impl Shared {
    fn script(&self) -> Script {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// What to do at a stage: what was ordered for once, then what was ordered for always.
    fn behaviour(&self, stage: Stage) -> Option<Behaviour> {
        let mut state = self.state();
        let once = state.once.get_mut(&stage).and_then(VecDeque::pop_front);
        once.or_else(|| state.always.get(&stage).cloned())
    }
}

/// A running exchanger. Dropping it closes its port and all connections: senders are refused from then on.
#[derive(Debug)]
pub struct FakeMx {
    shared: Arc<Shared>,
    address: SocketAddr,
    _background: Background,
}

impl FakeMx {
    /// Starts an exchanger on 127.0.0.1 and a free port.
    pub fn start(script: Script) -> anyhow::Result<Self> {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)), script)
    }

    /// Starts an exchanger on this address; port 0 takes a free one.
    pub fn start_on(address: SocketAddr, script: Script) -> anyhow::Result<Self> {
        let tls = match &script.certificate {
            Some(certificate) => Some(certificate.server_config()?),
            None => None,
        };
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            state: Mutex::default(),
            changed: watch::Sender::new(0),
        });
        let sessions = Arc::clone(&shared);
        let background = Background::spawn("mx", move || session::listen(listener, tls, sessions))?;
        Ok(Self { shared, address, _background: background })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An address of this host on which nothing listens, so that connections are refused.
    pub fn refused_address(ip: IpAddr) -> anyhow::Result<SocketAddr> {
        Ok(std::net::TcpListener::bind((ip, 0))?.local_addr()?)
    }

    /// Orders a behaviour for the next time this stage is reached. Several orders queue up.
    pub fn once(&self, stage: Stage, behaviour: Behaviour) {
        self.shared.state().once.entry(stage).or_default().push_back(behaviour);
    }

    /// Orders a behaviour until [`FakeMx::behave`].
    pub fn always(&self, stage: Stage, behaviour: Behaviour) {
        self.shared.state().always.insert(stage, behaviour);
    }

    /// Takes back all orders.
    pub fn behave(&self) {
        let mut state = self.shared.state();
        state.once.clear();
        state.always.clear();
    }

    /// Changes the script; sessions that begin later follow it. The certificate stays as it was at the start.
    pub fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.shared.script.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The messages so far, oldest first.
    pub fn messages(&self) -> Vec<Message> {
        self.shared.state().messages.clone()
    }

    /// How many connections came so far.
    pub fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// Every command line so far, of all connections, oldest first.
    pub fn commands(&self) -> Vec<String> {
        self.shared.state().commands.clone()
    }

    /// Waits until at least `count` messages came, and gives all.
    pub async fn wait_for(&self, count: usize, timeout: Duration) -> anyhow::Result<Vec<Message>> {
        self.wait_until(timeout, |mx| mx.messages().len() >= count).await?;
        Ok(self.messages())
    }

    /// Waits until at least `count` connections came.
    pub async fn wait_for_connections(
        &self,
        count: usize,
        timeout: Duration,
    ) -> anyhow::Result<()> {
        self.wait_until(timeout, |mx| mx.connections() >= count).await
    }

    /// Waits for a condition, which is looked at whenever something happened.
    pub async fn wait_until(
        &self,
        timeout: Duration,
        condition: impl Fn(&Self) -> bool,
    ) -> anyhow::Result<()> {
        let mut changed = self.shared.changed.subscribe();
        let waiting = async {
            while !condition(self) {
                // The sender lives as long as `self`.
                let _ = changed.changed().await;
            }
        };
        if tokio::time::timeout(timeout, waiting).await.is_err() {
            bail!(
                "the mail exchanger waited {timeout:?} in vain: {} connections, {} messages, commands {:#?}",
                self.connections(),
                self.messages().len(),
                self.commands()
            );
        }
        Ok(())
    }
}
