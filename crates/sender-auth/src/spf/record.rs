//! The text of a policy (RFC 7208 §4.5, §4.6, §12).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::macros::DomainSpec;

/// What a directive's match means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Qualifier {
    Pass,
    Fail,
    SoftFail,
    Neutral,
}

/// The significant bits of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    pub(crate) four: u8,
    pub(crate) six: u8,
}

/// A test of the client. No domain stands for the one whose policy this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    All,
    Include(DomainSpec),
    A(Option<DomainSpec>, Cidr),
    Mx(Option<DomainSpec>, Cidr),
    Ptr(Option<DomainSpec>),
    Ip4(Ipv4Addr, u8),
    Ip6(Ipv6Addr, u8),
    Exists(DomainSpec),
}

/// A policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) directives: Vec<(Qualifier, Mechanism)>,
    pub(crate) redirect: Option<DomainSpec>,
}

/// The policy cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError;

/// Whether a text is a policy of this version, well-formed or not (RFC 7208 §4.5).
pub(crate) fn is_policy(text: &[u8]) -> bool {
    let version = b"v=spf1";
    let Some((head, rest)) = text.split_at_checked(version.len()) else { return false };
    head.eq_ignore_ascii_case(version) && matches!(rest.first(), None | Some(b' '))
}

impl Record {
    /// Reads a policy, for which [`is_policy`] holds. One error anywhere spoils it whole (RFC 7208 §4.6).
    pub(crate) fn parse(text: &[u8]) -> Result<Self, SyntaxError> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii());
        let mut terms = text.ok_or(SyntaxError)?.split(' ').filter(|term| !term.is_empty());
        let (mut record, mut explained) = (Record::default(), false);
        terms.next();
        for term in terms {
            match modifier(term) {
                Some((name, value)) if name.eq_ignore_ascii_case("redirect") => {
                    let target = DomainSpec::parse(value).ok_or(SyntaxError)?;
                    if record.redirect.replace(target).is_some() {
                        return Err(SyntaxError);
                    }
                }
                Some((name, value)) if name.eq_ignore_ascii_case("exp") => {
                    DomainSpec::parse(value).ok_or(SyntaxError)?;
                    if std::mem::replace(&mut explained, true) {
                        return Err(SyntaxError);
                    }
                }
                // RFC 7208 §6: others are ignored, but not what is wrong in them.
                Some((_, value)) => DomainSpec::check_macros(value).ok_or(SyntaxError)?,
                None => record.directives.push(directive(term).ok_or(SyntaxError)?),
            }
        }
        Ok(record)
    }
}

/// `name=value` where the name is one.
fn modifier(term: &str) -> Option<(&str, &str)> {
    let (name, value) = term.split_once('=')?;
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let is_name = name.bytes().next()?.is_ascii_alphabetic() && name.bytes().all(inner);
    is_name.then_some((name, value))
}

fn directive(term: &str) -> Option<(Qualifier, Mechanism)> {
    let (qualifier, term) = match term.as_bytes().first()? {
        b'+' => (Qualifier::Pass, &term[1..]),
        b'-' => (Qualifier::Fail, &term[1..]),
        b'~' => (Qualifier::SoftFail, &term[1..]),
        b'?' => (Qualifier::Neutral, &term[1..]),
        _ => (Qualifier::Pass, term),
    };
    let end = term.find([':', '/']).unwrap_or(term.len());
    let (name, rest) = term.split_at(end);
    let domain = || DomainSpec::parse(rest.strip_prefix(':')?);
    let mechanism = match name.to_ascii_lowercase().as_str() {
        "all" if rest.is_empty() => Mechanism::All,
        "include" => Mechanism::Include(domain()?),
        "exists" => Mechanism::Exists(domain()?),
        "ptr" if rest.is_empty() => Mechanism::Ptr(None),
        "ptr" => Mechanism::Ptr(Some(domain()?)),
        "a" => host(rest).map(|(domain, cidr)| Mechanism::A(domain, cidr))?,
        "mx" => host(rest).map(|(domain, cidr)| Mechanism::Mx(domain, cidr))?,
        "ip4" => network(rest, 32).map(|(address, bits)| Mechanism::Ip4(address, bits))?,
        "ip6" => network(rest, 128).map(|(address, bits)| Mechanism::Ip6(address, bits))?,
        _ => return None,
    };
    Some((qualifier, mechanism))
}

