//! POP3 command lines (RFC 1939 §3): a keyword of three or four letters and arguments.

use std::num::NonZeroU32;

/// A parsed command. Message numbers count from 1 and are not checked against the drop.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Capa,
    Stls,
    Utf8,
    Lang(Option<String>),
    User(String),
    Pass(String),
    Auth(Option<(String, Option<String>)>),
    Stat,
    List(Option<NonZeroU32>),
    Uidl(Option<NonZeroU32>),
    Retr(NonZeroU32),
    Top(NonZeroU32, u64),
    Dele(NonZeroU32),
    Noop,
    Rset,
    Quit,
}

/// Why a line is not a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    Unknown,
    Arguments,
    NotText,
}

impl Problem {
    /// The text after `-ERR `.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Problem::Unknown => "Unknown command",
            Problem::Arguments => "Wrong arguments",
            Problem::NotText => "Command is not UTF-8 text",
        }
    }
}

/// Parses a line without its CRLF.
pub(crate) fn parse(line: &[u8]) -> Result<Command, Problem> {
    let line = std::str::from_utf8(line).map_err(|_| Problem::NotText)?;
    let (keyword, rest) = line.split_once(' ').map_or((line, None), |(k, r)| (k, Some(r)));
    let none = |command| {
        if rest.is_none_or(|r| r.trim().is_empty()) { Ok(command) } else { Err(Problem::Arguments) }
    };
    match keyword.to_ascii_uppercase().as_str() {
        "CAPA" => none(Command::Capa),
        "STLS" => none(Command::Stls),
        "UTF8" => none(Command::Utf8),
        "LANG" => match rest.map(str::trim) {
            None | Some("") => Ok(Command::Lang(None)),
            some => argument(some).map(|tag| Command::Lang(Some(tag))),
        },
        "USER" => argument(rest).map(Command::User),
        // Everything after the one space is the password, spaces included (RFC 1939 §7).
        "PASS" => rest
            .filter(|r| !r.is_empty())
            .map(|r| Command::Pass(r.to_owned()))
            .ok_or(Problem::Arguments),
        "AUTH" => auth(rest),
        "STAT" => none(Command::Stat),
        "LIST" => optional_number(rest).map(Command::List),
        "UIDL" => optional_number(rest).map(Command::Uidl),
        "RETR" => number(rest).map(Command::Retr),
        "TOP" => top(rest),
        "DELE" => number(rest).map(Command::Dele),
        "NOOP" => none(Command::Noop),
        "RSET" => none(Command::Rset),
        "QUIT" => none(Command::Quit),
        _ => Err(Problem::Unknown),
    }
}

fn argument(rest: Option<&str>) -> Result<String, Problem> {
    let text = rest.unwrap_or_default().trim();
    if text.is_empty() || text.contains(' ') {
        Err(Problem::Arguments)
    } else {
        Ok(text.to_owned())
    }
}

fn number(rest: Option<&str>) -> Result<NonZeroU32, Problem> {
    argument(rest)?.parse().map_err(|_| Problem::Arguments)
}

fn optional_number(rest: Option<&str>) -> Result<Option<NonZeroU32>, Problem> {
    match rest.map(str::trim) {
        None | Some("") => Ok(None),
        some => number(some).map(Some),
    }
}

fn top(rest: Option<&str>) -> Result<Command, Problem> {
    let mut words = rest.unwrap_or_default().split_ascii_whitespace();
    let (Some(message), Some(lines), None) = (words.next(), words.next(), words.next()) else {
        return Err(Problem::Arguments);
    };
    let lines = lines.parse().map_err(|_| Problem::Arguments)?;
    Ok(Command::Top(number(Some(message))?, lines))
}

fn auth(rest: Option<&str>) -> Result<Command, Problem> {
    let mut words = rest.unwrap_or_default().split_ascii_whitespace();
    let Some(mechanism) = words.next() else { return Ok(Command::Auth(None)) };
    let initial = words.next().map(str::to_owned);
    if words.next().is_some() {
        return Err(Problem::Arguments);
    }
    Ok(Command::Auth(Some((mechanism.to_owned(), initial))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Result<Command, Problem>) {
        assert!(parse(line.as_bytes()) == expected, "{line}");
    }

    #[test]
    fn keywords_in_any_case_with_their_arguments() {
        let n = |n| NonZeroU32::new(n).unwrap();
        check("capa", Ok(Command::Capa));
        check("QUIT ", Ok(Command::Quit));
        check("USER ann@example.test", Ok(Command::User("ann@example.test".into())));
        check("PASS two words ", Ok(Command::Pass("two words ".into())));
        check("LIST", Ok(Command::List(None)));
        check("LIST 3", Ok(Command::List(Some(n(3)))));
        check("TOP 1 0", Ok(Command::Top(n(1), 0)));
        check("AUTH", Ok(Command::Auth(None)));
        check("utf8", Ok(Command::Utf8));
        check("LANG", Ok(Command::Lang(None)));
        check("LANG *", Ok(Command::Lang(Some("*".into()))));
        check("auth plain =", Ok(Command::Auth(Some(("plain".into(), Some("=".into()))))));
    }

    #[test]
    fn wrong_lines_say_what_is_wrong() {
        check("XYZ", Err(Problem::Unknown));
        check("", Err(Problem::Unknown));
        check("RETR", Err(Problem::Arguments));
        check("RETR 0", Err(Problem::Arguments));
        check("RETR 99999999999", Err(Problem::Arguments));
        check("RETR 1 2", Err(Problem::Arguments));
        check("TOP 1", Err(Problem::Arguments));
        check("STAT 1", Err(Problem::Arguments));
        check("UTF8 USER", Err(Problem::Arguments));
        check("LANG en de", Err(Problem::Arguments));
        check("PASS", Err(Problem::Arguments));
        assert!(parse(b"USER \xff").is_err_and(|p| p == Problem::NotText));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_command_or_a_problem(line: Vec<u8>) {
            let _ = parse(&line);
        }
    }
}
