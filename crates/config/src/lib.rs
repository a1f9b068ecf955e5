//! The one settings tree of Letterlock: what an operator may set, its unit, range and default.
//!
//! [`Settings::load`] reads a TOML file and the `LETTERLOCK_…` variables of the environment, and either gives a checked
//! tree or a [`ConfigError`] that names for each mistake the file, line, column, key, what was found and how to mend it.
//!
//! Each fact about a key stands once, in `sections.rs`: the same lines give the Rust struct and its documentation,
//! [`Settings::default`], the page made by [`reference()`] and the file made by [`annotated_example()`].
//!
//! What it does not do: it opens no certificate, resolves no name and binds no port (it only looks whether files that are
//! named exist). What operators change daily (domains, accounts, aliases) is in the directory and not here.

mod capabilities;
mod check;
mod error;
mod hosts;
mod kinds;
mod load;
mod nearest;
mod node;
mod page;
mod schema;
mod sections;
mod units;

pub use capabilities::{IMAP_CAPABILITIES, UnknownCapability, imap_capability};
pub use error::{ConfigError, Place, Problem};
pub use page::{annotated_example, reference};
pub use schema::KeyInfo;
pub use sections::{
    Auth, Dns, Dnssec, Downgrade, Imap, Inbound, Limits, Listen, Log, LogAddresses, LogFormat,
    MtaSts, Outbound, Proxy, Retention, Settings, StsMode, Tls,
};
pub use units::{format_duration, format_size, parse_duration, parse_size};

/// Each key of the settings tree, in the order of the reference page.
pub fn keys() -> Vec<KeyInfo> {
    schema::all_keys(&Settings::default())
}
