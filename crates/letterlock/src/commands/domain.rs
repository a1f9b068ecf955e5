//! `letterlock domain …`

use std::path::Path;

use letterlock_admin::{DomainRequest, Request};

use super::{carry_out, confirm};
use crate::Failure;
use crate::cli::DomainCommand;
use crate::render::{self, Style};

/// Carries out a subcommand.
pub(crate) fn run(config: &Path, command: DomainCommand) -> Result<(), Failure> {
    let (request, style) = match command {
        DomainCommand::Add { domain, contact } => {
            (DomainRequest::Add { domain, contact }, Style::TEXT)
        }
        DomainCommand::List(format) => (DomainRequest::List, format.into()),
        DomainCommand::Show { domain, format } => (DomainRequest::Show { domain }, format.into()),
        DomainCommand::Remove { domain, confirm: sure } => {
            confirm(&format!("{domain} and its DKIM key will be gone"), sure.yes)?;
            (DomainRequest::Remove { domain }, Style::TEXT)
        }
        DomainCommand::Dns { domain, format } => (DomainRequest::Dns { domain }, format.into()),
        DomainCommand::Check { domain, format } => (DomainRequest::Check { domain }, format.into()),
    };
    render::response(carry_out(config, Request::Domain(request))?, style)
}
