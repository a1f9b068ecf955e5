//! A value as it was written, with its place: the common form of what a TOML file and an environment variable say.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// A value and where it stands in the text (octets; empty for an environment variable).
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    pub(crate) data: Data,
}

/// What was written.
#[derive(Debug, Clone)]
pub(crate) enum Data {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Node>),
    Table(Vec<Entry>),
    /// A kind of value that no key takes (a float, a date, an integer out of range), as it was written.
    Other(String),
}

/// A key of a table with its place.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) span: Range<usize>,
    pub(crate) node: Node,
}

/// How the text of an environment variable becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Text,
    Integer,
    Boolean,
    /// Comma-separated; the empty text is the empty list.
    List,
    /// Comma-separated pairs `key=value`; the empty text is the empty table.
    Table,
}

impl Node {
    /// The top table of a TOML document.
    pub(crate) fn parse(text: &str) -> Result<Vec<Entry>, toml::de::Error> {
        Ok(entries(DeTable::parse(text)?.get_ref()))
    }

    /// The text of an environment variable. What does not fit the shape stays text, so that the key's own reader says
    /// what it wants.
    pub(crate) fn from_variable(text: &str, shape: Shape) -> Node {
        let data = match shape {
            Shape::Text => Data::Text(text.to_owned()),
            Shape::Integer => {
                text.trim().parse().map_or_else(|_| Data::Text(text.to_owned()), Data::Integer)
            }
            Shape::Boolean => match text.trim() {
                "true" => Data::Boolean(true),
                "false" => Data::Boolean(false),
                _ => Data::Text(text.to_owned()),
            },
            Shape::List => {
                Data::List(pieces(text).map(|piece| plain(Data::Text(piece.to_owned()))).collect())
            }
            Shape::Table => pairs(text),
        };
        plain(data)
    }

    /// The value in words for an error, quoted as it would stand in the file, cut when long.
    pub(crate) fn describe(&self) -> String {
        match &self.data {
            Data::Text(text) => format!("the text {}", quoted(text)),
            Data::Integer(value) => format!("the number {value}"),
            Data::Boolean(value) => format!("{value}"),
            Data::List(_) => "a list".to_owned(),
            Data::Table(_) => "a table".to_owned(),
            Data::Other(text) => text.clone(),
        }
    }
}

/// `text` in quotes, cut when long, with what a terminal would not show escaped.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    let cut: String = text.chars().take(SHOWN).collect();
    if cut.len() < text.len() { format!("{cut:?}…") } else { format!("{cut:?}") }
}

fn plain(data: Data) -> Node {
    Node { span: 0..0, data }
}

fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|piece| !piece.is_empty())
}

fn pairs(text: &str) -> Data {
    let mut table = Vec::new();
    for piece in pieces(text) {
        let Some((key, value)) = piece.split_once('=') else {
            return Data::Text(text.to_owned());
        };
        let node = plain(Data::Text(value.trim().to_owned()));
        table.push(Entry { key: key.trim().to_owned(), span: 0..0, node });
    }
    Data::Table(table)
}

fn entries(table: &DeTable<'_>) -> Vec<Entry> {
    let mut list: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            span: key.span(),
            node: Node { span: value.span(), data: data(value.get_ref()) },
        })
        .collect();
    list.sort_by_key(|entry| entry.span.start);
    list
}

fn data(value: &DeValue<'_>) -> Data {
    match value {
        DeValue::String(text) => Data::Text(text.to_string()),
        DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix())
            .map_or_else(|_| Data::Other(format!("the number {}", digits.as_str())), Data::Integer),
        DeValue::Boolean(value) => Data::Boolean(*value),
        DeValue::Array(list) => Data::List(
            list.iter()
                .map(|item| Node { span: item.span(), data: data(item.get_ref()) })
                .collect(),
        ),
        DeValue::Table(table) => Data::Table(entries(table)),
        DeValue::Float(digits) => Data::Other(format!("the number {}", digits.as_str())),
        DeValue::Datetime(date) => Data::Other(format!("the date {date}")),
    }
}
