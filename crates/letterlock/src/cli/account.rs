//! `letterlock account …`

use clap::{Args, Subcommand, ValueEnum};
use letterlock_admin::{AccountChange, Disabled, Quota};

use super::{Confirm, Format, Unlock};

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
        /// How many messages it may hold, sealed ones included: a number, or none [default: none]
        #[arg(long, value_name = "NUMBER", value_parser = quota_messages)]
        quota_messages: Option<Quota>,
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
    /// Change display name, quota, state or what IMAP offers it
    #[command(
        after_help = "Examples:\n  letterlock account set ann@example.org --name \"Ann Example\" --enabled true\n  letterlock account set ann@example.org --quota 5GiB --quota-messages 100000\n  letterlock account set ann@example.org --disable-capability QRESYNC COMPRESS=DEFLATE --enable-capability SORT"
    )]
    Set {
        address: String,
        #[command(flatten)]
        settings: Settings,
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

/// What `account set` can set; at least one of them.
#[derive(Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Settings {
    /// Display name; an empty one removes it
    #[arg(long)]
    name: Option<String>,
    /// Whether it may log in and gets mail
    #[arg(long)]
    enabled: Option<bool>,
    /// How much mail it may hold: a size such as 500MiB, or none
    #[arg(long, value_name = "SIZE", value_parser = quota)]
    quota: Option<Quota>,
    /// How many messages it may hold: a number, or none
    #[arg(long, value_name = "NUMBER", value_parser = quota_messages)]
    quota_messages: Option<Quota>,
    /// IMAP capabilities that its next sessions are not offered, for a mail program that trips over one of them
    #[arg(long, value_name = "NAME", num_args = 1..)]
    disable_capability: Vec<String>,
    /// Offer them again
    #[arg(long, value_name = "NAME", num_args = 1..)]
    enable_capability: Vec<String>,
}

impl From<Settings> for AccountChange {
    fn from(settings: Settings) -> AccountChange {
        AccountChange {
            name: settings.name,
            enabled: settings.enabled,
            quota: settings.quota,
            quota_messages: settings.quota_messages,
            disable_capabilities: settings.disable_capability,
            enable_capabilities: settings.enable_capability,
        }
    }
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
            .map(Quota::Most)
            .ok_or_else(|| "write a size such as 500MiB or 5GiB, or none".to_owned()),
    }
}

/// Reads a number of messages or `none`.
fn quota_messages(text: &str) -> Result<Quota, String> {
    match text {
        "none" => Ok(Quota::Unlimited),
        number => number
            .parse()
            .map(Quota::Most)
            .map_err(|_| "write a number of messages such as 100000, or none".to_owned()),
    }
}
