//! The exchanger's side of a session.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use super::{Behaviour, Message, Recipient, Shared, Stage};

/// Plain or TLS.
trait Both: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Both for T {}

/// Why a session ends.
struct End;

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

pub(super) async fn listen(
    listener: std::net::TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    shared: Arc<Shared>,
) {
    let listener =
        tokio::net::TcpListener::from_std(listener).expect("a bound listener in a runtime");
    loop {
        let Ok((stream, peer)) = listener.accept().await else { continue };
        shared.state().connections += 1;
        shared.tick();
        let session = Session {
            stream: Box::new(stream),
            buffer: Vec::new(),
            tls: tls.clone(),
            encrypted: false,
            helo: String::new(),
            transaction: None,
            logged_in: false,
            peer,
            shared: Arc::clone(&shared),
        };
        tokio::spawn(session.run());
    }
}

#[derive(Default)]
struct Transaction {
    from: String,
    parameters: String,
    recipients: Vec<Recipient>,
    chunks: Vec<u8>,
}

struct Session {
    stream: Box<dyn Both>,
    buffer: Vec<u8>,
    tls: Option<Arc<rustls::ServerConfig>>,
    encrypted: bool,
    helo: String,
    transaction: Option<Transaction>,
    logged_in: bool,
    peer: SocketAddr,
    shared: Arc<Shared>,
}

impl Session {
    async fn run(mut self) {
        // However a session ends, the test learns of it by what was collected.
        let _ = self.dialogue().await;
        self.shared.tick();
    }

