//! Blocks: some thousand terms in order, and beside them in which messages each of them is.
//!
//! The text of a block is `\nterm\nterm\n`: looking for a needle in all its terms is one search in one string.
//! The postings are the lengths of all lists, then the lists. A list has a number for each document: the
//! distance from the one before, and where in the document the term stands; in groups of seven bits, the lowest
//! first.

use memchr::{memchr_iter, memmem};

use crate::error::MailboxError;
pub(super) use crate::layout::{put, take};
use crate::pack::{pack, unpack};

use super::words::BETWEEN;

/// The term is in the header block.
pub(super) const IN_HEADER: u8 = 1;
/// The term is in the body.
pub(super) const IN_BODY: u8 = 2;
/// Octets of text, or of postings, from which on a block is full.
const FULL: usize = 64 * 1024;

/// One block, packed.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) terms: Piece,
    pub(super) posts: Piece,
}

/// Packed octets, and how many they are unpacked.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) length: usize,
    pub(super) data: Vec<u8>,
}

impl Piece {
    fn of(plain: &[u8]) -> Self {
        Self { length: plain.len(), data: pack(plain) }
    }

    fn open(&self) -> Result<Vec<u8>, MailboxError> {
        let mut plain = Vec::with_capacity(self.length);
        unpack(&self.data, self.length, &mut plain)?;
        Ok(plain)
    }

    /// The text of a block's terms.
    pub(super) fn text(&self) -> Result<String, MailboxError> {
        String::from_utf8(self.open()?).map_err(|_| damaged())
    }
}

fn damaged() -> MailboxError {
    MailboxError::damaged("a block of the search index does not read back")
}

/// Writes terms, which come in order, into blocks.
#[derive(Debug)]
pub(super) struct Writer {
    text: String,
    lengths: Vec<u8>,
    posts: Vec<u8>,
    full: Vec<Block>,
}

impl Default for Writer {
    fn default() -> Self {
        Self { text: BETWEEN.into(), lengths: Vec::new(), posts: Vec::new(), full: Vec::new() }
    }
}

impl Writer {
    pub(super) fn push(&mut self, term: &str, list: &[u8]) {
        self.text.push_str(term);
        self.text.push(BETWEEN);
        put(&mut self.lengths, list.len() as u64);
        self.posts.extend_from_slice(list);
        if self.text.len() >= FULL || self.posts.len() >= FULL {
            self.end_block();
        }
    }

    fn end_block(&mut self) {
        if self.text.len() > 1 {
            let mut posts = std::mem::take(&mut self.lengths);
            posts.append(&mut self.posts);
            self.full
                .push(Block { terms: Piece::of(self.text.as_bytes()), posts: Piece::of(&posts) });
            self.text.truncate(1);
        }
    }

    /// The blocks that are full.
    pub(super) fn take_full(&mut self) -> Vec<Block> {
        std::mem::take(&mut self.full)
    }

    /// All that are left.
    pub(super) fn finish(mut self) -> Vec<Block> {
        self.end_block();
        self.full
    }
}

/// A block that was read whole: terms, one after the other, with their lists.
#[derive(Debug)]
pub(super) struct Reader {
    text: String,
    at: usize,
    posts: Vec<u8>,
    lengths_at: usize,
    lists_at: usize,
}

impl Reader {
    pub(super) fn new(block: &Block) -> Result<Self, MailboxError> {
        let text = block.terms.text()?;
        let posts = block.posts.open()?;
        let lists_at = lists_start(&text, &posts)?;
        let mut reader = Self { text, at: 0, posts, lengths_at: 0, lists_at };
        reader.at = 1.min(reader.text.len());
        Ok(reader)
    }

    /// The term at which it stands; None at the end.
    pub(super) fn term(&self) -> Option<&str> {
        let rest = &self.text[self.at..];
        rest.find(BETWEEN).map(|end| &rest[..end])
    }

    /// The list of that term; goes on to the next.
    pub(super) fn next_list(&mut self) -> Result<&[u8], MailboxError> {
        let length = self.term().map(str::len).ok_or_else(damaged)?;
        self.at += length + 1;
        let mut lengths = self.posts.get(self.lengths_at..).ok_or_else(damaged)?;
        let before = lengths.len();
        let list = take(&mut lengths).ok_or_else(damaged)? as usize;
        self.lengths_at += before - lengths.len();
        let start = self.lists_at;
        self.lists_at = start.checked_add(list).ok_or_else(damaged)?;
        self.posts.get(start..self.lists_at).ok_or_else(damaged)
    }
}

