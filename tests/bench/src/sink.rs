//! Where outbound mail ends: a server that takes everything at once and counts it, our own or Postfix's `smtp-sink`.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;

/// Whose sink it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The load program's own.
    Own,
    /// Postfix's, one process for each address.
    SmtpSink,
}

/// Recipients whose domain begins so are put off (451), by our own sink.
const BUSY: &str = "@busy";

/// The listening sink; dropping it closes all of it.
pub(crate) struct Sink {
    port: u16,
    taken: Vec<Arc<AtomicU64>>,
    put_off: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
    _children: Vec<Child>,
}

/// The address of a destination, counted from 1.
pub(crate) fn address(destination: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, destination)
}

impl Sink {
    /// Listens at so many addresses on one port, this one or a free one.
    pub(crate) async fn start(
        kind: Kind,
        destinations: u8,
        port: Option<u16>,
    ) -> anyhow::Result<Self> {
        let first = TcpListener::bind((address(1), port.unwrap_or(0))).await.context("the sink")?;
        let port = first.local_addr()?.port();
        let mut sink = Self {
            port,
            taken: Vec::new(),
            put_off: Arc::default(),
            _tasks: JoinSet::new(),
            _children: Vec::new(),
        };
        let mut first = Some(first);
        for destination in 1..=destinations {
            let taken = Arc::new(AtomicU64::new(0));
            let place = SocketAddr::from((address(destination), port));
            match kind {
                Kind::Own => {
                    let listener = match first.take() {
                        Some(first) => first,
                        None => TcpListener::bind(place).await.context("the sink")?,
                    };
                    let (taken, put_off) = (Arc::clone(&taken), Arc::clone(&sink.put_off));
                    sink._tasks.spawn(listen(listener, taken, put_off));
                }
                Kind::SmtpSink => {
                    drop(first.take());
                    let (child, output) = smtp_sink(place).await?;
                    sink._tasks.spawn(read_counters(output, Arc::clone(&taken)));
                    sink._children.push(child);
                }
            }
            sink.taken.push(taken);
        }
        Ok(sink)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Messages that it has taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.iter().map(|taken| taken.load(Ordering::Relaxed)).sum()
    }

    /// Recipients that it has put off.
    pub(crate) fn put_off(&self) -> u64 {
        self.put_off.load(Ordering::Relaxed)
    }

    /// Waits until it has taken so many messages in all.
    pub(crate) async fn until(&self, wanted: u64) -> anyhow::Result<()> {
        let mut last = (self.taken(), Instant::now());
        while self.taken() < wanted {
            tokio::time::sleep(Duration::from_millis(2)).await;
            if self.taken() != last.0 {
                last = (self.taken(), Instant::now());
            }
            if last.1.elapsed() > Duration::from_secs(60) {
                bail!("the sink has {} of {wanted} messages, and nothing comes", self.taken());
            }
        }
        Ok(())
    }
}

async fn listen(listener: TcpListener, taken: Arc<AtomicU64>, put_off: Arc<AtomicU64>) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                let session = Session::new(Arc::clone(&taken), Arc::clone(&put_off));
                sessions.spawn(session.run(stream));
            }
            Some(_) = sessions.join_next() => {}
        }
    }
}

/// One connection, pipelining and all.
struct Session {
    input: Vec<u8>,
    in_data: bool,
    /// Somebody was taken in this transaction.
    recipients: bool,
    quits: bool,
    taken: Arc<AtomicU64>,
    put_off: Arc<AtomicU64>,
}

impl Session {
    fn new(taken: Arc<AtomicU64>, put_off: Arc<AtomicU64>) -> Self {
        let (input, in_data, recipients, quits) = (Vec::new(), false, false, false);
        Self { input, in_data, recipients, quits, taken, put_off }
    }

    async fn run(mut self, mut stream: TcpStream) {
        // Whoever goes away without a word has its reasons.
        let _ = self.serve(&mut stream).await;
    }

    async fn serve(&mut self, stream: &mut TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        stream.write_all(b"220 sink.test ESMTP\r\n").await?;
        let mut replies = Vec::new();
        while !self.quits {
            self.input.reserve(64 * 1024);
            if stream.read_buf(&mut self.input).await? == 0 {
                return Ok(());
            }
            self.answer(&mut replies);
            stream.write_all(&replies).await?;
            replies.clear();
        }
        Ok(())
    }

