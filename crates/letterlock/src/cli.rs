//! The command line, as `--help` shows it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
    /// Read the password or the recovery key that opens the mailbox from standard input (first line)
    #[arg(long)]
    pub(crate) unlock_stdin: bool,
}

#[derive(Subcommand)]
pub(crate) enum DomainCommand {
    /// Make a domain local; its DKIM key is made and signing starts at once
    #[command(
        after_help = "Example:\n  letterlock domain add example.org --contact ann@example.org"
    )]
    Add {
        domain: String,
        /// Who gets mail for postmaster, abuse and the report addresses [default: the domain's first account]
        #[arg(long, value_name = "ADDRESS")]
        contact: Option<String>,
    },
    /// List the local domains
    #[command(after_help = "Example:\n  letterlock domain list --json")]
    List(#[command(flatten)] Format),
    /// Show one domain
    #[command(after_help = "Example:\n  letterlock domain show example.org")]
    Show {
        domain: String,
        #[command(flatten)]
        format: Format,
    },
    /// Forget a domain that has no accounts; its DKIM key is destroyed
    #[command(after_help = "Example:\n  letterlock domain remove example.org --yes")]
    Remove {
        domain: String,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Print the DNS records to publish
    #[command(after_help = "Example:\n  letterlock domain dns example.org")]
    Dns {
        domain: String,
        #[command(flatten)]
        format: Format,
    },
    /// Ask DNS for those records and say what is missing
    #[command(after_help = "Example:\n  letterlock domain check example.org")]
    Check {
        domain: String,
        #[command(flatten)]
        format: Format,
    },
}

#[derive(Subcommand)]
pub(crate) enum AccountCommand {
    /// Make an account; password and recovery key are printed once
    #[command(
        after_help = "Examples:\n  letterlock account add ann@example.org\n  letterlock account add ann@example.org --password-stdin < password.txt"
    )]
    Add {
        address: String,
        /// Read the password from standard input (first line) instead of making one
        #[arg(long)]
        password_stdin: bool,
        /// Let the server open this mailbox by itself (shared and machine mailboxes)
        #[arg(long)]
        server_held: bool,
        /// Display name
        #[arg(long)]
        name: Option<String>,
    },
    /// List accounts
    #[command(after_help = "Example:\n  letterlock account list --json")]
    List {
        /// Only those of this domain
        #[arg(long)]
        domain: Option<String>,
        #[command(flatten)]
        format: Format,
    },
    /// Show one account
    #[command(after_help = "Example:\n  letterlock account show ann@example.org")]
    Show {
        address: String,
        #[command(flatten)]
        format: Format,
    },
    /// Change display name or state
    #[command(
        after_help = "Example:\n  letterlock account set ann@example.org --name \"Ann Example\" --enabled true"
    )]
    Set {
        address: String,
        /// Display name; an empty one removes it
        #[arg(long)]
        name: Option<String>,
        /// Whether it may log in and gets mail
        #[arg(long)]
        enabled: Option<bool>,
    },
    /// Replace the password; needs the mailbox unlocked, or an old secret
    #[command(
        after_help = "Examples:\n  letterlock account password ann@example.org --password-stdin < new.txt\n  (cat recovery-key.txt new.txt) | letterlock account password ann@example.org --unlock-stdin --password-stdin"
    )]
    Password {
        address: String,
        /// Read the new password from standard input (first line, or second after --unlock-stdin) instead of making one
        #[arg(long)]
        password_stdin: bool,
        #[command(flatten)]
        unlock: Unlock,
        /// Give up all stored mail and start with an empty mailbox: for when no secret is left
        #[arg(long, conflicts_with = "unlock_stdin")]
        discard_mail: bool,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Make a new recovery key; the old one is void
    #[command(
        after_help = "Example:\n  letterlock account recovery ann@example.org --unlock-stdin < password.txt"
    )]
    Recovery {
        address: String,
        #[command(flatten)]
        unlock: Unlock,
    },
    /// End all sessions and forget the keys, at once
    #[command(after_help = "Example:\n  letterlock account lock ann@example.org")]
    Lock { address: String },
    /// Lock it, and refuse logins and new mail
    #[command(after_help = "Example:\n  letterlock account disable ann@example.org")]
    Disable { address: String },
    /// End all access at once: sessions, app passwords, logins
    #[command(after_help = "Example:\n  letterlock account offboard ann@example.org --yes")]
    Offboard {
        address: String,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Destroy the keys, then the mail
    #[command(after_help = "Example:\n  letterlock account remove ann@example.org --yes")]
    Remove {
        address: String,
        #[command(flatten)]
        confirm: Confirm,
    },
    /// List who is logged in
    #[command(after_help = "Example:\n  letterlock account sessions ann@example.org")]
    Sessions {
        address: String,
        #[command(flatten)]
        format: Format,
    },
    /// Credentials for single devices
    #[command(
        after_help = "Examples:\n  letterlock account app-password ann@example.org add --name phone\n  letterlock account app-password ann@example.org list\n  letterlock account app-password ann@example.org remove 3"
    )]
    AppPassword {
        address: String,
        #[command(subcommand)]
        command: AppPasswordCommand,
    },
}

