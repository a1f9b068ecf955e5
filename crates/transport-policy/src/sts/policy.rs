//! The policy, as `mta-sts.txt` says it (RFC 8461 §3.2), and which hosts it names (§4.1).

use std::fmt;
use std::time::Duration;

/// The longest time that a policy may ask to be remembered for: about a year.
const LONGEST: u64 = 31_557_600;
/// Names of hosts that are read at most. 64 KiB of policy hold some thousands, and nobody has that many.
const MOST_HOSTS: usize = 1_000;

/// What is to be done about a host that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It gets no mail.
    Enforce,
    /// It gets mail; the domain gets a report.
    Testing,
    /// There is no policy any more.
    None,
}

impl Mode {
    /// As the policy writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Testing => "testing",
            Self::None => "none",
        }
    }
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What is to be done.
    pub mode: Mode,
    /// How long it holds from its fetching on.
    pub max_age: Duration,
    /// Names of hosts in lower case; `*.` stands for one label. Empty only if the mode is `none`.
    pub mx: Vec<String>,
}

/// Why a text is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is not UTF-8.
    #[error("it is not UTF-8")]
    Encoding,
    /// A line is not `name: value`.
    #[error("line {0} is not of the form \"name: value\"")]
    Line(usize),
    /// It does not say `version: STSv1`.
    #[error("it has no version STSv1")]
    Version,
    /// The mode is missing or unknown.
    #[error("it has no mode that is known")]
    Mode,
    /// The time is missing or no number.
    #[error("it has no max_age in seconds")]
    MaxAge,
    /// A host's name is none, or there is none at all.
    #[error("it names no mail exchanger, or one that is no host name")]
    Mx,
}

impl Policy {
    /// Reads a policy. Fields that are not known are passed over; of those that may stand once, the first counts.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &[u8]) -> Result<Self, PolicyError> {
        let text = std::str::from_utf8(text).map_err(|_| PolicyError::Encoding)?;
        let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, Vec::new());
        for (number, line) in (1..).zip(text.split('\n')) {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.trim_matches([' ', '\t']).is_empty() {
                continue;
            }
            let (name, value) = line.split_once(':').ok_or(PolicyError::Line(number))?;
            let value = value.trim_matches([' ', '\t']);
            match name {
                "version" => drop(version.get_or_insert(value)),
                "mode" => drop(mode.get_or_insert(value)),
                "max_age" => drop(max_age.get_or_insert(value)),
                "mx" if mx.len() < MOST_HOSTS => mx.push(pattern(value).ok_or(PolicyError::Mx)?),
                "mx" => return Err(PolicyError::Mx),
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err(PolicyError::Version);
        }
        let mode = match mode {
            Some("enforce") => Mode::Enforce,
            Some("testing") => Mode::Testing,
            Some("none") => Mode::None,
            _ => return Err(PolicyError::Mode),
        };
        let max_age = max_age.and_then(seconds).ok_or(PolicyError::MaxAge)?;
        if mx.is_empty() && mode != Mode::None {
            return Err(PolicyError::Mx);
        }
        Ok(Self { mode, max_age, mx })
    }

    /// Whether a host is one of those that the policy names. A wildcard stands for exactly one label.
    pub fn names(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let fits = |pattern: &String| match pattern.strip_prefix("*.") {
            Some(parent) => host
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
            None => host == *pattern,
        };
        self.mx.iter().any(fits)
    }

    /// Its lines, as TLS reports show them (RFC 8460 §4.4).
    pub fn lines(&self) -> Vec<String> {
        self.to_string().lines().map(ToOwned::to_owned).collect()
    }
}

/// As a file, with the ends of lines that RFC 8461 §3.2 asks for.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version: STSv1\r\nmode: {}\r\n", self.mode.as_str())?;
        self.mx.iter().try_for_each(|name| write!(f, "mx: {name}\r\n"))?;
        write!(f, "max_age: {}\r\n", self.max_age.as_secs())
    }
}

/// 1 to 10 digits; what is longer than a year is a year.
fn seconds(value: &str) -> Option<Duration> {
    let digits =
        (1..=10).contains(&value.len()) && value.bytes().all(|octet| octet.is_ascii_digit());
    let seconds: u64 = digits.then(|| value.parse().ok())??;
    Some(Duration::from_secs(seconds.min(LONGEST)))
}

