//! ESMTP parameters of MAIL and RCPT (RFC 5321 §4.1.2 `Mail-parameters`).

use std::fmt;
use std::str::FromStr;

use letterlock_address::Mailbox;

use super::CommandError;
use crate::ehlo::Extensions;
use crate::xtext;

/// Longest ENVID on the line (RFC 3461 §4.4).
const ENVID_MAX: usize = 100;
/// Longest ORCPT on the line (RFC 3461 §4.2).
const ORCPT_MAX: usize = 500;

/// The parameters of MAIL. `Default` is none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailParams {
    /// SIZE: the message's size in octets, as the client estimates it (RFC 1870).
    pub size: Option<u64>,
    /// BODY (RFC 6152, RFC 3030).
    pub body: Body,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// RET: how much of the message a failure report returns (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// ENVID, decoded: printable ASCII (RFC 3461 §4.4).
    pub envid: Option<String>,
    /// AUTH=: who submitted the message first (RFC 4954 §5).
    pub auth: Option<Submitter>,
    /// REQUIRETLS (RFC 8689).
    pub requiretls: bool,
    /// HOLDFOR or HOLDUNTIL: when to release the message (RFC 4865).
    pub hold: Option<Hold>,
}

/// The parameters of RCPT. `Default` is none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RcptParams {
    /// NOTIFY: when to report (RFC 3461 §4.1).
    pub notify: Option<Notify>,
    /// ORCPT: the recipient as its sender wrote it (RFC 3461 §4.2).
    pub orcpt: Option<OriginalRecipient>,
}

/// The body that the client announces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Body {
    /// 7BIT, and what holds without the parameter.
    #[default]
    SevenBit,
    /// 8BITMIME: lines with any octets.
    EightBitMime,
    /// BINARYMIME: any octets, by BDAT only.
    BinaryMime,
}

/// When a message is to be released (RFC 4865 §4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Hold {
    /// HOLDFOR: after so many seconds, at least one and at most 999,999,999.
    For(u32),
    /// HOLDUNTIL: at this time, written as RFC 3339 does. Only its characters have been looked at.
    Until(String),
}

/// What a failure report returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ret {
    /// The whole message.
    Full,
    /// Its header section.
    Hdrs,
}

/// The value of AUTH= on MAIL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Submitter {
    /// `<>`, nothing, or something that is no mailbox: unknown, or not to be trusted.
    Unknown,
    /// The mailbox of the one who submitted.
    Mailbox(Mailbox),
}

/// When to report about a recipient. Either `never`, or at least one of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Notify {
    /// NEVER.
    pub never: bool,
    /// SUCCESS.
    pub success: bool,
    /// FAILURE.
    pub failure: bool,
    /// DELAY.
    pub delay: bool,
}

/// An ORCPT: address type and address, both decoded. As text it is `rfc822;user@example.org`, the form of the
/// field Original-Recipient in a report (RFC 3464 §2.3.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OriginalRecipient {
    kind: String,
    address: String,
}

impl OriginalRecipient {
    /// Takes an address type such as `rfc822` or `utf-8`, and a decoded address. `None` unless the type is an atom
    /// and the address has printable characters only, at least one, and ASCII but for `utf-8`.
    pub fn new(kind: &str, address: &str) -> Option<Self> {
        let kind_fits =
            !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let wide = kind.eq_ignore_ascii_case("utf-8");
        let printable =
            |c: char| matches!(c, ' '..='~') || (wide && !c.is_ascii() && !c.is_control());
        let address_fits = !address.is_empty() && address.chars().all(printable);
        (kind_fits && address_fits)
            .then(|| Self { kind: kind.to_ascii_lowercase(), address: address.to_owned() })
    }

    /// The address type in lower case.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The value of ORCPT for any server, SMTPUTF8 or not (RFC 6533 §3).
    pub fn to_parameter(&self) -> String {
        let address = match self.kind.as_str() {
            "utf-8" => xtext::encode_utf8_address(&self.address),
            _ => xtext::encode(&self.address),
        };
        format!("{};{address}", self.kind)
    }

