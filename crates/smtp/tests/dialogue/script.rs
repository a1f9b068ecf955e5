//! Dialogues in files: what a client says and how the server must answer, over a real connection.
//!
//! A script in `scripts/` is a list of lines:
//!
//! ```text
//! # a comment; the first one names the rule
//! @port25            which listener (the default), or: @submission (before STARTTLS), @loggedin (ann, over TLS)
//! @errors 3          the listener's rules: errors, recipients, messages, size
//! > EHLO c.test      sends the line with CRLF; \r \n \t \0 \\ and \xNN are octets
//! >> a\r\nb          sends octets without a line end
//! >* 100 x           sends octets so many times, without a line end
//! < 250-mx.a.test    the next line of the answer begins so
//! <= 100 250         so many lines, each of which begins so
//! <* 250             the rest of the answer, all of whose lines begin so
//! <~ CHUNKING        the rest of the answer has a line that contains this; it is read to its end
//! <! AUTH            the rest of the answer has no line that contains this; it is read to its end
//! + starttls         the handshake (after `< 220`)
//! + auth             AUTH PLAIN as ann, with the reply 235
//! -                  the client is gone, and the server has noticed
//! x                  the server closes the connection without another octet
//! = ann 1            ann's INBOX comes to have so many messages
//! ~ ann Subject: x   the newest of them contains this (escapes as above)
//! !~ ann Subject: x  it does not
//! = queue 1          so many messages are in the queue for elsewhere
//! ```
//!
//! Every reply has an enhanced code of the class of its code (RFC 2034 §4), except the greeting, the answers to EHLO and
//! HELO, and those that ask for more (3xx).
//!
//! Everything sent until the next expectation goes out at once, so that consecutive `>` lines are a pipelined batch.

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, BufReader};

use letterlock_smtp_wire::EnhancedCode;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A script that is being played.
struct Player<'a> {
    world: &'a World,
    ann: &'a Owner,
    wire: Option<BufReader<Box<dyn Wire>>>,
    /// Octets to send before the next expectation.
    pending: Vec<u8>,
    said: Vec<String>,
}

/// Plays one script; panics with the transcript where the server does not keep to it.
pub(crate) async fn play(name: &str, script: &str) {
    let mut world = World::new().await;
    let ann = world.add("ann@a.test").await;
    world.add("bob@a.test").await;
    let lines: Vec<&str> =
        script.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    let (settings, steps): (Vec<&str>, Vec<&str>) = lines.iter().partition(|l| l.starts_with('@'));
    let mut listener = "port25";
    for setting in settings {
        match setting.trim_start_matches('@').split_once(' ') {
            Some((rule, number)) => world.bend(rule, number.parse().unwrap()),
            None => listener = &setting[1..],
        }
    }
    let address = match listener {
        "port25" => world.port_25().await,
        _ => world.port_587().await,
    };
    let socket = TcpStream::connect(address).await.unwrap();
    let wire: Box<dyn Wire> = Box::new(socket);
    let wire = Some(BufReader::new(wire));
    let mut player =
        Player { world: &world, ann: &ann, wire, pending: Vec::new(), said: Vec::new() };
    let opening: &[&str] = match listener {
        "loggedin" => &[
            "< 220",
            "> EHLO c.test",
            "<* 250",
            "> STARTTLS",
            "< 220",
            "+ starttls",
            "> EHLO c.test",
            "<* 250",
            "+ auth",
        ],
        _ => &["< 220 mx.a.test ESMTP Letterlock"],
    };
    for step in opening.iter().chain(&steps) {
        player.said.push((*step).to_owned());
        let done = tokio::time::timeout(PATIENCE, player.step(step)).await;
        let problem = match done {
            Ok(Ok(())) => continue,
            Ok(Err(problem)) => problem,
            Err(_) => "nothing happens".to_owned(),
        };
        panic!("{name}: {problem}, in\n{}", player.said.join("\n"));
    }
}

