//! Messages under way.

use jiff::Timestamp;
use letterlock_queue::{Filter, QueueError, Shown, ShownRow, Subject, Summary};
use letterlock_state::Event;
use letterlock_vault::DeliveryId;

use crate::{
    Admin, AdminError, QueueDetails, QueuePage, QueueRequest, QueueRow, RecipientRow, Response,
};

/// Messages in one answer: who asks for more gets them page by page, so that neither side holds a long list.
const PAGE: usize = 1_000;

impl Admin {
    /// Carries out `queue …`.
    pub(crate) async fn queue(&self, request: QueueRequest) -> Result<Response, AdminError> {
        let now = Timestamp::now();
        match request {
            QueueRequest::List { limit, after } => {
                let limit = limit.min(PAGE);
                let listed = self.queue.list(Filter::default(), after, limit).await?;
                let full = limit > 0 && listed.len() == limit;
                let next = listed.last().filter(|_| full).map(|summary| summary.entry);
                Ok(Response::Queue(QueuePage { rows: listed.iter().map(row).collect(), next }))
            }
            QueueRequest::Show { id } => {
                let id = parse_id(&id)?;
                let shown = self.queue.show(id).await?.ok_or(QueueError::NoSuchMessage(id))?;
                Ok(Response::Entry(details(&shown)))
            }
            QueueRequest::Retry { id } => {
                let count = self.queue.retry(Subject::Message(parse_id(&id)?), now).await?;
                Ok(done(count, "tried now"))
            }
            QueueRequest::Hold { id } => {
                let id = parse_id(&id)?;
                let count = self.queue.hold(Subject::Message(id)).await?;
                self.tell(id, count, now, Event::Held { reason: "an operator said so".into() });
                Ok(done(count, "held"))
            }
            QueueRequest::Release { id } => {
                let id = parse_id(&id)?;
                let count = self.queue.release(Subject::Message(id), now).await?;
                self.tell(id, count, now, Event::Released);
                Ok(done(count, "released"))
            }
            QueueRequest::Cancel { id } => {
                let id = parse_id(&id)?;
                let count = self.queue.cancel(Subject::Message(id)).await?;
                self.tell(id, count, now, Event::Cancelled);
                Ok(done(count, "cancelled"))
            }
        }
    }

    /// Tells the trace what an operator did, if it concerned anybody.
    fn tell(&self, id: DeliveryId, count: usize, now: Timestamp, event: Event) {
        if count > 0 {
            self.state.record(id, now, event);
        }
    }
}

fn parse_id(id: &str) -> Result<DeliveryId, AdminError> {
    id.parse().map_err(|_| {
        AdminError::Invalid(format!(
            "{id:?} is not the id of a message: `letterlock queue list` shows them"
        ))
    })
}

fn done(count: usize, what: &str) -> Response {
    let recipients = if count == 1 { "recipient" } else { "recipients" };
    Response::Done(format!("{count} {recipients} {what}"))
}

fn row(summary: &Summary) -> QueueRow {
    let live = summary.states.iter().filter(|(state, _)| state.is_live());
    QueueRow {
        id: summary.id.to_string(),
        received: summary.received_at.to_string(),
        from: summary.reverse_path.as_ref().map(ToString::to_string),
        recipients: live.map(|(_, count)| count).sum(),
        states: summary.states.keys().map(ToString::to_string).collect(),
        next_attempt: summary.next_attempt.map(|at| at.to_string()),
    }
}

fn details(shown: &Shown) -> QueueDetails {
    QueueDetails { row: row(&shown.summary), details: shown.rows.iter().map(recipient).collect() }
}

fn recipient(row: &ShownRow) -> RecipientRow {
    RecipientRow {
        address: row.address.to_string(),
        state: row.state.to_string(),
        attempts: row.attempts,
        next_attempt: row.next_attempt.map(|at| at.to_string()),
        last_reply: row.last_reply.clone(),
        security: row.security.clone(),
    }
}
