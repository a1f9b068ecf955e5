//! From a line to a [`Command`].

use letterlock_address::{AddressError, ForwardPath, ReversePath};

use super::{ClientName, Command, CommandError, InitialResponse, Mail, Rcpt, params, path};
use crate::ehlo::Extensions;

const EHLO: &str = "EHLO hostname";
const HELO: &str = "HELO hostname";
const MAIL: &str = "MAIL FROM:<address> [parameters]";
const RCPT: &str = "RCPT TO:<address> [parameters]";
const BDAT: &str = "BDAT size [LAST]";
const AUTH: &str = "AUTH mechanism [initial-response]";

impl Command {
    /// Reads a line without its CRLF. Verbs are taken in any case, and white space around arguments is tolerated,
    /// also between `FROM:` and the path, as real clients send it. MAIL's and RCPT's parameters must be among
    /// `offered`.
    ///
    /// # Errors
    /// [`CommandError`], which makes its own reply.
    pub fn parse(line: &[u8], offered: Extensions) -> Result<Self, CommandError> {
        let line = trim(line);
        let end = line.iter().position(|b| is_space(*b)).unwrap_or(line.len());
        let (verb, rest) = line.split_at(end);
        let rest = trim(rest);
        let Ok(verb) = std::str::from_utf8(verb) else {
            return Err(CommandError::NotUtf8);
        };
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => ClientName::new(rest).map(Self::Ehlo).ok_or(CommandError::Syntax(EHLO)),
            "HELO" => ClientName::new(rest).map(Self::Helo).ok_or(CommandError::Syntax(HELO)),
            "STARTTLS" => alone(Self::StartTls, "STARTTLS", rest),
            "DATA" => alone(Self::Data, "DATA", rest),
            "RSET" => alone(Self::Rset, "RSET", rest),
            "QUIT" => alone(Self::Quit, "QUIT", rest),
            "NOOP" => Ok(Self::Noop),
            "MAIL" => mail(text(rest)?, offered).map(Self::Mail),
            "RCPT" => rcpt(text(rest)?, offered).map(Self::Rcpt),
            "BDAT" => bdat(text(rest)?),
            "AUTH" => auth(text(rest)?),
            "VRFY" => argument(rest, "VRFY address").map(Self::Vrfy),
            "EXPN" => argument(rest, "EXPN list").map(Self::Expn),
            "HELP" => Ok(Self::Help(text(rest)?.to_owned())),
            "GET" | "POST" | "PUT" | "HEAD" | "CONNECT" | "OPTIONS" | "DELETE" | "PATCH"
            | "TRACE" | "PRI" => Ok(Self::Http),
            "PROXY" => Ok(Self::Proxy),
            "TURN" | "ETRN" | "ATRN" | "SEND" | "SOML" | "SAML" | "LHLO" | "XCLIENT"
            | "XFORWARD" | "BURL" => Err(CommandError::NotImplemented),
            _ => Err(CommandError::Unknown),
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_space(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_space(*last)
    {
        bytes = rest;
    }
    bytes
}

fn text(bytes: &[u8]) -> Result<&str, CommandError> {
    std::str::from_utf8(bytes).map_err(|_| CommandError::NotUtf8)
}

fn alone(command: Command, verb: &'static str, rest: &[u8]) -> Result<Command, CommandError> {
    if rest.is_empty() { Ok(command) } else { Err(CommandError::NoArgument(verb)) }
}

fn argument(rest: &[u8], syntax: &'static str) -> Result<String, CommandError> {
    match text(rest)? {
        "" => Err(CommandError::Syntax(syntax)),
        argument => Ok(argument.to_owned()),
    }
}

/// What stands behind `FROM:` or `TO:`.
fn behind<'a>(rest: &'a str, keyword: &str, syntax: &'static str) -> Result<&'a str, CommandError> {
    match rest.split_at_checked(keyword.len()) {
        Some((word, path)) if word.eq_ignore_ascii_case(keyword) => {
            Ok(path.trim_start_matches([' ', '\t']))
        }
        _ => Err(CommandError::Syntax(syntax)),
    }
}

fn mail(rest: &str, offered: Extensions) -> Result<Mail, CommandError> {
    let rest = behind(rest, "FROM:", MAIL)?;
    let (path, rest) =
        path::split(rest).ok_or(CommandError::Syntax(MAIL))?.map_err(CommandError::Sender)?;
    let params = params::mail(rest, offered)?;
    if !path.is_ascii() && !params.smtputf8 {
        return Err(CommandError::NonAscii);
    }
    let path = path.parse::<ReversePath>().map_err(CommandError::Sender)?;
    Ok(Mail { path, params })
}

fn rcpt(rest: &str, offered: Extensions) -> Result<Rcpt, CommandError> {
    let rest = behind(rest, "TO:", RCPT)?;
    let (path, rest) =
        path::split(rest).ok_or(CommandError::Syntax(RCPT))?.map_err(CommandError::Recipient)?;
    let non_ascii = !path.is_ascii();
    if non_ascii && !offered.contains(Extensions::SMTPUTF8) {
        return Err(CommandError::NonAscii);
    }
    if path.is_empty() {
        return Err(CommandError::Recipient(AddressError::LocalPartEmpty));
    }
    let path = path.parse::<ForwardPath>().map_err(CommandError::Recipient)?;
    Ok(Rcpt { path, params: params::rcpt(rest, offered)?, non_ascii })
}

fn bdat(rest: &str) -> Result<Command, CommandError> {
    let mut words = rest.split([' ', '\t']).filter(|word| !word.is_empty());
    let size = words.next().filter(|word| word.bytes().all(|b| b.is_ascii_digit()));
    // A size beyond 64 bits cannot be read past, so it is a syntax error and not "too big".
    let size = size.and_then(|word| word.parse().ok()).ok_or(CommandError::Syntax(BDAT))?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return Err(CommandError::Syntax(BDAT)),
    };
    match words.next() {
        None => Ok(Command::Bdat { size, last }),
        Some(_) => Err(CommandError::Syntax(BDAT)),
    }
}

fn auth(rest: &str) -> Result<Command, CommandError> {
    let mut words = rest.split([' ', '\t']).filter(|word| !word.is_empty());
    let mechanism = words.next().unwrap_or_default();
    // RFC 4422 §3.1: 1 to 20 letters, digits, hyphens and underscores.
    let fits = mechanism.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if !fits || !matches!(mechanism.len(), 1..=20) {
        return Err(CommandError::Syntax(AUTH));
    }
    let initial = match words.next() {
        None => None,
        Some(word) => Some(InitialResponse::new(word).ok_or(CommandError::Syntax(AUTH))?),
    };
    match words.next() {
        None => Ok(Command::Auth { mechanism: mechanism.to_ascii_uppercase(), initial }),
        Some(_) => Err(CommandError::Syntax(AUTH)),
    }
}