    fn from_parameter(value: &str) -> Option<Self> {
        let (kind, address) = value.split_once(';').filter(|_| value.len() <= ORCPT_MAX)?;
        let address = if kind.eq_ignore_ascii_case("utf-8") {
            xtext::decode_utf8_address(address)
        } else {
            xtext::decode(address)
        };
        let address = address?;
        // Postfix writes an internationalized address as `rfc822` in xtext. Its type is utf-8 (RFC 6533 §3), and a
        // message is not to be refused for it.
        let wide = kind.eq_ignore_ascii_case("rfc822") && !address.is_ascii();
        Self::new(if wide { "utf-8" } else { kind }, &address)
    }
}

impl fmt::Display for OriginalRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};{}", self.kind, self.address)
    }
}

impl FromStr for OriginalRecipient {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self, CommandError> {
        let (kind, address) = text.split_once(';').ok_or(CommandError::BadParameter("ORCPT"))?;
        Self::new(kind, address).ok_or(CommandError::BadParameter("ORCPT"))
    }
}

/// Reads what follows the reverse-path.
pub(super) fn mail(text: &str, offered: Extensions) -> Result<MailParams, CommandError> {
    let mut params = MailParams::default();
    let mut seen = Seen::default();
    for parameter in split(text)? {
        let Parameter { name, value } = parameter;
        let needs = match name.as_str() {
            "SIZE" => Extensions::SIZE,
            "BODY" => Extensions::EIGHT_BIT_MIME,
            "SMTPUTF8" => Extensions::SMTPUTF8,
            "RET" | "ENVID" => Extensions::DSN,
            "AUTH" => Extensions::AUTH,
            "REQUIRETLS" => Extensions::REQUIRETLS,
            "HOLDFOR" | "HOLDUNTIL" => Extensions::FUTURERELEASE,
            _ => return Err(CommandError::UnknownParameter(name)),
        };
        if !offered.contains(needs) {
            return Err(CommandError::UnknownParameter(name));
        }
        match name.as_str() {
            "SIZE" => params.size = Some(seen.first("SIZE")?.value(value.and_then(size))?),
            "BODY" => {
                params.body =
                    seen.first("BODY")?.value(value.and_then(|value| body(value, offered)))?
            }
            "SMTPUTF8" => params.smtputf8 = seen.first("SMTPUTF8")?.flag(value)?,
            "RET" => params.ret = Some(seen.first("RET")?.value(value.and_then(ret))?),
            "ENVID" => params.envid = Some(seen.first("ENVID")?.value(value.and_then(envid))?),
            "AUTH" => {
                params.auth = Some(seen.first("AUTH")?.value(submitter(value.unwrap_or_default()))?)
            }
            // One of the two, and once (RFC 4865 §4).
            "HOLDFOR" => {
                params.hold =
                    Some(seen.first("HOLDFOR or HOLDUNTIL")?.value(value.and_then(hold_for))?)
            }
            "HOLDUNTIL" => {
                params.hold =
                    Some(seen.first("HOLDFOR or HOLDUNTIL")?.value(value.and_then(hold_until))?)
            }
            _ => params.requiretls = seen.first("REQUIRETLS")?.flag(value)?,
        }
    }
    Ok(params)
}

/// Reads what follows the forward-path.
pub(super) fn rcpt(text: &str, offered: Extensions) -> Result<RcptParams, CommandError> {
    let mut params = RcptParams::default();
    let mut seen = Seen::default();
    for Parameter { name, value } in split(text)? {
        match name.as_str() {
            "NOTIFY" if offered.contains(Extensions::DSN) => {
                params.notify = Some(seen.first("NOTIFY")?.value(value.and_then(notify))?);
            }
            "ORCPT" if offered.contains(Extensions::DSN) => {
                let orcpt = value.and_then(OriginalRecipient::from_parameter);
                params.orcpt = Some(seen.first("ORCPT")?.value(orcpt)?);
            }
            _ => return Err(CommandError::UnknownParameter(name)),
        }
    }
    Ok(params)
}

struct Parameter<'a> {
    /// In upper case.
    name: String,
    /// `None`: no equals sign. An empty value is `Some`.
    value: Option<&'a str>,
}

/// Divides `SP name[=value]` repeated. More spaces than one are tolerated, as real clients send them.
fn split(text: &str) -> Result<Vec<Parameter<'_>>, CommandError> {
    if !text.is_empty() && !text.starts_with([' ', '\t']) {
        return Err(CommandError::MalformedParameters);
    }
    let words = text.split([' ', '\t']).filter(|word| !word.is_empty());
    words
        .map(|word| {
            let (name, value) =
                word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            let fits = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            // `esmtp-value` has no controls, no space and no further '='.
            let value_fits =
                value.is_none_or(|value| !value.contains(|c: char| c.is_control() || c == '='));
            if !fits || !matches!(name.len(), 1..=32) || name.starts_with('-') || !value_fits {
                return Err(CommandError::MalformedParameters);
            }
            Ok(Parameter { name: name.to_ascii_uppercase(), value })
        })
        .collect()
}