    /// Answers all that came.
    fn answer(&mut self, replies: &mut Vec<u8>) {
        const END: &[u8] = b"\r\n.\r\n";
        loop {
            if self.in_data {
                let Some(end) = memmem::find(&self.input, END) else {
                    // The end may have begun.
                    let keep = self.input.len().min(END.len() - 1);
                    self.input.drain(..self.input.len() - keep);
                    return;
                };
                self.input.drain(..end + END.len());
                (self.in_data, self.recipients) = (false, false);
                self.taken.fetch_add(1, Ordering::Relaxed);
                replies.extend_from_slice(b"250 2.0.0 Ok\r\n");
                continue;
            }
            let Some(end) = memchr::memchr(b'\n', &self.input) else { return };
            let line = self.input[..end].to_ascii_lowercase();
            // The CRLF of DATA is the first half of the end of an empty message.
            let begins = line.starts_with(b"data") && self.recipients;
            self.input.drain(..if begins { end - 1 } else { end + 1 });
            self.in_data = begins;
            replies.extend_from_slice(self.command(&line));
        }
    }

    fn command(&mut self, line: &[u8]) -> &'static [u8] {
        match line.get(..4).unwrap_or_default() {
            b"ehlo" => {
                b"250-sink.test\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-8BITMIME\r\n250-DSN\r\n\
                  250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n"
            }
            b"rcpt" if memmem::find(line, BUSY.as_bytes()).is_some() => {
                self.put_off.fetch_add(1, Ordering::Relaxed);
                b"451 4.3.0 Later\r\n"
            }
            b"rcpt" => {
                self.recipients = true;
                b"250 2.1.5 Ok\r\n"
            }
            b"data" if self.recipients => b"354 Go on\r\n",
            b"data" => b"554 5.5.1 No valid recipients\r\n",
            b"quit" => {
                self.quits = true;
                b"221 2.0.0 Bye\r\n"
            }
            b"rset" => {
                self.recipients = false;
                b"250 2.0.0 Ok\r\n"
            }
            b"helo" | b"mail" | b"noop" => b"250 2.0.0 Ok\r\n",
            _ => b"502 5.5.2 Not here\r\n",
        }
    }
}

/// Starts `smtp-sink` and waits until it listens.
async fn smtp_sink(place: SocketAddr) -> anyhow::Result<(Child, ChildStdout)> {
    let mut child = Command::new("smtp-sink")
        .args(["-c", "-u", "nobody", "-m", "1000", &place.to_string(), "1000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("smtp-sink, of Postfix")?;
    let output = child.stdout.take().context("its counters")?;
    for _ in 0..500 {
        if TcpStream::connect(place).await.is_ok() {
            return Ok((child, output));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("smtp-sink does not listen at {place}")
}

/// Reads `sess=1 quit=0 mesg=17`, which it prints over and over.
async fn read_counters(mut output: ChildStdout, taken: Arc<AtomicU64>) {
    let mut text = Vec::new();
    while matches!(output.read_buf(&mut text).await, Ok(read) if read > 0) {
        let Some(end) = memchr::memrchr(b'\r', &text) else { continue };
        if let Some(count) = counted(&text[..end]) {
            taken.store(count, Ordering::Relaxed);
        }
        text.drain(..=end);
    }
}

fn counted(text: &[u8]) -> Option<u64> {
    let from = memmem::rfind(text, b"mesg=")? + "mesg=".len();
    let digits: Vec<u8> = text[from..].iter().copied().take_while(u8::is_ascii_digit).collect();
    String::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_they_come() {
        let input = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@busy1.test>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n\
                      text\r\n..\r\n.\r\nRSET\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n.\r\nDATA\r\nQUIT\r\n";
        for piece in [1, 7, input.len()] {
            let mut session = Session::new(Arc::default(), Arc::default());
            let mut replies = Vec::new();
            for bytes in input.chunks(piece) {
                session.input.extend_from_slice(bytes);
                session.answer(&mut replies);
            }
            assert_eq!(session.taken.load(Ordering::Relaxed), 2, "{piece}");
            assert_eq!(session.put_off.load(Ordering::Relaxed), 1);
            assert!(session.quits && replies.ends_with(b"Bye\r\n"));
            let text = String::from_utf8(replies).unwrap();
            assert_eq!(text.matches("\r\n354 ").count(), 2, "{text}");
            assert_eq!(text.matches("\r\n554 ").count(), 1, "{text}");
        }
    }

    #[test]
    fn counters_are_read() {
        assert_eq!(counted(b"sess=1 quit=0 mesg=3\rsess=1 quit=0 mesg=41"), Some(41));
        assert_eq!(counted(b"sess=1"), None);
    }
}
