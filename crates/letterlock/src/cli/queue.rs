//! `letterlock queue …`

use clap::Subcommand;

use super::{Confirm, Format};

#[derive(Subcommand)]
pub(crate) enum QueueCommand {
    /// List messages under way, oldest first
    #[command(after_help = "Example:\n  letterlock queue list --json")]
    List {
        /// At most so many; without it, all
        #[arg(long)]
        limit: Option<usize>,
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
