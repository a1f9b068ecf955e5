//! `letterlock domain …` and `letterlock alias …`

use clap::Subcommand;

use super::{Confirm, Format};

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
