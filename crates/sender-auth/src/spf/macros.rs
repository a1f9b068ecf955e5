//! Macros (RFC 7208 §7): parts of a name that depend on client and sender.

use std::fmt::Write as _;
use std::net::IpAddr;

/// A name with places to fill in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DomainSpec(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Macro(Macro),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Macro {
    letter: u8,
    /// The letter was a capital: the value is escaped as in a URL.
    escaped: bool,
    /// How many of the right-hand parts stay; 0 for all.
    keep: usize,
    reversed: bool,
    delimiters: String,
}

/// What the places are filled with.
pub(crate) struct Values<'a> {
    pub(crate) client: IpAddr,
    pub(crate) helo: &'a str,
    pub(crate) sender_local: &'a str,
    pub(crate) sender_domain: &'a str,
    /// The domain whose policy is evaluated.
    pub(crate) domain: &'a str,
    /// The client's validated name, for `%{p}`; "unknown" without one.
    pub(crate) validated: &'a str,
}

/// The longest name, in octets (RFC 1035 §2.3.4, without the final dot).
const LONGEST: usize = 253;

impl DomainSpec {
    /// Reads a `domain-spec`: its end must look like a top label or be a macro (RFC 7208 §7.1).
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let parts = parts(text)?;
        let ends_well = match parts.last()? {
            Part::Macro(_) => true,
            Part::Text(end) => {
                let end = end.strip_suffix('.').unwrap_or(end);
                is_top_label(end.rsplit_once('.')?.1)
            }
        };
        ends_well.then_some(Self(parts))
    }

    /// Whether a text is a `macro-string`.
    pub(crate) fn check_macros(text: &str) -> Option<()> {
        parts(text).map(drop)
    }

    /// Whether `%{p}` occurs, whose value takes lookups.
    pub(crate) fn needs_validated(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Macro(held) if held.letter == b'p'))
    }

    /// The name, without its final dot. Of one that is too long, labels are cut off on the left (RFC 7208 §7.3).
    pub(crate) fn expand(&self, values: &Values<'_>) -> String {
        let mut name = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Macro(held) => held.expand(values, &mut name),
            }
        }
        if name.ends_with('.') {
            name.pop();
        }
        let mut rest = name.as_str();
        while rest.len() > LONGEST {
            match rest.split_once('.') {
                Some((_, shorter)) => rest = shorter,
                None => break,
            }
        }
        rest.to_owned()
    }
}

/// Letters, digits and inner hyphens, but not digits alone.
fn is_top_label(label: &str) -> bool {
    let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let digits = label.bytes().all(|b| b.is_ascii_digit());
    inner && !digits && !label.starts_with('-') && !label.ends_with('-')
}

fn parts(text: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '%' {
            if !c.is_ascii_graphic() {
                return None;
            }
            literal.push(c);
            continue;
        }
        let kind = rest.chars().next()?;
        rest = &rest[kind.len_utf8()..];
        match kind {
            '%' => literal.push('%'),
            '_' => literal.push(' '),
            '-' => literal.push_str("%20"),
            '{' => {
                let (inside, after) = rest.split_once('}')?;
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                parts.push(Part::Macro(Macro::parse(inside)?));
                rest = after;
            }
            _ => return None,
        }
    }
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Some(parts)
}

