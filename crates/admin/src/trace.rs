//! What is remembered of messages and of addresses elsewhere.

use jiff::Timestamp;
use letterlock_address::Mailbox;
use letterlock_state::Suppression;
use letterlock_vault::DeliveryId;

use crate::{Admin, AdminError, Response, SuppressionRequest, SuppressionRow, TraceLine, TraceOf};

/// How many messages are looked for whose ids begin alike; more than one is an error already.
const ALIKE: u32 = 2;

impl Admin {
    /// Carries out `trace`.
    pub(crate) async fn trace(&self, asked: &str) -> Result<Response, AdminError> {
        let id = self.traced(asked).await?;
        let events = self.state.trace(id).await?;
        if events.is_empty() {
            return Err(unknown(asked));
        }
        let line = |(at, event): &(Timestamp, letterlock_state::Event)| TraceLine {
            at: at.to_string(),
            what: event.explain(),
        };
        Ok(Response::Trace(TraceOf {
            id: id.to_string(),
            lines: events.iter().map(line).collect(),
        }))
    }

    async fn traced(&self, asked: &str) -> Result<DeliveryId, AdminError> {
        if let Ok(id) = asked.parse() {
            return Ok(id);
        }
        match self.state.find(asked, ALIKE).await?.as_slice() {
            [id] => Ok(*id),
            [] => Err(unknown(asked)),
            _ => Err(AdminError::Invalid(format!(
                "several messages have ids that begin with {asked:?}: give more of it"
            ))),
        }
    }

    /// Carries out `queue suppressed …`.
    pub(crate) async fn suppression(
        &self,
        request: SuppressionRequest,
    ) -> Result<Response, AdminError> {
        match request {
            SuppressionRequest::List => {
                let held = self.state.suppressions(Timestamp::now());
                Ok(Response::Suppressed(held.iter().map(row).collect()))
            }
            SuppressionRequest::Remove { address } => {
                let parsed = Mailbox::parse(&address)
                    .map_err(|error| AdminError::Invalid(format!("{address:?}: {error}")))?;
                if self.state.unsuppress(&parsed).await? {
                    Ok(Response::Done(format!("{address} is written to again")))
                } else {
                    Err(AdminError::NotFound(format!("{address} is not suppressed")))
                }
            }
        }
    }
}

fn row(held: &Suppression) -> SuppressionRow {
    SuppressionRow {
        address: held.address.to_string(),
        reason: held.reason.clone(),
        since: held.since.to_string(),
        until: held.until.to_string(),
    }
}

fn unknown(asked: &str) -> AdminError {
    AdminError::NotFound(format!(
        "nothing is remembered of a message {asked:?}: its reply and the log name its id, and \
         [retention] trace says how long it is remembered"
    ))
}
