//! A message's first words (RFC 8970): what a list of messages shows beside the subject.

use super::{TextPart, text_parts};
use crate::mime::Tree;

/// How many characters a preview has at most (RFC 8970 §3.1 asks for no more than 200).
const LONGEST: usize = 200;
/// How much of a text is looked at: markup may stand before the first words.
const LOOKED_AT: usize = 64 * 1024;

/// The first words of a message's text, without markup, on one line; empty if it has none. Plain text counts before HTML.
pub fn preview(tree: &Tree<'_>) -> String {
    let mut html = None;
    for part in text_parts(tree) {
        if part.html {
            html.get_or_insert(part);
            continue;
        }
        let words = words_of(head(&part));
        if !words.is_empty() {
            return words;
        }
    }
    html.map(|part| words_of(&plain(head(&part)))).unwrap_or_default()
}

fn head(part: &TextPart) -> &str {
    let mut end = part.text.len().min(LOOKED_AT);
    while !part.text.is_char_boundary(end) {
        end -= 1;
    }
    &part.text[..end]
}

/// Words with one space between them. Controls and characters without width are left out.
fn words_of(text: &str) -> String {
    let (mut words, mut count, mut gap) = (String::new(), 0, false);
    for c in text.chars() {
        if c.is_whitespace() {
            gap = count > 0;
            continue;
        }
        if c.is_control()
            || matches!(c, '\u{ad}' | '\u{34f}' | '\u{200b}'..='\u{200f}' | '\u{feff}')
        {
            continue;
        }
        if count + usize::from(gap) >= LONGEST {
            break;
        }
        if std::mem::take(&mut gap) {
            words.push(' ');
            count += 1;
        }
        words.push(c);
        count += 1;
    }
    words
}

/// The text of HTML: tags become spaces; style, script, head and comments go with what is in them.
fn plain(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some(at) = rest.find(['<', '&']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with('&') {
            let (c, length) = entity(rest);
            text.push(c);
            rest = &rest[length..];
            continue;
        }
        if !is_inline(rest) {
            text.push(' ');
        }
        rest = after_tag(rest);
    }
    text.push_str(rest);
    text
}

/// Whether the tag at the front stands within words.
fn is_inline(html: &str) -> bool {
    let name: String = html
        .chars()
        .skip(1)
        .filter(|c| *c != '/')
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    matches!(
        name.to_ascii_lowercase().as_str(),
        "a" | "b" | "i" | "u" | "em" | "strong" | "span" | "font"
    )
}

/// What follows the tag at the front, and with it what is hidden in it.
fn after_tag(html: &str) -> &str {
    if let Some(comment) = html.strip_prefix("<!--") {
        return comment.find("-->").map_or("", |end| &comment[end + 3..]);
    }
    let Some(end) = html.find('>') else { return "" };
    let (tag, rest) = (&html[1..end], &html[end + 1..]);
    let name: String = tag.chars().take_while(char::is_ascii_alphanumeric).collect();
    if !matches!(name.to_ascii_lowercase().as_str(), "style" | "script" | "head" | "title") {
        return rest;
    }
    let closing = format!("</{name}");
    let found = rest
        .as_bytes()
        .windows(closing.len())
        .position(|window| window.eq_ignore_ascii_case(closing.as_bytes()));
    // The closing tag itself is met next.
    found.map_or("", |at| &rest[at..])
}

/// The character that an entity at the front stands for, and the entity's length.
fn entity(html: &str) -> (char, usize) {
    const LONGEST_NAME: usize = 8;
    let end = html.bytes().take(LONGEST_NAME + 2).position(|octet| octet == b';');
    let Some(name) = end.and_then(|end| html.get(1..end)) else { return ('&', 1) };
    let found = match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some(' '),
        _ => name.strip_prefix('#').and_then(|number| {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            code.ok().and_then(char::from_u32)
        }),
    };
    found.map_or(('&', 1), |c| (c, name.len() + 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(message: &str) -> String {
        preview(&Tree::parse(message.as_bytes()))
    }

    #[test]
    fn the_first_words() {
        assert_eq!(of("Subject: x\r\n\r\n Hello,\r\n\r\n  world \r\n"), "Hello, world");
        assert_eq!(of("Subject: x\r\n\r\n"), "");
        assert_eq!(of("Content-Type: image/png\r\n\r\nabc"), "");
        let long = of(&format!(
            "Content-Type: text/plain; charset=utf-8\r\n\r\n{}",
            "wörter ".repeat(100)
        ));
        assert_eq!(long.chars().count(), 200);
        let html = "Content-Type: text/html; charset=utf-8\r\n\r\n<html><HEAD><title>no</title><STYLE>p{}</style></HEAD>\
            <body><!-- no --><p>T&amp;C &lt;3 &#228;&#xE4; &bogus; &<b>bo</b>ld</p><p>x<script>no()</SCRIPT>end";
        assert_eq!(of(html), "T&C <3 ää &bogus; &bold x end");
    }

    #[test]
    fn plain_text_counts_first() {
        let both = "Content-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\n<b>h</b>\r\n\
            --x\r\nContent-Type: text/plain\r\n\r\nplain\r\n--x--\r\n";
        assert_eq!(of(both), "plain");
        assert_eq!(of(&both.replace("\r\nplain\r\n", "\r\n \r\n")), "h");
    }

    proptest! {
        #[test]
        fn any_markup_gives_a_short_line(html in "(<|>|&|;|#|x41|style|</style|<!--|-->|[a-zä] ){0,60}") {
            let text = of(&format!("Content-Type: text/html; charset=utf-8\r\n\r\n{html}"));
            prop_assert!(text.chars().count() <= 200 && !text.contains(['\r', '\n']));
        }
    }
}
