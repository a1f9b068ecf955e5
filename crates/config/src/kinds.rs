//! The kinds of values that keys take: how each is read, checked, written, and what to tell who wrote it wrong.

use std::marker::PhantomData;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

use crate::node::{Data, Node, Shape};
use crate::units::{format_duration, format_size, parse_duration, parse_size};

/// What is wrong with a value; the walk over the tree adds file, line and key.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) span: Range<usize>,
    pub(crate) found: String,
    pub(crate) fix: String,
}

impl Fault {
    pub(crate) fn new(node: &Node, found: &str, fix: &str) -> Fault {
        Fault { span: node.span.clone(), found: found.to_owned(), fix: fix.to_owned() }
    }
}

/// A kind of value.
pub(crate) trait Kind {
    /// The Rust type of the field.
    type Of;
    /// Its name in words.
    const NAME: &'static str;
    /// How an environment variable is taken apart.
    const SHAPE: Shape;
    /// Reads a value.
    fn read(node: &Node) -> Result<Self::Of, Fault>;
    /// Writes a value, so that `read` gives the same again.
    fn show(value: &Self::Of) -> Value;
}

/// A kind with an order.
pub(crate) trait Ranged: Kind {
    /// Type of the bounds.
    type Bound: PartialOrd;
    /// A bound in words.
    fn bound(bound: &Self::Bound) -> String;
    /// The values that must lie within the bounds.
    fn members(value: &Self::Of) -> Vec<&Self::Bound>;
}

/// Refuses a value outside its range.
pub(crate) fn within<K: Ranged>(
    node: &Node,
    value: &K::Of,
    low: &K::Bound,
    high: &K::Bound,
) -> Result<(), Fault> {
    if K::members(value).into_iter().all(|member| member >= low && member <= high) {
        return Ok(());
    }
    let fix = format!("write a value from {} to {}", K::bound(low), K::bound(high));
    Err(Fault::new(node, &format!("{} is out of range", node.describe()), &fix))
}

/// The text of a node, if it is one.
pub(crate) fn text_of(node: &Node) -> Option<&str> {
    match &node.data {
        Data::Text(text) => Some(text),
        _ => None,
    }
}

/// The fault of a value of the wrong kind.
pub(crate) fn wrong(node: &Node, wanted: &str, fix: &str) -> Fault {
    Fault::new(node, &format!("{} is not {wanted}", node.describe()), fix)
}

/// Reads each item of a list.
pub(crate) fn list_of<T>(
    node: &Node,
    fix: &str,
    item: impl Fn(&Node) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    match &node.data {
        Data::List(items) => items.iter().map(item).collect(),
        _ => Err(wrong(node, "a list", fix)),
    }
}

/// Writes a list of texts.
pub(crate) fn texts(items: impl Iterator<Item = String>) -> Value {
    Value::Array(items.map(Value::String).collect())
}

/// A count: `u16`, `u32` or `usize`.
pub(crate) struct Count<T>(PhantomData<T>);

impl<T: TryFrom<i64> + TryInto<i64> + Copy> Kind for Count<T> {
    type Of = T;
    const NAME: &'static str = "number";
    const SHAPE: Shape = Shape::Integer;

    fn read(node: &Node) -> Result<T, Fault> {
        let Data::Integer(number) = node.data else {
            return Err(wrong(node, "a whole number", "write digits without quotes"));
        };
        T::try_from(number).map_err(|_| {
            wrong(node, "in the range of this key", "write a smaller number, not below 0")
        })
    }

    fn show(value: &T) -> Value {
        Value::Integer((*value).try_into().unwrap_or(i64::MAX))
    }
}

impl<T: TryFrom<i64> + TryInto<i64> + Copy + PartialOrd + std::fmt::Display> Ranged for Count<T> {
    type Bound = T;

    fn bound(bound: &T) -> String {
        bound.to_string()
    }

    fn members(value: &T) -> Vec<&T> {
        vec![value]
    }
}

/// `true` or `false`.
pub(crate) struct Flag;

impl Kind for Flag {
    type Of = bool;
    const NAME: &'static str = "`true` or `false`";
    const SHAPE: Shape = Shape::Boolean;

    fn read(node: &Node) -> Result<bool, Fault> {
        match node.data {
            Data::Boolean(value) => Ok(value),
            _ => Err(wrong(node, "true or false", "write true or false, without quotes")),
        }
    }

    fn show(value: &bool) -> Value {
        Value::Boolean(*value)
    }
}

/// A number of octets.
pub(crate) struct Size;

impl Kind for Size {
    type Of = u64;
    const NAME: &'static str = "size";
    const SHAPE: Shape = Shape::Text;

