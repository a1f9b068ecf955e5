//! Aliases.

use jiff::Timestamp;
use letterlock_directory::{Alias, AliasSource};

use crate::domain::{parse_address, parse_domain};
use crate::{Admin, AdminError, AliasRequest, AliasRow, Response};

impl Admin {
    /// Carries out `alias …`.
    pub(crate) async fn alias(&self, request: AliasRequest) -> Result<Response, AdminError> {
        match request {
            AliasRequest::Add { address, targets } => {
                let source = parse_source(&address)?;
                let targets = targets.iter().map(|target| parse_address(target)).collect::<Result<
                    Vec<_>,
                    _,
                >>(
                )?;
                self.directory.add_alias(source.clone(), targets, Timestamp::now()).await?;
                // It may be the domain's postmaster.
                self.adopt_waiting(source.domain()).await;
                Ok(Response::Done(format!("mail for {source} goes to its targets now")))
            }
            AliasRequest::List { domain } => {
                let domain = domain.as_deref().map(parse_domain).transpose()?;
                let snapshot = self.directory.snapshot();
                let wanted = |alias: &&std::sync::Arc<Alias>| {
                    domain.as_ref().is_none_or(|d| alias.source.domain() == d)
                };
                let mut rows: Vec<AliasRow> =
                    snapshot.aliases().filter(wanted).map(|alias| row(alias)).collect();
                rows.sort_by(|a, b| a.address.cmp(&b.address));
                Ok(Response::Aliases(rows))
            }
            AliasRequest::Remove { address } => {
                let source = parse_source(&address)?;
                self.directory.remove_alias(source.clone(), None).await?;
                Ok(Response::Done(format!("alias {source} removed")))
            }
        }
    }
}

/// An address, or `@domain` for all that are nobody's.
fn parse_source(text: &str) -> Result<AliasSource, AdminError> {
    AliasSource::parse(text).map_err(|error| {
        AdminError::Invalid(format!("{text:?} is neither an address nor @domain: {error}"))
    })
}

fn row(alias: &Alias) -> AliasRow {
    AliasRow {
        address: alias.source.to_string(),
        targets: alias.targets.iter().map(ToString::to_string).collect(),
    }
}
