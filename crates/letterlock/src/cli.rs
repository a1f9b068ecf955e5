//! The command line, as `--help` shows it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use letterlock_admin::{Disabled, Quota};

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
    /// Whoever keeps the private half can open every user-held mailbox with --unlock-stdin, once [auth]
    /// organisation_key names FILE and the mailbox was unlocked since.
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
        after_help = "Examples:\n  letterlock account add ann@example.org --quota 5GiB\n  letterlock account add ann@example.org --password-stdin < password.txt"
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
        /// How much mail it may hold, sealed mail that waits for its owner included: a size such as 500MiB, or none
        /// [default: none]
        #[arg(long, value_name = "SIZE", value_parser = quota)]
        quota: Option<Quota>,
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
    /// Change display name, quota or state
    #[command(
        after_help = "Examples:\n  letterlock account set ann@example.org --name \"Ann Example\" --enabled true\n  letterlock account set ann@example.org --quota 5GiB"
    )]
    Set {
        address: String,
        /// Display name; an empty one removes it
        #[arg(long)]
        name: Option<String>,
        /// Whether it may log in and gets mail
        #[arg(long)]
        enabled: Option<bool>,
        /// How much mail it may hold: a size such as 500MiB, or none
        #[arg(long, value_name = "SIZE", value_parser = quota)]
        quota: Option<Quota>,
    },
    /// Replace the password and keep all mail; needs the mailbox unlocked, or any secret that opens it
    ///
    /// A forgotten password is replaced with the recovery key or the organisation's private key.
    #[command(
        after_help = "Examples:\n  letterlock account password ann@example.org --password-stdin < new.txt\n  cat recovery-key.txt new.txt | letterlock account password ann@example.org --unlock-stdin --password-stdin"
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
    /// Give the mailbox new keys; all mail stays
    ///
    /// The file is rewritten under a new data key while sessions go on, and mail is sealed to a new pair. After a
    /// credential has leaked use --new-account-key: then app passwords and the recovery key are void, the new recovery
    /// key is printed, and the password stays only if it was given with --unlock-stdin (otherwise a new one is taken
    /// or made).
    #[command(
        after_help = "Examples:\n  letterlock account rotate ann@example.org\n  letterlock account rotate ann@example.org --new-account-key --unlock-stdin < password.txt"
    )]
    Rotate {
        address: String,
        /// Make all credentials void but the password
        #[arg(long)]
        new_account_key: bool,
        /// Read a new password from standard input (first line, or second after --unlock-stdin)
        #[arg(long, requires = "new_account_key")]
        password_stdin: bool,
        #[command(flatten)]
        unlock: Unlock,
    },
    /// End all sessions and forget the keys, at once
    #[command(after_help = "Example:\n  letterlock account lock ann@example.org")]
    Lock { address: String },
    /// Lock it, refuse logins, and refuse, defer or discard new mail
    #[command(after_help = "Example:\n  letterlock account disable ann@example.org --mail defer")]
    Disable {
        address: String,
        /// What happens to mail for it
        #[arg(long, value_enum, default_value_t = MailWhileDisabled::Refuse)]
        mail: MailWhileDisabled,
    },
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
    /// Send mail for an address to others, here or elsewhere; for @domain, all that is nobody's there
    #[command(
        after_help = "Examples:\n  letterlock alias add sales@example.org ann@example.org bob@example.net\n  letterlock alias add @example.org ann@example.org"
    )]
    Add {
        /// An address, or @domain for a catch-all
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
    /// Addresses elsewhere that are gone and not written to
    #[command(subcommand)]
    Suppressed(SuppressedCommand),
    /// Drop the message without telling its sender
    #[command(after_help = "Example:\n  letterlock queue cancel 01JCX8K2M4T9V6W3Y5Z7A1B2C3 --yes")]
    Cancel {
        id: String,
        #[command(flatten)]
        confirm: Confirm,
    },
}

#[derive(Subcommand)]
pub(crate) enum SuppressedCommand {
    /// List them, with what their servers said
    #[command(after_help = "Example:\n  letterlock queue suppressed list --json")]
    List {
        #[command(flatten)]
        format: Format,
    },
    /// Write to an address again
    #[command(after_help = "Example:\n  letterlock queue suppressed remove ann@example.net")]
    Remove { address: String },
}

/// What a disabled account does with mail.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum MailWhileDisabled {
    /// 4xx: senders try again
    Defer,
    /// 5xx: senders learn of it
    Refuse,
    /// Accepted and dropped: nobody learns of it
    Discard,
}

impl From<MailWhileDisabled> for Disabled {
    fn from(mail: MailWhileDisabled) -> Disabled {
        match mail {
            MailWhileDisabled::Defer => Disabled::Defer,
            MailWhileDisabled::Refuse => Disabled::Refuse,
            MailWhileDisabled::Discard => Disabled::Discard,
        }
    }
}

/// Reads a size or `none`.
fn quota(text: &str) -> Result<Quota, String> {
    match text {
        "none" => Ok(Quota::Unlimited),
        size => letterlock_config::parse_size(size)
            .map(Quota::Octets)
            .ok_or_else(|| "write a size such as 500MiB or 5GiB, or none".to_owned()),
    }
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
