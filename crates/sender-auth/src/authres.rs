//! Reading what others wrote into Authentication-Results (RFC 8601), leniently.

/// The parts of a field's value between semicolons, without comments and with quotes resolved. The first is the
/// author's name. `None` if a comment or a quoted string does not end.
pub(crate) fn parts(value: &str) -> Option<Vec<Vec<String>>> {
    let mut parts = vec![Vec::new()];
    let (mut word, mut depth, mut quoted) = (String::new(), 0_usize, false);
    let mut characters = value.chars();
    let end_word = |word: &mut String, parts: &mut Vec<Vec<String>>| {
        if let (false, Some(part)) = (word.is_empty(), parts.last_mut()) {
            part.push(std::mem::take(word));
        }
    };
    while let Some(c) = characters.next() {
        match (c, quoted, depth) {
            ('\\', true, _) => word.extend(characters.next()),
            ('\\', false, 1..) => drop(characters.next()),
            ('"', _, 0) => quoted = !quoted,
            ('(', false, _) => {
                depth += 1;
                end_word(&mut word, &mut parts);
            }
            (')', false, 1..) => depth -= 1,
            (';', false, 0) => {
                end_word(&mut word, &mut parts);
                parts.push(Vec::new());
            }
            (c, false, 0) if c.is_ascii_whitespace() => end_word(&mut word, &mut parts),
            (c, _, 0) => word.push(c),
            _ => {}
        }
    }
    end_word(&mut word, &mut parts);
    (!quoted && depth == 0).then_some(parts)
}

/// The Author Domains, in lower case, for which a field says that DMARC passed.
pub(crate) fn dmarc_passed(value: &str) -> Vec<String> {
    let passed = |part: &Vec<String>| {
        if !part.first()?.eq_ignore_ascii_case("dmarc=pass") {
            return None;
        }
        part.iter().find_map(|word| {
            let (name, domain) = word.split_once('=')?;
            name.eq_ignore_ascii_case("header.from").then(|| {
                // RFC 8601 §2.7 has the domain there; some write the whole address.
                let domain = domain.rsplit_once('@').map_or(domain, |(_, domain)| domain);
                domain.trim_end_matches('.').to_ascii_lowercase()
            })
        })
    };
    parts(value).unwrap_or_default().iter().filter_map(passed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_are_found() {
        let value = " i=1; mx.a.test 1; spf=fail smtp.mailfrom=b.test;\r\n\tdmarc=pass (p=reject; x) header.from=B.test;\
                     dmarc=fail header.from=c.test; dkim=pass header.from=d.test; dmarc=pass policy.x=\"header.from=e.test\"";
        assert_eq!(dmarc_passed(value), ["b.test"]);
        assert_eq!(dmarc_passed("x; dmarc=pass header.from=\"a@c.test\""), ["c.test"]);
    }

    #[test]
    fn what_does_not_end_says_nothing() {
        for value in
            ["x; (dmarc=pass header.from=a.test", "x; dmarc=pass header.from=a.test \"", "", "(("]
        {
            assert!(dmarc_passed(value).is_empty(), "{value}");
        }
    }
}
