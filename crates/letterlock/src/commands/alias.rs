//! `letterlock alias …`

use std::path::Path;

use letterlock_admin::{AliasRequest, Request};

use super::carry_out;
use crate::Failure;
use crate::cli::AliasCommand;
use crate::render::{self, Style};

/// Carries out a subcommand.
pub(crate) fn run(config: &Path, command: AliasCommand) -> Result<(), Failure> {
    let (request, style) = match command {
        AliasCommand::Add { address, targets } => {
            (AliasRequest::Add { address, targets }, Style::TEXT)
        }
        AliasCommand::List { domain, format } => (AliasRequest::List { domain }, format.into()),
        AliasCommand::Remove { address } => (AliasRequest::Remove { address }, Style::TEXT),
    };
    render::response(carry_out(config, Request::Alias(request))?, style)
}