impl Player<'_> {
    async fn step(&mut self, step: &str) -> Result<(), String> {
        let (kind, rest) = step.split_once(' ').unwrap_or((step, ""));
        match kind {
            ">" => {
                self.pending.extend(octets(rest));
                self.pending.extend(b"\r\n");
                return Ok(());
            }
            ">>" => {
                self.pending.extend(octets(rest));
                return Ok(());
            }
            ">*" => {
                let (count, text) = rest.split_once(' ').expect("a count and octets");
                self.pending.extend(octets(text).repeat(count.parse().unwrap()));
                return Ok(());
            }
            _ => {}
        }
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            let wire = self.wire.as_mut().unwrap();
            // A server that has closed already may refuse the rest.
            let _ = wire.write_all(&pending).await;
            let _ = wire.flush().await;
        }
        match kind {
            "<" => check(self.line().await?.starts_with(rest), rest),
            "<=" => {
                let (count, rest) = rest.split_once(' ').expect("a count and a text");
                for _ in 0..count.parse().unwrap() {
                    check(self.line().await?.starts_with(rest), rest)?;
                }
                Ok(())
            }
            "<*" => check(self.answer().await?.iter().all(|l| l.starts_with(rest)), rest),
            "<~" => check(self.answer().await?.iter().any(|l| l.contains(rest)), rest),
            "<!" => check(!self.answer().await?.iter().any(|l| l.contains(rest)), rest),
            "+" if rest == "starttls" => self.start_tls().await,
            "+" => {
                let token = STANDARD.encode(format!("\0ann@a.test\0{}", self.ann.token));
                let wire = self.wire.as_mut().unwrap();
                wire.write_all(format!("AUTH PLAIN {token}\r\n").as_bytes()).await.unwrap();
                check(self.line().await?.starts_with("235 2.7.0"), "235 2.7.0")
            }
            "x" => {
                let mut rest = Vec::new();
                let _ = self.wire.as_mut().unwrap().read_to_end(&mut rest).await;
                check(rest.is_empty(), &format!("the end, not {}", String::from_utf8_lossy(&rest)))
            }
            "=" => self.count(rest).await,
            "-" => {
                drop(self.wire.take());
                self.world.ended(1).await;
                Ok(())
            }
            "~" | "!~" => {
                let text = rest.split_once(' ').expect("whose, and what").1;
                let text = String::from_utf8(octets(text)).unwrap();
                let newest = messages(self.ann).await.pop().unwrap_or_default();
                check(
                    newest.contains(&text) == (kind == "~"),
                    &format!("{kind} {text:?} in {newest}"),
                )
            }
            other => panic!("no step of a script: {other}"),
        }
    }

    async fn count(&self, what: &str) -> Result<(), String> {
        let (whose, count) = what.split_once(' ').expect("whose, and how many");
        let count: u64 = count.parse().unwrap();
        let queue = &self.world.queue;
        until(what, async || match whose {
            "ann" => messages(self.ann).await.len() as u64 == count,
            _ => queue.counts().await.unwrap().due == count,
        })
        .await;
        Ok(())
    }

    async fn line(&mut self) -> Result<String, String> {
        let mut line = Vec::new();
        let read = self.wire.as_mut().unwrap().read_until(b'\n', &mut line).await;
        let line = String::from_utf8_lossy(&line).into_owned();
        self.said.push(format!("      {}", line.trim_end()));
        match read {
            Ok(_) if line.ends_with("\r\n") => {
                check(has_its_class(&line), "an enhanced code of the same class")?;
                Ok(line.trim_end().to_owned())
            }
            other => Err(format!("no line but {line:?} {other:?}")),
        }
    }

    /// The lines of an answer until its last.
    async fn answer(&mut self) -> Result<Vec<String>, String> {
        let mut lines = Vec::new();
        loop {
            lines.push(self.line().await?);
            if lines.last().is_some_and(|line| line.as_bytes().get(3) != Some(&b'-')) {
                return Ok(lines);
            }
        }
    }

    async fn start_tls(&mut self) -> Result<(), String> {
        let reader = self.wire.take().unwrap();
        if !reader.buffer().is_empty() {
            return Err("the server said more before TLS".to_owned());
        }
        // As this server speaks to others: with the post-quantum hybrid first.
        let (config, _) = letterlock_net::ClientTls::load(None).unwrap().opportunistic();
        let connector = tokio_rustls::TlsConnector::from(config);
        let name = "mx.a.test".try_into().unwrap();
        let secured = connector.connect(name, reader.into_inner()).await;
        let wire: Box<dyn Wire> = Box::new(secured.map_err(|error| error.to_string())?);
        self.wire = Some(BufReader::new(wire));
        Ok(())
    }
}