    async fn dialogue(&mut self) -> Result<(), End> {
        let hostname = self.shared.script().hostname;
        if let (true, Some(config)) = (self.shared.script().implicit_tls, self.tls.clone()) {
            self.secure(config).await?;
        }
        self.say(Stage::Greeting, &format!("220 {hostname} ESMTP")).await?;
        loop {
            let line = self.line().await?;
            let line = String::from_utf8_lossy(&line).into_owned();
            self.shared.state().commands.push(line.clone());
            self.shared.tick();
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => self.ehlo(rest).await?,
                "HELO" => {
                    self.greet(rest);
                    self.say(Stage::Helo, &format!("250 {hostname}")).await?;
                }
                "STARTTLS" => self.start_tls().await?,
                "MAIL" => self.mail(rest).await?,
                "RCPT" => self.rcpt(rest).await?,
                "DATA" => self.data().await?,
                "BDAT" => self.bdat(rest).await?,
                "RSET" => {
                    self.transaction = None;
                    self.reply("250 2.0.0 forgotten").await?;
                }
                "AUTH" => self.auth(rest).await?,
                "NOOP" => self.reply("250 2.0.0 fine").await?,
                "QUIT" => {
                    self.say(Stage::Quit, "221 2.0.0 bye").await?;
                    return Ok(());
                }
                _ => self.reply("500 5.5.1 what?").await?,
            }
        }
    }

    fn greet(&mut self, name: &str) {
        self.helo = name.trim().to_owned();
        self.transaction = None;
    }

    async fn ehlo(&mut self, name: &str) -> Result<(), End> {
        self.greet(name);
        let script = self.shared.script();
        let mut lines = vec![script.hostname];
        lines.extend(script.keywords);
        if self.tls.is_some() && !self.encrypted {
            lines.push("STARTTLS".to_owned());
        }
        let last = lines.len() - 1;
        let text: Vec<String> = lines
            .iter()
            .enumerate()
            .map(|(index, line)| format!("250{}{line}", if index == last { ' ' } else { '-' }))
            .collect();
        self.say(Stage::Ehlo, &text.join("\n")).await.map(drop)
    }

    async fn start_tls(&mut self) -> Result<(), End> {
        let Some(config) = self.tls.clone().filter(|_| !self.encrypted) else {
            return self.reply("502 5.5.1 no TLS here").await;
        };
        if !self.say(Stage::StartTls, "220 2.0.0 go on").await? {
            return Ok(());
        }
        self.secure(config).await
    }

    async fn secure(&mut self, config: Arc<rustls::ServerConfig>) -> Result<(), End> {
        self.buffer.clear();
        let (unused, _) = tokio::io::duplex(1);
        let plain = std::mem::replace(&mut self.stream, Box::new(unused));
        self.stream = Box::new(TlsAcceptor::from(config).accept(plain).await?);
        self.encrypted = true;
        self.greet("");
        Ok(())
    }

    /// PLAIN with its response on the line (RFC 4954 §4), and LOGIN.
    async fn auth(&mut self, rest: &str) -> Result<(), End> {
        let Some((user, password)) = self.shared.script().login else {
            return self.reply("502 5.5.1 no logins here").await;
        };
        let told = match rest.split_once(' ') {
            Some(("PLAIN", initial)) => {
                let plain = format!("\0{user}\0{password}");
                initial == STANDARD.encode(plain)
            }
            None if rest == "LOGIN" => {
                let mut fits = true;
                for (prompt, wanted) in [("Username:", &user), ("Password:", &password)] {
                    self.reply(&format!("334 {}", STANDARD.encode(prompt))).await?;
                    fits &= self.line().await? == STANDARD.encode(wanted).into_bytes();
                }
                fits
            }
            _ => return self.reply("504 5.5.4 not this one").await,
        };
        self.logged_in = told;
        self.reply(if told { "235 2.7.0 welcome" } else { "535 5.7.8 no" }).await
    }

    async fn mail(&mut self, rest: &str) -> Result<(), End> {
        if self.shared.script().login.is_some() && !self.logged_in {
            return self.reply("530 5.7.0 log in first").await;
        }
        if self.transaction.is_some() {
            return self.reply("503 5.5.1 one at a time").await;
        }
        let Some((from, parameters)) = path(rest, "FROM:") else {
            return self.reply("501 5.5.4 no path").await;
        };
        if self.say(Stage::Mail, "250 2.1.0 fine").await? {
            self.transaction = Some(Transaction { from, parameters, ..Transaction::default() });
        }
        Ok(())
    }

    async fn rcpt(&mut self, rest: &str) -> Result<(), End> {
        if self.transaction.is_none() {
            return self.reply("503 5.5.1 MAIL first").await;
        }
        let Some((address, parameters)) = path(rest, "TO:") else {
            return self.reply("501 5.5.4 no path").await;
        };
        let own = self.shared.script().recipients.get(&address.to_lowercase()).cloned();
        let answer = own.unwrap_or_else(|| "250 2.1.5 fine".to_owned());
        let taken = answer.starts_with('2');
        if self.say(Stage::Rcpt, &answer).await?
            && taken
            && let Some(transaction) = &mut self.transaction
        {
            transaction.recipients.push(Recipient { address, parameters });
        }
        Ok(())
    }

    async fn data(&mut self) -> Result<(), End> {
        if !self.has_recipients() {
            return self.reply("503 5.5.1 no recipients").await;
        }
        if !self.say(Stage::Data, "354 go on").await? {
            return Ok(());
        }
        let mut bytes = Vec::new();
        loop {
            let line = self.raw_line().await?;
            match line.strip_prefix(b".") {
                Some(b"\r\n") => break,
                Some(rest) => bytes.extend_from_slice(rest),
                None => bytes.extend_from_slice(&line),
            }
        }
        self.finish(bytes).await
    }

    /// RFC 3030: the octets follow the command at once.
    async fn bdat(&mut self, rest: &str) -> Result<(), End> {
        let mut words = rest.split_ascii_whitespace();
        let Some(size) = words.next().and_then(|size| size.parse::<usize>().ok()) else {
            return self.reply("501 5.5.4 how many?").await;
        };
        let last = words.next().is_some_and(|word| word.eq_ignore_ascii_case("LAST"));
        while self.buffer.len() < size {
            self.more().await?;
        }
        let chunk: Vec<u8> = self.buffer.drain(..size).collect();
        if !self.has_recipients() {
            return self.reply("503 5.5.1 no recipients").await;
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.chunks.extend_from_slice(&chunk);
        }
        if !last {
            return self.reply("250 2.0.0 more").await;
        }
        let bytes = self.transaction.as_mut().map(|held| std::mem::take(&mut held.chunks));
        self.finish(bytes.unwrap_or_default()).await
    }

    fn has_recipients(&self) -> bool {
        self.transaction.as_ref().is_some_and(|held| !held.recipients.is_empty())
    }

    async fn finish(&mut self, bytes: Vec<u8>) -> Result<(), End> {
        let transaction = self.transaction.take().unwrap_or_default();
        let message = Message {
            peer: self.peer,
            helo: self.helo.clone(),
            tls: self.encrypted,
            from: transaction.from,
            parameters: transaction.parameters,
            recipients: transaction.recipients,
            bytes,
        };
        match self.shared.behaviour(Stage::EndOfData) {
            Some(Behaviour::KeepThenClose) => {
                self.keep(message);
                Err(End)
            }
            Some(other) => self.misbehave(other).await,
            None => {
                self.keep(message);
                self.reply("250 2.0.0 taken").await
            }
        }
    }

    fn keep(&self, message: Message) {
        self.shared.state().messages.push(message);
        self.shared.tick();
    }

    /// Says what is usual at a stage, or does what was ordered; whether it was the usual.
    async fn say(&mut self, stage: Stage, usual: &str) -> Result<bool, End> {
        match self.shared.behaviour(stage) {
            Some(behaviour) => self.misbehave(behaviour).await.map(|()| false),
            None => self.reply(usual).await.map(|()| true),
        }
    }

    async fn misbehave(&mut self, behaviour: Behaviour) -> Result<(), End> {
        match behaviour {
            Behaviour::Reply(text) => self.reply(&text).await,
            Behaviour::ReplyThenClose(text) => {
                self.reply(&text).await?;
                Err(End)
            }
            Behaviour::Close | Behaviour::KeepThenClose => Err(End),
            Behaviour::Hang => {
                // Until the other side gives up.
                loop {
                    self.more().await?;
                    self.buffer.clear();
                }
            }
        }
    }

    async fn reply(&mut self, text: &str) -> Result<(), End> {
        let wire = format!("{}\r\n", text.replace('\n', "\r\n"));
        self.stream.write_all(wire.as_bytes()).await?;
        self.stream.flush().await?;
        Ok(())
    }

    async fn line(&mut self) -> Result<Vec<u8>, End> {
        let mut line = self.raw_line().await?;
        while matches!(line.last(), Some(b'\r' | b'\n')) {
            line.pop();
        }
        Ok(line)
    }

    async fn raw_line(&mut self) -> Result<Vec<u8>, End> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|b| *b == b'\n') {
                return Ok(self.buffer.drain(..=searched + end).collect());
            }
            searched = self.buffer.len();
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), End> {
        let mut chunk = [0_u8; 16 * 1024];
        match self.stream.read(&mut chunk).await? {
            0 => Err(End),
            count => {
                self.buffer.extend_from_slice(&chunk[..count]);
                Ok(())
            }
        }
    }
}

/// `FROM:<path> parameters`, the path without its brackets. A quoted local part may hold `>`.
fn path(text: &str, keyword: &str) -> Option<(String, String)> {
    let head = text.get(..keyword.len())?;
    if !head.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let inner = text[keyword.len()..].trim_start().strip_prefix('<')?;
    let mut quoted = false;
    let mut escaped = false;
    for (index, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => {
                return Some((inner[..index].to_owned(), inner[index + 1..].trim().to_owned()));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn paths() {
        let of = |text: &str| path(text, "TO:").map(|(address, rest)| format!("{address}|{rest}"));
        assert_eq!(of("TO:<a@b>").as_deref(), Some("a@b|"));
        assert_eq!(of("to: <> X=1 Y").as_deref(), Some("|X=1 Y"));
        assert_eq!(of("TO:<\"a>\\\"\"@b> Z").as_deref(), Some("\"a>\\\"\"@b|Z"));
        assert_eq!(of("TO:a@b"), None);
        assert_eq!(of("T"), None);
    }
}
