//! `letterlock queue …`

use std::path::Path;

use letterlock_admin::{QueueRequest, Request, Response, SuppressionRequest};

use super::{carry_out, confirm};
use crate::Failure;
use crate::cli::{Format, QueueCommand, SuppressedCommand};
use crate::listing::Listing;
use crate::render::{self, Style};

/// Carries out a subcommand.
pub(crate) fn run(config: &Path, command: QueueCommand) -> Result<(), Failure> {
    let (request, style) = match command {
        QueueCommand::Suppressed(command) => return suppressed(config, command),
        QueueCommand::List { limit, format } => return list(config, limit, format.into()),
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

/// `letterlock queue list`: page by page, so that a long queue is in nobody's memory.
fn list(config: &Path, limit: Option<usize>, style: Style) -> Result<(), Failure> {
    let (mut left, mut after) = (limit.unwrap_or(usize::MAX), None);
    let mut listing = Listing::new(style);
    loop {
        let request = QueueRequest::List { limit: left, after };
        let Response::Queue(page) = carry_out(config, Request::Queue(request))? else {
            return Err(anyhow::anyhow!("the server answered something else").into());
        };
        left = left.saturating_sub(page.rows.len());
        if !listing.page(&page.rows)? {
            return Ok(());
        }
        after = page.next;
        if after.is_none() || left == 0 {
            return listing.end();
        }
    }
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