/// Where the lists begin behind the lengths.
fn lists_start(text: &str, posts: &[u8]) -> Result<usize, MailboxError> {
    let count = count_terms(text);
    let mut rest = posts;
    for _ in 0..count {
        take(&mut rest).ok_or_else(damaged)?;
    }
    Ok(posts.len() - rest.len())
}

/// How many terms a block's text has.
pub(super) fn count_terms(text: &str) -> usize {
    memchr_iter(b'\n', text.as_bytes()).count().saturating_sub(1)
}

/// The numbers, in the block, of the terms that hold the needle; ascending.
pub(super) fn matches(text: &str, needle: &str) -> Vec<u32> {
    let mut found = Vec::new();
    let (mut counted, mut number) = (0, 0u32);
    // The line feed before a term belongs to the needle of one that begins so.
    let inside = usize::from(needle.starts_with(BETWEEN));
    for at in memmem::find_iter(text.as_bytes(), needle) {
        let at = at + inside;
        number += memchr_iter(b'\n', &text.as_bytes()[counted..at]).count() as u32;
        counted = at;
        if found.last() != Some(&(number - 1)) {
            found.push(number - 1);
        }
    }
    found
}

/// The lists of some terms of a block, by their ascending numbers.
pub(super) fn lists(
    posts: &Piece,
    terms: usize,
    wanted: &[u32],
    mut each: impl FnMut(u32, &[u8]),
) -> Result<(), MailboxError> {
    let plain = posts.open()?;
    let (mut lengths, mut ranges, mut start) = (plain.as_slice(), Vec::new(), 0usize);
    let mut wanted = wanted.iter().copied().peekable();
    for number in 0..terms as u32 {
        let length = take(&mut lengths).ok_or_else(damaged)? as usize;
        if wanted.next_if_eq(&number).is_some() {
            ranges.push((number, start, start + length));
        }
        start += length;
    }
    for (number, from, to) in ranges {
        each(number, lengths.get(from..to).ok_or_else(damaged)?);
    }
    Ok(())
}

/// A list being written.
#[derive(Debug, Default)]
pub(super) struct List {
    bytes: Vec<u8>,
    last: u32,
}

impl List {
    /// Adds a document, later than all before.
    pub(super) fn push(&mut self, document: u32, places: u8) {
        put(&mut self.bytes, u64::from(document - self.last) << 2 | u64::from(places));
        self.last = document;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.last = 0;
    }
}

/// The documents of a list, ascending, and where in them the term stands.
pub(super) fn documents(mut list: &[u8]) -> impl Iterator<Item = (u32, u8)> {
    let mut last = 0u32;
    std::iter::from_fn(move || {
        let number = take(&mut list)?;
        last = last.saturating_add(u32::try_from(number >> 2).unwrap_or(u32::MAX));
        Some((last, (number & 3) as u8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_read_back() {
        let mut writer = Writer::default();
        let mut list = List::default();
        for number in 0..20_000u32 {
            list.clear();
            list.push(number % 7, IN_BODY);
            list.push(number + 10, IN_HEADER);
            writer.push(&format!("term{number:05}"), list.bytes());
        }
        let blocks = writer.finish();
        assert!(blocks.len() > 2);
        let mut number = 0;
        for block in &blocks {
            let mut reader = Reader::new(block).unwrap();
            while let Some(term) = reader.term() {
                assert_eq!(term, format!("term{number:05}"));
                let found: Vec<_> = documents(reader.next_list().unwrap()).collect();
                assert_eq!(found, [(number % 7, IN_BODY), (number + 10, IN_HEADER)]);
                number += 1;
            }
        }
        assert_eq!(number, 20_000);
    }

    #[test]
    fn needles_in_blocks() {
        let text = "\nab\nabc\nb\nbab\n";
        assert_eq!(count_terms(text), 4);
        assert_eq!(matches(text, "ab"), [0, 1, 3]);
        assert_eq!(matches(text, "\nab"), [0, 1]);
        assert_eq!(matches(text, "ab\n"), [0, 3]);
        assert_eq!(matches(text, "\nb\n"), [2]);
        assert_eq!(matches(text, "x"), [0u32; 0]);
    }

    #[test]
    fn nonsense_is_damage() {
        let nonsense = || Piece::of(b"\x80\x80");
        let block = Block { terms: Piece::of(b"\na\n"), posts: nonsense() };
        assert!(Reader::new(&block).is_err());
        assert!(lists(&nonsense(), 1, &[0], |_, _| {}).is_err());
        assert!(Piece::of(b"\xff").text().is_err());
    }
}