/// A host's name in lower case, perhaps with a wildcard as its first label.
fn pattern(value: &str) -> Option<String> {
    let name = value.strip_suffix('.').unwrap_or(value).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
    };
    let fits = name.len() <= 253 && name.strip_prefix("*.").unwrap_or(&name).split('.').all(label);
    fits.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "version: STSv1\nmode: enforce\nmx: mail.Example.com\nmx: *.example.net\n\
                        mx: backupmx.example.com\nmax_age: 604800\n";

    #[test]
    fn the_example_of_the_rfc() {
        let policy = Policy::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(policy.mode, Mode::Enforce);
        assert_eq!(policy.max_age, Duration::from_secs(604_800));
        assert_eq!(policy.mx, ["mail.example.com", "*.example.net", "backupmx.example.com"]);
        let crlf = GOOD.replace('\n', "\r\n");
        assert_eq!(Policy::parse(crlf.as_bytes()), Ok(policy.clone()));
        assert_eq!(Policy::parse(crlf.trim_end().as_bytes()), Ok(policy));
    }

    #[test]
    fn names_of_hosts() {
        let policy = Policy::parse(GOOD.as_bytes()).unwrap();
        for yes in
            ["mail.example.com", "MAIL.example.com.", "a.example.net", "backupmx.example.com"]
        {
            assert!(policy.names(yes), "{yes}");
        }
        for no in [
            "example.com",
            "example.net",
            "a.b.example.net",
            ".example.net",
            "x.mail.example.com",
            "",
        ] {
            assert!(!policy.names(no), "{no}");
        }
    }

    #[test]
    fn what_is_missing_or_wrong() {
        let parse = |text: &str| Policy::parse(text.as_bytes()).unwrap_err();
        let without = |line: &str| {
            GOOD.lines().filter(|held| !held.starts_with(line)).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(parse(""), PolicyError::Version);
        assert_eq!(parse(&without("version")), PolicyError::Version);
        assert_eq!(parse(&GOOD.replace("STSv1", "STSv2")), PolicyError::Version);
        assert_eq!(parse(&without("mode")), PolicyError::Mode);
        assert_eq!(parse(&GOOD.replace("enforce", "Enforce")), PolicyError::Mode);
        assert_eq!(parse(&without("max_age")), PolicyError::MaxAge);
        for age in ["-1", "1d", "", "12345678901"] {
            assert_eq!(parse(&GOOD.replace("604800", age)), PolicyError::MaxAge, "{age}");
        }
        assert_eq!(parse(&without("mx")), PolicyError::Mx);
        for name in ["a..b", "*", "*.*.example.com", "mail.*.com", "a b", "ä.example"] {
            assert_eq!(parse(&GOOD.replace("mail.Example.com", name)), PolicyError::Mx, "{name}");
        }
        assert_eq!(parse("<!doctype html>"), PolicyError::Line(1));
        assert_eq!(Policy::parse(b"version: STSv1\nmode: \xff"), Err(PolicyError::Encoding));
        let many = format!("{GOOD}{}", "mx: a.example.org\n".repeat(MOST_HOSTS));
        assert_eq!(parse(&many), PolicyError::Mx);
    }

    #[test]
    fn what_is_allowed() {
        let none =
            Policy::parse(b"version: STSv1\nmode: none\nmax_age: 0\nnew_field: x\n\n").unwrap();
        assert_eq!((none.mode, none.max_age, none.mx.len()), (Mode::None, Duration::ZERO, 0));
        let twice = format!("{GOOD}mode: none\nmax_age: 1\nversion: STSv9\n");
        assert_eq!(
            Policy::parse(twice.as_bytes()),
            Policy::parse(GOOD.as_bytes()),
            "the first counts"
        );
        let long = GOOD.replace("604800", "9999999999");
        assert_eq!(Policy::parse(long.as_bytes()).unwrap().max_age.as_secs(), LONGEST);
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_is_read_is_written_the_same(
            mode in "(enforce|testing|none|x)",
            age in 0_u64..40_000_000,
            mx in prop::collection::vec("(\\*\\.)?[a-zA-Z0-9-]{1,8}(\\.[a-z]{1,5}){0,3}\\.?", 0..4),
            noise in "[ -~\r\n]{0,30}",
        ) {
            let hosts: String = mx.iter().map(|name| format!("mx: {name}\n")).collect();
            let text = format!("version: STSv1\nmode: {mode}\n{hosts}max_age: {age}\n");
            if let Ok(policy) = Policy::parse(text.as_bytes()) {
                prop_assert_eq!(Policy::parse(policy.to_string().as_bytes()), Ok(policy));
            }
            let _ = Policy::parse(format!("{text}{noise}").as_bytes());
        }
    }
}