    fn read(node: &Node) -> Result<u64, Fault> {
        const FIX: &str = "write a size such as \"50MiB\" (units B, KiB, MiB, GiB, TiB)";
        match &node.data {
            Data::Text(text) => parse_size(text).ok_or_else(|| wrong(node, "a size", FIX)),
            Data::Integer(octets) => u64::try_from(*octets).map_err(|_| wrong(node, "a size", FIX)),
            _ => Err(wrong(node, "a size", FIX)),
        }
    }

    fn show(value: &u64) -> Value {
        Value::String(format_size(*value))
    }
}

impl Ranged for Size {
    type Bound = u64;

    fn bound(bound: &u64) -> String {
        format_size(*bound)
    }

    fn members(value: &u64) -> Vec<&u64> {
        vec![value]
    }
}

/// A duration.
pub(crate) struct Period;

impl Kind for Period {
    type Of = Duration;
    const NAME: &'static str = "duration";
    const SHAPE: Shape = Shape::Text;

    fn read(node: &Node) -> Result<Duration, Fault> {
        const FIX: &str = "write a duration such as \"5m\" or \"1h30m\" (units d, h, m, s, ms)";
        text_of(node).and_then(parse_duration).ok_or_else(|| wrong(node, "a duration", FIX))
    }

    fn show(value: &Duration) -> Value {
        Value::String(format_duration(*value))
    }
}

impl Ranged for Period {
    type Bound = Duration;

    fn bound(bound: &Duration) -> String {
        format_duration(*bound)
    }

    fn members(value: &Duration) -> Vec<&Duration> {
        vec![value]
    }
}

/// A list of durations with at least one.
pub(crate) struct Durations;

impl Kind for Durations {
    type Of = Vec<Duration>;
    const NAME: &'static str = "list of durations";
    const SHAPE: Shape = Shape::List;

    fn read(node: &Node) -> Result<Vec<Duration>, Fault> {
        const FIX: &str = "write a list of durations such as [\"5m\", \"1h\"]";
        let list = list_of(node, FIX, Period::read)?;
        if list.is_empty() { Err(Fault::new(node, "the list is empty", FIX)) } else { Ok(list) }
    }

    fn show(value: &Vec<Duration>) -> Value {
        texts(value.iter().map(|duration| format_duration(*duration)))
    }
}

impl Ranged for Durations {
    type Bound = Duration;

    fn bound(bound: &Duration) -> String {
        format_duration(*bound)
    }

    fn members(value: &Vec<Duration>) -> Vec<&Duration> {
        value.iter().collect()
    }
}

/// A file, or none.
pub(crate) struct File;

impl Kind for File {
    type Of = Option<PathBuf>;
    const NAME: &'static str = "file";
    const SHAPE: Shape = Shape::Text;

    fn read(node: &Node) -> Result<Option<PathBuf>, Fault> {
        let text = text_of(node).ok_or_else(|| {
            wrong(node, "a path", "write the path of a file in quotes, or \"\" for none")
        })?;
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }

    fn show(value: &Option<PathBuf>) -> Value {
        Value::String(value.as_ref().map(|path| path.display().to_string()).unwrap_or_default())
    }
}

/// A folder.
pub(crate) struct Folder;

impl Kind for Folder {
    type Of = PathBuf;
    const NAME: &'static str = "folder";
    const SHAPE: Shape = Shape::Text;

    fn read(node: &Node) -> Result<PathBuf, Fault> {
        let text = text_of(node).filter(|text| !text.is_empty());
        text.map(PathBuf::from)
            .ok_or_else(|| wrong(node, "a path", "write the path of a folder in quotes"))
    }

    fn show(value: &PathBuf) -> Value {
        Value::String(value.display().to_string())
    }
}

/// Log levels, at large and by part.
pub(crate) struct Level;

impl Kind for Level {
    type Of = String;
    const NAME: &'static str = "log level";
    const SHAPE: Shape = Shape::Text;

    fn read(node: &Node) -> Result<String, Fault> {
        const FIX: &str = "write off, error, warn, info, debug or trace, or by part as in \"info,letterlock_smtp=debug\"";
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let part = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
        };
        let fits = |directive: &str| match directive.split_once('=') {
            Some((name, level)) => part(name) && LEVELS.contains(&level),
            None => LEVELS.contains(&directive),
        };
        let text = text_of(node).filter(|text| text.split(',').all(fits));
        text.map(str::to_owned).ok_or_else(|| wrong(node, "a log level", FIX))
    }

    fn show(value: &String) -> Value {
        Value::String(value.clone())
    }
}