/// The parameters that occurred.
#[derive(Default)]
struct Seen(Vec<&'static str>);

/// A parameter that occurs for the first time.
struct First(&'static str);

impl Seen {
    fn first(&mut self, name: &'static str) -> Result<First, CommandError> {
        if self.0.contains(&name) {
            return Err(CommandError::Duplicate(name));
        }
        self.0.push(name);
        Ok(First(name))
    }
}

impl First {
    fn value<T>(self, value: Option<T>) -> Result<T, CommandError> {
        value.ok_or(CommandError::BadParameter(self.0))
    }

    fn flag(self, value: Option<&str>) -> Result<bool, CommandError> {
        if value.is_some() { Err(CommandError::BadParameter(self.0)) } else { Ok(true) }
    }
}

/// `1*20DIGIT` (RFC 1870 §3); what 64 bits cannot hold is too big in any case.
fn size(value: &str) -> Option<u64> {
    let fits = matches!(value.len(), 1..=20) && value.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| value.parse().unwrap_or(u64::MAX))
}

fn body(value: &str, offered: Extensions) -> Option<Body> {
    match value.to_ascii_uppercase().as_str() {
        "7BIT" => Some(Body::SevenBit),
        "8BITMIME" => Some(Body::EightBitMime),
        "BINARYMIME" if offered.contains(Extensions::BINARY_MIME) => Some(Body::BinaryMime),
        _ => None,
    }
}

fn ret(value: &str) -> Option<Ret> {
    match value.to_ascii_uppercase().as_str() {
        "FULL" => Some(Ret::Full),
        "HDRS" => Some(Ret::Hdrs),
        _ => None,
    }
}

/// `%x31-39 *8DIGIT`: no zero in front.
fn hold_for(value: &str) -> Option<Hold> {
    let fits = matches!(value.len(), 1..=9) && value.bytes().all(|b| b.is_ascii_digit());
    let seconds = value.parse().ok().filter(|_| fits && !value.starts_with('0'))?;
    Some(Hold::For(seconds))
}

/// The characters of RFC 3339's `date-time`, of which the session makes a time.
fn hold_until(value: &str) -> Option<Hold> {
    let fits = |b: u8| {
        b.is_ascii_digit()
            || matches!(b.to_ascii_uppercase(), b'T' | b'Z' | b'-' | b'+' | b':' | b'.')
    };
    (matches!(value.len(), 20..=40) && value.bytes().all(fits))
        .then(|| Hold::Until(value.to_owned()))
}

fn envid(value: &str) -> Option<String> {
    if !(1..=ENVID_MAX).contains(&value.len()) {
        return None;
    }
    // It goes into a header field of a report, so nothing but printable ASCII may come out of the encoding.
    xtext::decode(value).filter(|decoded| decoded.bytes().all(|b| matches!(b, b' '..=b'~')))
}

fn submitter(value: &str) -> Option<Submitter> {
    // Clients send an empty value, `<>`, and identities without a domain; all mean that nobody vouches.
    if value == "<>" {
        return Some(Submitter::Unknown);
    }
    let decoded = xtext::decode(value)?;
    Some(Mailbox::parse(&decoded).map_or(Submitter::Unknown, Submitter::Mailbox))
}

fn notify(value: &str) -> Option<Notify> {
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(Notify { never: true, ..Notify::default() });
    }
    let mut notify = Notify::default();
    for word in value.split(',') {
        match word.to_ascii_uppercase().as_str() {
            "SUCCESS" => notify.success = true,
            "FAILURE" => notify.failure = true,
            "DELAY" => notify.delay = true,
            _ => return None,
        }
    }
    Some(notify)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_internationalized_orcpt_of_type_rfc822_is_taken() {
        let taken = OriginalRecipient::from_parameter("rfc822;j+C3+BCrgen@b.test").unwrap();
        assert_eq!(taken.to_string(), "utf-8;jürgen@b.test");
        assert_eq!(OriginalRecipient::from_parameter("x400;j+C3+BCrgen"), None);
    }
}