#[derive(Subcommand)]
pub(crate) enum AppPasswordCommand {
    /// Make one; it is printed once
    #[command(
        after_help = "Example:\n  letterlock account app-password ann@example.org add --name phone"
    )]
    Add {
        /// What it is for
        #[arg(long)]
        name: String,
        #[command(flatten)]
        unlock: Unlock,
    },
    /// List them
    #[command(
        after_help = "Example:\n  letterlock account app-password ann@example.org list --json"
    )]
    List(#[command(flatten)] Format),
    /// Take one back
    #[command(after_help = "Example:\n  letterlock account app-password ann@example.org remove 3")]
    Remove {
        /// Its number in the list
        id: u32,
    },
}

#[derive(Subcommand)]
pub(crate) enum AliasCommand {
    /// Send mail for an address to others, here or elsewhere
    #[command(
        after_help = "Example:\n  letterlock alias add sales@example.org ann@example.org bob@example.net"
    )]
    Add {
        address: String,
        #[arg(required = true)]
        targets: Vec<String>,
    },
    /// List aliases
    #[command(after_help = "Example:\n  letterlock alias list --json")]
    List {
        /// Only those of this domain
        #[arg(long)]
        domain: Option<String>,
        #[command(flatten)]
        format: Format,
    },
    /// Forget an alias
    #[command(after_help = "Example:\n  letterlock alias remove sales@example.org")]
    Remove { address: String },
}

#[derive(Subcommand)]
pub(crate) enum QueueCommand {
    /// List messages under way, oldest first
    #[command(after_help = "Example:\n  letterlock queue list --json")]
    List {
        /// At most so many
        #[arg(long, default_value_t = 1000)]
        limit: usize,
        #[command(flatten)]
        format: Format,
    },
    /// Show one message with its recipients and what their servers last said
    #[command(after_help = "Example:\n  letterlock queue show 01JCX8K2M4T9V6W3Y5Z7A1B2C3")]
    Show {
        id: String,
        #[command(flatten)]
        format: Format,
    },
    /// Try now
    #[command(after_help = "Example:\n  letterlock queue retry 01JCX8K2M4T9V6W3Y5Z7A1B2C3")]
    Retry { id: String },
    /// Try no more until released
    #[command(after_help = "Example:\n  letterlock queue hold 01JCX8K2M4T9V6W3Y5Z7A1B2C3")]
    Hold { id: String },
    /// End a hold
    #[command(after_help = "Example:\n  letterlock queue release 01JCX8K2M4T9V6W3Y5Z7A1B2C3")]
    Release { id: String },
    /// Drop the message without telling its sender
    #[command(after_help = "Example:\n  letterlock queue cancel 01JCX8K2M4T9V6W3Y5Z7A1B2C3 --yes")]
    Cancel {
        id: String,
        #[command(flatten)]
        confirm: Confirm,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every command that does something shows an example in its help.
    #[test]
    fn every_command_has_an_example() {
        fn visit(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands() {
                let path = format!("{path} {}", sub.get_name());
                if sub.get_subcommands().next().is_none() {
                    let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                    assert!(help.contains("Example"), "{path}");
                }
                visit(sub, &path);
            }
        }
        visit(&Cli::command(), "letterlock");
    }
}
