//! The macro that makes a section of the settings out of its one description, and what it makes beside the struct.

use crate::kinds::Fault;
use crate::node::{Node, Shape};

/// What is known about one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// Section, such as `limits`; empty for the keys at the top.
    pub section: &'static str,
    /// Name within its section.
    pub key: &'static str,
    /// What may be written, in words: `duration`, `size`, `list of addresses with port` …
    pub kind: &'static str,
    /// Default, as TOML.
    pub default: String,
    /// Lowest and highest value, as TOML without quotes.
    pub range: Option<(String, String)>,
    /// A value to show where the default would explain nothing, as TOML.
    pub example: Option<&'static str>,
    /// What it does; paragraphs joined to one line.
    pub docs: String,
    pub(crate) shape: Shape,
}

impl KeyInfo {
    /// Name with its section: `limits.message_size`.
    pub fn path(&self) -> String {
        join(self.section, self.key)
    }

    /// The environment variable that overrides it: `LETTERLOCK_LIMITS_MESSAGE_SIZE`.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.path().replace('.', "_").to_uppercase())
    }
}

/// What the name of each variable of ours starts with.
pub(crate) const PREFIX: &str = "LETTERLOCK_";

/// `section.key`, or the key alone at the top.
pub(crate) fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// A struct of settings, as the code that walks the tree sees it.
pub(crate) trait Section {
    /// Its name in TOML; empty for the top.
    fn name(&self) -> &'static str;
    /// What it is for.
    fn about(&self) -> String;
    /// Its keys, in order.
    fn keys(&self) -> Vec<KeyInfo>;
    /// Reads one key. The key is one of [`Section::keys`].
    fn set(&mut self, key: &str, node: &Node) -> Result<(), Fault>;
    /// Its keys and present values, in order.
    fn values(&self) -> Vec<(&'static str, toml::Value)>;
    /// Sections inside it.
    fn parts(&self) -> Vec<&dyn Section>;
    /// Sections inside it.
    fn parts_mut(&mut self) -> Vec<&mut dyn Section>;
}

/// The keys of a section and of those inside it.
pub(crate) fn all_keys(section: &dyn Section) -> Vec<KeyInfo> {
    let mut keys = section.keys();
    keys.extend(section.parts().into_iter().flat_map(all_keys));
    keys
}

/// The lines of a doc comment as running text.
pub(crate) fn running(lines: &str) -> String {
    lines.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Makes a struct, its `Default` and its [`Section`] out of lines
/// `key: type as Kind = default, from lowest, to highest, such as "example";` under their doc comments.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident = $section:literal {
            $(
                $(#[doc = $doc:literal])+
                $key:ident: $type:ty as $kind:ty = $default:expr $(, from $low:expr, to $high:expr)? $(, such as $example:literal)?;
            )+
        }
        $(with { $($part:ident: $part_type:ident,)+ })?
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $(
                $(#[doc = $doc])+
                #[doc = concat!("\n\nDefault: `", stringify!($default), "`." $(, " Range: `", stringify!($low), "` to `", stringify!($high), "`.")?)]
                pub $key: $type,
            )+
            $($(
                #[doc = concat!("The section `[", stringify!($part), "]`.")]
                pub $part: $part_type,
            )+)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)+ $($($part: $part_type::default(),)+)? }
            }
        }

        impl $crate::schema::Section for $name {
            fn name(&self) -> &'static str {
                $section
            }

            fn about(&self) -> String {
                $crate::schema::running(concat!($($about, "\n"),+))
            }

            fn keys(&self) -> Vec<$crate::schema::KeyInfo> {
                let standard = Self::default();
                vec![$($crate::schema::KeyInfo {
                    section: $section,
                    key: stringify!($key),
                    kind: <$kind as $crate::kinds::Kind>::NAME,
                    default: <$kind as $crate::kinds::Kind>::show(&standard.$key).to_string(),
                    range: section!(@range $kind $(, $low, $high)?),
                    example: section!(@example $($example)?),
                    docs: $crate::schema::running(concat!($($doc, "\n"),+)),
                    shape: <$kind as $crate::kinds::Kind>::SHAPE,
                },)+]
            }

            fn set(&mut self, key: &str, node: &$crate::node::Node) -> Result<(), $crate::kinds::Fault> {
                match key {
                    $(stringify!($key) => {
                        let value = <$kind as $crate::kinds::Kind>::read(node)?;
                        $($crate::kinds::within::<$kind>(node, &value, &$low, &$high)?;)?
                        self.$key = value;
                        Ok(())
                    })+
                    _ => Err($crate::kinds::Fault::new(node, "no key of this section", "remove it")),
                }
            }

            fn values(&self) -> Vec<(&'static str, toml::Value)> {
                vec![$((stringify!($key), <$kind as $crate::kinds::Kind>::show(&self.$key)),)+]
            }

            fn parts(&self) -> Vec<&dyn $crate::schema::Section> {
                vec![$($(&self.$part,)+)?]
            }

            fn parts_mut(&mut self) -> Vec<&mut dyn $crate::schema::Section> {
                vec![$($(&mut self.$part,)+)?]
            }
        }
    };
    (@range $kind:ty) => { None };
    (@range $kind:ty, $low:expr, $high:expr) => {
        Some((<$kind as $crate::kinds::Ranged>::bound(&$low), <$kind as $crate::kinds::Ranged>::bound(&$high)))
    };
    (@example) => { None };
    (@example $example:literal) => { Some($example) };
}
pub(crate) use section;

/// Makes an enum whose values are written as the given words, and its [`crate::kinds::Kind`].
macro_rules! choice {
    (
        $(#[doc = $about:literal])+
        $name:ident as $kind:literal {
            $( $(#[doc = $doc:literal])+ $(#[$default:ident])? $variant:ident = $word:literal, )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub enum $name {
            $( $(#[doc = $doc])+ $(#[$default])? $variant, )+
        }

        impl $name {
            /// The word that stands for it in the configuration.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl $crate::kinds::Kind for $name {
            type Of = $name;
            const NAME: &'static str = $kind;
            const SHAPE: $crate::node::Shape = $crate::node::Shape::Text;

            fn read(node: &$crate::node::Node) -> Result<Self, $crate::kinds::Fault> {
                match $crate::kinds::text_of(node) {
                    $(Some($word) => Ok(Self::$variant),)+
                    _ => Err($crate::kinds::Fault::new(
                        node,
                        &format!("{} is not one of the choices", node.describe()),
                        &format!("write one of {}", [$(concat!("\"", $word, "\"")),+].join(", ")),
                    )),
                }
            }

            fn show(value: &Self) -> toml::Value {
                toml::Value::String(value.as_str().to_owned())
            }
        }
    };
}
pub(crate) use choice;
