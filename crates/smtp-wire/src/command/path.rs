//! Paths in angle brackets (RFC 5321 §4.1.2).

use letterlock_address::{AddressError, Domain};

/// Divides `<path> rest` into the path without its brackets and without a source route, and what follows it.
/// `None` if there is no such thing.
pub(super) fn split(text: &str) -> Option<Result<(&str, &str), AddressError>> {
    let inner = text.strip_prefix('<')?;
    // A quoted local part may hold '>' and escaped quotes.
    let mut quoted = false;
    let mut escaped = false;
    let end = inner.bytes().position(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' => return !quoted,
            _ => {}
        }
        false
    })?;
    let rest = &inner[end + 1..];
    Some(strip_route(&inner[..end]).map(|path| (path, rest)))
}

/// Source routes must be accepted and should be ignored (RFC 5321 §4.1.1.3, Appendix C): `@a,@b:user@c` is `user@c`.
fn strip_route(path: &str) -> Result<&str, AddressError> {
    let mut rest = path;
    if !rest.starts_with('@') {
        return Ok(path);
    }
    loop {
        let hop = rest.strip_prefix('@').ok_or(AddressError::LocalPartSyntax)?;
        let end = if hop.starts_with('[') {
            hop.find(']').map(|bracket| bracket + 1)
        } else {
            hop.find([',', ':'])
        };
        // Without a colon there is no mailbox, only "@domain".
        let (domain, behind) = hop.split_at(end.ok_or(AddressError::LocalPartEmpty)?);
        Domain::parse(domain)?;
        if let Some(mailbox) = behind.strip_prefix(':') {
            return Ok(mailbox);
        }
        rest = behind.strip_prefix(',').ok_or(AddressError::LocalPartSyntax)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_end_at_the_bracket_outside_quotes() {
        for (text, path, rest) in [
            ("<a@b> SIZE=1", "a@b", " SIZE=1"),
            ("<>", "", ""),
            (r#"<"a>b"@c>X"#, r#""a>b"@c"#, "X"),
            (r#"<"a\">b"@c>"#, r#""a\">b"@c"#, ""),
            (r"<a\>b>", r"a\", "b>"),
        ] {
            assert_eq!(split(text), Some(Ok((path, rest))), "{text}");
        }
        for text in ["", "a@b", "<a@b", "<\"a@b>", " <a@b>"] {
            assert_eq!(split(text), None, "{text}");
        }
    }

    #[test]
    fn source_routes_are_ignored() {
        for text in ["<@a:u@c>", "<@a,@b.example:u@c>", "<@[192.0.2.1],@[IPv6:::1]:u@c>"] {
            assert_eq!(split(text), Some(Ok(("u@c", ""))), "{text}");
        }
        for text in
            ["<@a>", "<@a,b:u@c>", "<@:u@c>", "<@a b:u@c>", "<@[::1]:u@c>", "<@a,:u@c>", "<@>"]
        {
            assert!(matches!(split(text), Some(Err(_))), "{text}");
        }
    }
}