impl Macro {
    /// What stands in the braces. The letters `c`, `r` and `t` are for explanations only (RFC 7208 §7.2).
    fn parse(inside: &str) -> Option<Self> {
        let letter = *inside.as_bytes().first()?;
        if !b"slodiphv".contains(&letter.to_ascii_lowercase()) {
            return None;
        }
        let rest = &inside[1..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let keep = match &rest[..digits] {
            "" => 0,
            // More parts than any name has: all of them.
            number => number.parse().unwrap_or(usize::MAX),
        };
        if digits > 0 && keep == 0 {
            return None;
        }
        let rest = &rest[digits..];
        let (reversed, delimiters) = match rest.strip_prefix(['r', 'R']) {
            Some(delimiters) => (true, delimiters),
            None => (false, rest),
        };
        if !delimiters.bytes().all(|b| b".-+,/_=".contains(&b)) {
            return None;
        }
        let delimiters = if delimiters.is_empty() { "." } else { delimiters }.to_owned();
        let (escaped, letter) = (letter.is_ascii_uppercase(), letter.to_ascii_lowercase());
        Some(Self { letter, escaped, keep, reversed, delimiters })
    }

    fn expand(&self, values: &Values<'_>, out: &mut String) {
        let value = match self.letter {
            b's' => format!("{}@{}", values.sender_local, values.sender_domain),
            b'l' => values.sender_local.to_owned(),
            b'o' => values.sender_domain.to_owned(),
            b'd' => values.domain.to_owned(),
            b'i' => dotted(values.client),
            b'p' => values.validated.to_owned(),
            b'h' => values.helo.to_owned(),
            // `v`; the parser lets no other letter pass.
            _ if values.client.is_ipv4() => "in-addr".to_owned(),
            _ => "ip6".to_owned(),
        };
        let mut parts: Vec<&str> = value.split(|c| self.delimiters.contains(c)).collect();
        if self.reversed {
            parts.reverse();
        }
        if self.keep > 0 {
            parts.drain(..parts.len().saturating_sub(self.keep));
        }
        let joined = parts.join(".");
        match self.escaped {
            true => escape(&joined, out),
            false => out.push_str(&joined),
        }
    }
}

/// The client's address with dots: octets, or the nibbles of IPv6.
fn dotted(client: IpAddr) -> String {
    match client {
        IpAddr::V4(four) => four.to_string(),
        IpAddr::V6(six) => {
            let nibbles = six.octets().into_iter().flat_map(|octet| [octet >> 4, octet & 15]);
            nibbles.map(|nibble| format!("{nibble:x}")).collect::<Vec<_>>().join(".")
        }
    }
}

/// Everything but RFC 3986's unreserved characters as `%` and two digits.
fn escape(text: &str, out: &mut String) {
    for b in text.bytes() {
        match b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            true => out.push(char::from(b)),
            // Writing to a String cannot fail.
            false => drop(write!(out, "%{b:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(spec: &str, client: &str) -> String {
        let values = Values {
            client: client.parse().expect("an address"),
            helo: "mx.example.org",
            sender_local: "strong-bad",
            sender_domain: "email.example.com",
            domain: "email.example.com",
            validated: "unknown",
        };
        DomainSpec::parse(spec).unwrap_or_else(|| panic!("{spec}")).expand(&values)
    }

    /// The examples of RFC 7208 §7.4.
    #[test]
    fn examples() {
        for (spec, name) in [
            ("%{s}", "strong-bad@email.example.com"),
            ("%{o}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l-}", "strong.bad"),
            ("%{lr-}", "bad.strong"),
            ("%{l1r-}", "strong"),
            ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
            ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
            ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
            ("%{S}", "strong-bad%40email.example.com"),
            ("%{p}.a%%b%-.x.", "unknown.a%b%20.x"),
        ] {
            assert_eq!(expanded(spec, "192.0.2.3"), name, "{spec}");
        }
        let six = expanded("%{ir}.%{v}._spf.%{d2}", "2001:db8::cb01");
        let nibbles = "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2";
        assert_eq!(six, format!("{nibbles}.ip6._spf.example.com"));
    }

    #[test]
    fn long_names_lose_labels_on_the_left() {
        let name = expanded(
            &format!("{}.%{{d}}", "abcdefg.".repeat(40).trim_end_matches('.')),
            "192.0.2.3",
        );
        assert!(
            name.len() <= LONGEST && name.starts_with("abcdefg.") && name.ends_with(".example.com")
        );
    }
}
