//! The command line, as `--help` shows it: what all commands share, and the first word. The others are apart, by
//! subject.

mod account;
mod names;
mod queue;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use account::{AccountCommand, AppPasswordCommand};
pub(crate) use names::{AliasCommand, DomainCommand};
pub(crate) use queue::{QueueCommand, SuppressedCommand};

/// Where the configuration is when nothing is said.
pub(crate) const DEFAULT_CONFIG: &str = "/etc/letterlock/letterlock.toml";

/// A mail server whose mailboxes nobody but their owner can read.
#[derive(Parser)]
#[command(version, max_term_width = 100, after_help = "Try it: letterlock serve --local")]
pub(crate) struct Cli {
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE", env = "LETTERLOCK_CONFIG", default_value = DEFAULT_CONFIG)]
    pub(crate) config: PathBuf,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the server: SIGTERM drains and stops it, SIGHUP reloads certificates
    #[command(
        after_help = "Examples:\n  letterlock serve --config /etc/letterlock/letterlock.toml\n  letterlock serve --local"
    )]
    Serve {
        /// Try it out: loopback only, standard ports + 2000, an account demo@example.test
        #[arg(long)]
        local: bool,
        /// With --local: where to keep the data
        #[arg(long, value_name = "DIR", requires = "local")]
        data: Option<PathBuf>,
    },
    /// Check, show or explain the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Local domains and their DNS records
    #[command(subcommand)]
    Domain(DomainCommand),
    /// Accounts: mailboxes, passwords, keys, sessions
    #[command(subcommand)]
    Account(AccountCommand),
    /// Addresses that lead to other addresses
    #[command(subcommand)]
    Alias(AliasCommand),
    /// Messages under way
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Tell in words what happened to a message, and why
    #[command(
        after_help = "The id stands in the reply that the sender got, in the log and in `letterlock queue list`; its \
                      beginning will do.\n\nExample:\n  letterlock trace 01JCX8K2M4T9V6W3Y5Z7A1B2C3"
    )]
    Trace {
        id: String,
        #[command(flatten)]
        format: Format,
    },
    /// Check all files, or those of one account: hashes, structure, and whether they agree
    ///
    /// Works beside a running server. Of a locked mailbox only the hashes can be checked. Exits with 1 if something is
    /// wrong.
    #[command(
        after_help = "Examples:\n  letterlock verify\n  letterlock verify ann@example.org --json\n  letterlock verify --repair"
    )]
    Verify {
        /// Only this account's
        address: Option<String>,
        /// Mend what can be mended without losing mail that can be read
        #[arg(long)]
        repair: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Make the organisation's key pair: the public half into FILE, the private half printed once
    ///
    /// Whoever keeps the private half can open every user-held mailbox with --unlock-stdin, once
    /// `organisation_key` in `[auth]` names FILE and the mailbox was unlocked since.
    #[command(
        after_help = "Example:\n  letterlock organisation-key /etc/letterlock/organisation.key > private-half.txt"
    )]
    OrganisationKey {
        /// The file to make
        file: PathBuf,
    },
    /// Exit with 0 if the server of this configuration is up
    #[command(after_help = "Example:\n  letterlock healthcheck && echo up")]
    Healthcheck,
}

#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say what is wrong with the configuration, if anything
    #[command(after_help = "Example:\n  letterlock config check --config ./letterlock.toml")]
    Check,
    /// Print the settings in force, defaults and environment included
    #[command(after_help = "Example:\n  letterlock config show")]
    Show {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the reference of all settings (Markdown)
    #[command(after_help = "Example:\n  letterlock config reference | less")]
    Reference,
}

/// For commands that list things.
#[derive(Args, Clone, Copy)]
pub(crate) struct Format {
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// For commands that destroy something.
#[derive(Args, Clone, Copy)]
pub(crate) struct Confirm {
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

/// For commands that need the key of a mailbox.
#[derive(Args, Clone, Copy)]
pub(crate) struct Unlock {
    /// Read what opens the mailbox from standard input (first line): password, app password, recovery key or the
    /// organisation's private key
    #[arg(long)]
    pub(crate) unlock_stdin: bool,
}
