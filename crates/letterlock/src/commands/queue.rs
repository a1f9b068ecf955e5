//! `letterlock queue …`

use std::path::Path;

use letterlock_admin::{QueueRequest, Request, SuppressionRequest};

use super::{carry_out, confirm};
use crate::Failure;
use crate::cli::{Format, QueueCommand, SuppressedCommand};
use crate::render::{self, Style};

/// Carries out a subcommand.
pub(crate) fn run(config: &Path, command: QueueCommand) -> Result<(), Failure> {
    let (request, style) = match command {
        QueueCommand::Suppressed(command) => return suppressed(config, command),
        QueueCommand::List { limit, format } => (QueueRequest::List { limit }, format.into()),
        QueueCommand::Show { id, format } => (QueueRequest::Show { id }, format.into()),
        QueueCommand::Retry { id } => (QueueRequest::Retry { id }, Style::TEXT),
        QueueCommand::Hold { id } => (QueueRequest::Hold { id }, Style::TEXT),
        QueueCommand::Release { id } => (QueueRequest::Release { id }, Style::TEXT),
        QueueCommand::Cancel { id, confirm: sure } => {
            confirm(
                &format!("message {id} will be dropped, its sender will not be told"),
                sure.yes,
            )?;
            (QueueRequest::Cancel { id }, Style::TEXT)
        }
    };
    render::response(carry_out(config, Request::Queue(request))?, style)
}

/// `letterlock queue suppressed …`
fn suppressed(config: &Path, command: SuppressedCommand) -> Result<(), Failure> {
    let (request, style) = match command {
        SuppressedCommand::List { format } => (SuppressionRequest::List, format.into()),
        SuppressedCommand::Remove { address } => {
            (SuppressionRequest::Remove { address }, Style::TEXT)
        }
    };
    render::response(carry_out(config, Request::Suppression(request))?, style)
}

/// `letterlock trace`
pub(crate) fn trace(config: &Path, id: String, format: Format) -> Result<(), Failure> {
    render::response(carry_out(config, Request::Trace { id })?, format.into())
}