/// Whether a line of a reply has an enhanced code that agrees with its code, or is one that has none.
fn has_its_class(line: &str) -> bool {
    let (code, text) = (line.get(..3).unwrap_or_default(), line.get(4..).unwrap_or_default());
    let enhanced = text.split_whitespace().next().and_then(EnhancedCode::parse);
    match (code, enhanced) {
        (_, Some(enhanced)) => code.starts_with(&enhanced.class.to_string()),
        // EHLO's lines, HELO's name and the greeting: 250 and 220 are also said with a code.
        ("220" | "250" | "334" | "354", None) => !text.starts_with("OK"),
        (_, None) => false,
    }
}

fn check(holds: bool, expected: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("expected {expected}")) }
}

/// A line of a script with its escapes resolved.
fn octets(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some((plain, behind)) = rest.split_once('\\') {
        octets.extend(plain.as_bytes());
        let (octet, length) = match behind.as_bytes() {
            [b'r', ..] => (b'\r', 1),
            [b'n', ..] => (b'\n', 1),
            [b't', ..] => (b'\t', 1),
            [b'0', ..] => (0, 1),
            [b'x', ..] => (u8::from_str_radix(&behind[1..3], 16).unwrap(), 3),
            [b'\\', ..] => (b'\\', 1),
            _ => panic!("no escape: \\{behind}"),
        };
        octets.push(octet);
        rest = &behind[length..];
    }
    octets.extend(rest.as_bytes());
    octets
}

/// A test for each script, and one that none is forgotten.
macro_rules! scripts {
    ($($name:ident)+) => {
        $(#[tokio::test]
        async fn $name() {
            play(stringify!($name), include_str!(concat!("scripts/", stringify!($name), ".smtp"))).await;
        })+

        #[test]
        fn every_script_is_played() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dialogue/scripts");
            let mut files: Vec<String> = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            files.sort();
            let mut played = vec![$(concat!(stringify!($name), ".smtp")),+];
            played.sort();
            assert_eq!(files, played);
        }
    };
}

scripts! {
    a_hundred_recipients
    address_literals
    address_syntax
    auth_parameter
    bare_cr_in_data
    bare_newlines_in_bdat
    bare_newlines_in_commands
    bare_newlines_in_data
    bdat_across_line_ends
    bdat_last_empty
    bdat_without_transaction
    binarymime
    command_order
    cut_off_in_data
    data_transparency
    data_without_recipients
    disabled_commands
    domains_on_submission
    dsn_parameters
    dsn_parameters_refused
    ehlo_and_helo
    ehlo_resets
    eight_bit
    expn_vrfy_help_noop
    forged_results
    from_on_submission
    futurerelease
    http
    large_content
    line_lengths
    local_part_lengths
    loops
    mail_syntax
    malformed_mime
    many_errors
    messages_per_session
    nothing_is_mended
    nul_octets
    null_sender
    path_lengths
    pipelining
    postmaster
    proxy_header
    quit
    quit_in_transaction
    rcpt_syntax
    recipients_limit
    refusals_and_the_rest
    relaying_denied
    requiretls
    rset
    same_message_twice
    sender_field
    size
    smtputf8
    source_routes
    starttls
    starttls_injection
    submission_needs_login
    text_lines
    tls_received
    trace_fields
    transactions
    unknown_commands
    verbs_and_case
}