/// `[":" domain-spec] [dual-cidr-length]`.
fn host(rest: &str) -> Option<(Option<DomainSpec>, Cidr)> {
    let mut cidr = Cidr { four: 32, six: 128 };
    let mut rest = rest;
    if let Some((before, digits)) = rest.rsplit_once("//")
        && is_digits(digits)
    {
        (rest, cidr.six) = (before, bits(digits, 128)?);
    }
    if let Some((before, digits)) = rest.rsplit_once('/')
        && is_digits(digits)
    {
        (rest, cidr.four) = (before, bits(digits, 32)?);
    }
    match rest.strip_prefix(':') {
        Some(domain) => Some((Some(DomainSpec::parse(domain)?), cidr)),
        None => rest.is_empty().then_some((None, cidr)),
    }
}

/// `":" address ["/" bits]`.
fn network<A: std::str::FromStr>(rest: &str, most: u8) -> Option<(A, u8)> {
    let rest = rest.strip_prefix(':')?;
    let (address, length) = match rest.split_once('/') {
        Some((address, digits)) => (address, bits(digits, most)?),
        None => (rest, most),
    };
    Some((address.parse().ok()?, length))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// A number without leading zeros, up to `most`.
fn bits(digits: &str, most: u8) -> Option<u8> {
    let plain = is_digits(digits) && (digits.len() == 1 || !digits.starts_with('0'));
    digits.parse().ok().filter(|bits| plain && *bits <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_told_by_their_version() {
        assert!(is_policy(b"v=spf1") && is_policy(b"V=SPF1 -all"));
        assert!(!is_policy(b"v=spf10 -all") && !is_policy(b" v=spf1") && !is_policy(b"v=spf"));
    }

    #[test]
    fn one_error_spoils_the_policy() {
        for terms in [
            "all:x",
            "all/8",
            "a:",
            "a:museum",
            "a:abc.123",
            "a/33",
            "a//129",
            "a/08",
            "a//",
            "ip4",
            "ip4:1.2.3",
            "ip4:1.2.3.4/",
            "ip4:1.2.3.4/33",
            "ip6:::1/129",
            "ip6:1.2.3.4",
            "include",
            "include:x/24",
            "exists",
            "redirect=",
            "redirect=a.b redirect=a.b",
            "exp=a.b exp=a.b",
            "%x=y",
            "=x",
            "x=%",
            "x=%{q}",
            "x=%{d0}",
            "a:%{t}.b",
            "--all",
            "mx:",
            "moo",
            "a\u{e4}",
        ] {
            let text = format!("v=spf1 {terms} -all");
            assert_eq!(Record::parse(text.as_bytes()), Err(SyntaxError), "{terms}");
        }
    }

    #[test]
    fn terms_are_read() {
        let record = Record::parse(
            b"v=spf1  a/24//64 ~mx:x.test//0 ?ip4:192.0.2.0/24 exists:%{i}.x.test other=%{h}x",
        )
        .expect("a policy");
        assert_eq!(
            record.directives[0],
            (Qualifier::Pass, Mechanism::A(None, Cidr { four: 24, six: 64 }))
        );
        assert!(matches!(
            &record.directives[1],
            (Qualifier::SoftFail, Mechanism::Mx(Some(_), Cidr { four: 32, six: 0 }))
        ));
        let network = Mechanism::Ip4(Ipv4Addr::new(192, 0, 2, 0), 24);
        assert_eq!(record.directives[2], (Qualifier::Neutral, network));
        assert_eq!((record.directives.len(), record.redirect), (4, None));
    }
}
