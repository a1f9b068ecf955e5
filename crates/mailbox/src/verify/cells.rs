//! The rows that stand on one page of an SQLite file (its file format, §1.6 and §2.1).
//!
//! Everything read here may be damaged or hostile: what does not fit is no row.

use rusqlite::types::Value;

/// A row as a page holds it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    /// Of a table with row ids.
    pub(super) rowid: Option<i64>,
    pub(super) values: Vec<Value>,
}

/// How many octets the rows of one page have together at most. Those whose content goes on elsewhere are eight on a page,
/// and none is larger than the header or the description of a message.
const LARGEST: usize = 128 << 20;
/// No table here has so many columns.
const COLUMNS: usize = 32;
/// SQLite's smallest page.
const SMALLEST: usize = 480;

/// All rows of a page that read back. `overflow` gives the content of another page. Pages without rows (inner ones of
/// tables with row ids, overflow, free) have none: their first octet is another.
pub(super) fn cells(page: &[u8], overflow: &mut dyn FnMut(u32) -> Option<Vec<u8>>) -> Vec<Cell> {
    let (has_rowid, header) = match page.first() {
        _ if page.len() < SMALLEST => return Vec::new(),
        Some(0x0d) => (true, 8),
        Some(0x0a) => (false, 8),
        Some(0x02) => (false, 12),
        _ => return Vec::new(),
    };
    let count = number(page, 3, 2).unwrap_or(0);
    let (mut rows, mut left) = (Vec::new(), LARGEST);
    for at in (0..count).filter_map(|at| number(page, header + 2 * at, 2)) {
        // The number of an inner page's child stands before.
        let at = at + if header == 12 { 4 } else { 0 };
        rows.extend(cell(page, at, has_rowid, &mut left, overflow));
    }
    rows
}

fn cell(
    page: &[u8],
    at: usize,
    has_rowid: bool,
    left: &mut usize,
    overflow: &mut dyn FnMut(u32) -> Option<Vec<u8>>,
) -> Option<Cell> {
    let mut rest = page.get(at..)?;
    let length = usize::try_from(varint(&mut rest)?).ok().filter(|length| *length <= *left)?;
    let rowid = if has_rowid { Some(varint(&mut rest)?) } else { None };
    let local = local_length(page.len(), length, has_rowid);
    let mut record = rest.get(..local)?.to_vec();
    *left -= length;
    let mut next = if local < length { number(rest, local, 4)? } else { 0 };
    while record.len() < length {
        let more = overflow(u32::try_from(next).ok().filter(|next| *next > 0)?)?;
        let (head, tail) = more.split_at_checked(4)?;
        next = number(head, 0, 4)?;
        record.extend_from_slice(tail.get(..(length - record.len()).min(tail.len()))?);
    }
    Some(Cell { rowid, values: values(&record)? })
}

/// How many octets of a row stand on its own page (file format, §1.6).
fn local_length(usable: usize, length: usize, has_rowid: bool) -> usize {
    let most = if has_rowid { usable - 35 } else { (usable - 12) * 64 / 255 - 23 };
    if length <= most {
        return length;
    }
    let least = (usable - 12) * 32 / 255 - 23;
    let kept = least + (length - least) % (usable - 4);
    if kept <= most { kept } else { least }
}

/// A record's columns (file format, §2.1).
fn values(record: &[u8]) -> Option<Vec<Value>> {
    let mut header = record;
    let end = usize::try_from(varint(&mut header)?).ok()?;
    let (mut types, mut body) = record.split_at_checked(end)?;
    types = types.get(record.len() - header.len()..)?;
    let mut values = Vec::new();
    while !types.is_empty() {
        if values.len() == COLUMNS {
            return None;
        }
        let kind = varint(&mut types)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 => 8,
            12.. => (kind - 12) / 2,
            // There are no fractions here, and the others are not used.
            _ => return None,
        };
        let (data, rest) = body.split_at_checked(usize::try_from(length).ok()?)?;
        body = rest;
        values.push(match kind {
            0 => Value::Null,
            8 => Value::Integer(0),
            9 => Value::Integer(1),
            1..=6 => Value::Integer(signed(data)),
            _ if kind % 2 == 0 => Value::Blob(data.to_vec()),
            _ => Value::Text(String::from_utf8(data.to_vec()).ok()?),
        });
    }
    Some(values)
}

/// A number of up to eight octets, the highest first.
fn signed(octets: &[u8]) -> i64 {
    let start = if octets.first().is_some_and(|first| first & 0x80 != 0) { -1 } else { 0 };
    octets.iter().fold(start, |number, octet| number << 8 | i64::from(*octet))
}

fn number(octets: &[u8], at: usize, length: usize) -> Option<usize> {
    let octets = octets.get(at..at + length)?;
    Some(octets.iter().fold(0, |number, octet| number << 8 | usize::from(*octet)))
}

/// Takes a number of one to nine octets from the front: seven bits in each, and all eight of the ninth.
fn varint(octets: &mut &[u8]) -> Option<i64> {
    let mut number = 0i64;
    for at in 0..9 {
        let (first, rest) = octets.split_first()?;
        *octets = rest;
        if at == 8 {
            return Some(number << 8 | i64::from(*first));
        }
        number = number << 7 | i64::from(first & 0x7f);
        if *first < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (octets, expected) in [
            (&[0x7f][..], 127),
            (&[0x81, 0x00], 128),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], -1),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x05], 5),
        ] {
            let mut rest = octets;
            assert_eq!(varint(&mut rest), Some(expected));
            assert!(rest.is_empty());
        }
        assert_eq!(varint(&mut &[0x80][..]), None);
        assert_eq!((signed(&[0xff, 0xfe]), signed(&[0x01, 0x00]), signed(&[])), (-2, 256, 0));
    }

    #[test]
    fn nonsense_has_no_rows() {
        let mut page = vec![0x0d, 0, 0, 0xff, 0xff, 0, 0, 0];
        page.resize(4_040, 0xff);
        assert_eq!(cells(&page, &mut |_| None), []);
        assert_eq!(cells(&[], &mut |_| None), []);
        assert_eq!(cells(&[0x0d, 0, 0, 0, 1, 0, 0, 0, 0, 10, 2, 1, 2, 0], &mut |_| None), []);
        // A row that goes on in circles ends with its length.
        let mut page = vec![0u8; 4_040];
        page[..10].copy_from_slice(&[0x0d, 0, 0, 0, 1, 0, 0, 0, 0, 100]);
        page[100..104].copy_from_slice(&[0x84, 0x80, 0x00, 0x01]);
        let mut read = 0;
        cells(&page, &mut |_| {
            read += 1;
            Some(vec![1; 4_040])
        });
        assert!(read <= 17, "{read}");
    }

    /// As many rows as a page can name, all of them the same and as large as one may be.
    #[test]
    fn one_page_does_not_fill_the_memory() {
        let mut page = vec![0u8; 4_040];
        page[1_900..].fill(1);
        page[..8].copy_from_slice(&[0x0d, 0, 0, 0, 200, 0, 0, 0]);
        for row in 0..200 {
            page[8 + 2 * row..10 + 2 * row].copy_from_slice(&500u16.to_be_bytes());
        }
        // 96 MiB, and the row's id.
        page[500..505].copy_from_slice(&[0xb0, 0x80, 0x80, 0x00, 0x01]);
        let mut read = 0usize;
        cells(&page, &mut |_| {
            read += 1;
            Some(vec![1; 4_040])
        });
        assert!(read > 20_000 && read * 4_036 <= LARGEST, "{read}");
    }
}
