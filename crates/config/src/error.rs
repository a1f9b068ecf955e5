//! What is wrong with a configuration, in words an operator can act on.

use std::fmt;
use std::path::PathBuf;

/// Why no settings could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read at all.
    #[error("{}: cannot be read: {source}; give the path of the configuration with --config FILE", path.display())]
    Unreadable {
        /// The file as it was named.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The text was read and one or more things in it are wrong. Never empty; in the order of the file.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

impl ConfigError {
    /// The single mistakes; empty if the file could not be read.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Unreadable { .. } => &[],
            Self::Invalid(problems) => problems,
        }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A position in a file; line and column count from 1, the column in characters.
    File {
        /// Name of the file.
        source: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// A variable of the environment.
    Variable(String),
    /// Neither: the value is a default.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { source, line, column } => write!(f, "{source}:{line}:{column}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Default => f.write_str("default settings"),
        }
    }
}

/// One mistake: where, which key, what was found and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// The key with its section, such as `limits.message_size`; empty if the text is no TOML.
    pub key: String,
    /// What was found.
    pub found: String,
    /// How to mend it.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.found, self.fix)
    }
}
