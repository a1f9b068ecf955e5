//! The octets of messages: read to their end whatever is wrong with them, then judged as a whole.

use jiff::Timestamp;
use letterlock_queue::BodyType;
use letterlock_smtp_wire::data::{
    BdatReader, DataFault, DataReader, DataState, LineRule, Summary, has_bare_newline,
};
use letterlock_smtp_wire::{EnhancedCode, Reply, header, standard};
use tokio::time::timeout;

use super::{After, Driver, Ended, read_some};
use crate::retry::{Facts, Retries, Unread, is_one_of_a_kind};
use crate::service::{Received, Service};
use crate::session::Envelope;
use crate::spool::Spool;

/// Octets from which on hashing takes longer than an async worker may be kept.
const LONG: usize = 256 * 1024;

impl<S: Service> Driver<'_, S> {
    /// DATA: reads until the dot whatever is wrong, so that both sides agree on what follows.
    pub(super) async fn data(&mut self) -> Result<Option<After>, Ended> {
        let connection = self.service.connection();
        let mut reader = DataReader::new(connection.rules.message_size);
        let mut spool = Spool::new(connection.spool.clone());
        let mut broken = false;
        loop {
            let progress = reader.feed(&self.input, spool.buffer());
            let _ = self.input.split_to(progress.consumed);
            broken |= store(&mut spool, broken).await;
            if progress.state == DataState::Done {
                break;
            }
            self.read_data().await?;
        }
        self.whole(reader.summary(), spool, broken).await
    }

    /// BDAT: exactly `size` octets (RFC 3030 §2).
    pub(super) async fn chunk(
        &mut self,
        size: u64,
        last: bool,
        binary: bool,
    ) -> Result<Option<After>, Ended> {
        let connection = self.service.connection();
        let (mut reader, mut spool) = self.chunks.take().unwrap_or_else(|| {
            let rule = if binary { LineRule::Binary } else { LineRule::Crlf };
            let reader = BdatReader::new(connection.rules.message_size, rule);
            (reader, Spool::new(connection.spool.clone()))
        });
        let mut broken = false;
        reader.chunk(size, last);
        loop {
            let progress = reader.feed(&self.input, spool.buffer());
            let _ = self.input.split_to(progress.consumed);
            broken |= store(&mut spool, broken).await;
            if progress.state == DataState::Done {
                break;
            }
            self.read_data().await?;
        }
        if last {
            return self.whole(reader.summary(), spool, broken).await;
        }
        match reader.summary().fault {
            None if !broken => {
                self.chunks = Some((reader, spool));
                self.queue(&standard::chunk_ok());
                Ok(None)
            }
            fault => {
                self.session.chunk_failed(last);
                self.transaction = None;
                Ok(self.refuse(fault))
            }
        }
    }

    /// Everything of the message is here.
    async fn whole(
        &mut self,
        summary: Summary,
        spool: Spool,
        broken: bool,
    ) -> Result<Option<After>, Ended> {
        let (envelope, transaction) = (self.session.take_envelope(), self.transaction.take());
        let (Some(envelope), Some(transaction)) = (envelope, transaction) else {
            return Ok(self.conclude(standard::bad_sequence()));
        };
        if broken || summary.fault.is_some() {
            return Ok(self.refuse(summary.fault));
        }
        // RFC 5321 §4.5.2 and RFC 5322 §4 have no place for NUL; who means it says BINARYMIME.
        if summary.nul && !envelope.is_binary() {
            return Ok(self.conclude(nul_in_message()));
        }
        let body = match spool.finish().await {
            Ok(body) => body,
            Err(error) => {
                tracing::error!(%error, "cannot read back a message from its temporary file");
                return Ok(self.conclude(standard::try_later()));
            }
        };
        // In a field, what is a line end to one reader and none to another would hide a second author (RFC 3030 §3 frees
        // bodies only).
        let head = &body[..header::body_start(&body)];
        if envelope.is_binary() && (has_bare_newline(head) || head.contains(&0)) {
            return Ok(self.conclude(header_not_lines()));
        }
        let body_type = body_type(&summary, &envelope, &body);
        let message = Received { envelope, body, body_type };
        let reply = self.once(transaction, message).await;
        Ok(self.conclude(reply))
    }

    /// Hands the message over, unless it was accepted before and its client never knew.
    async fn once(&mut self, transaction: S::Transaction, message: Received) -> Reply {
        let retries = self.service.connection().retries.clone();
        let Some(retries) = retries.filter(|_| is_one_of_a_kind(&message.body)) else {
            return self.service.message(&self.client, transaction, message).await;
        };
        let (hash, message) = match self.hashed(&retries, message).await {
            Ok(hashed) => hashed,
            Err(reply) => return reply,
        };
        let reply = if retries.take(&hash, Timestamp::now()) {
            tracing::info!(ip = %self.client.ip, from = %message.envelope.reverse_path, "accepted before, and the reply was lost");
            standard::accepted_before()
        } else {
            self.service.message(&self.client, transaction, message).await
        };
        if reply.is_success() {
            self.unread = Some(Unread::new(retries, hash));
        }
        reply
    }

    async fn hashed(
        &self,
        retries: &Retries,
        message: Received,
    ) -> Result<([u8; 32], Received), Reply> {
        let ip = self.client.ip;
        let account = self.client.login.as_ref().map(|login| login.account.id);
        let hash = move |retries: &Retries, message: &Received| {
            let (envelope, body) = (&message.envelope, &message.body[..]);
            retries.hash(Facts { ip, account, envelope, body })
        };
        if message.body.len() < LONG {
            return Ok((hash(retries, &message), message));
        }
        let retries = retries.clone();
        tokio::task::spawn_blocking(move || (hash(&retries, &message), message))
            .await
            .map_err(|_| standard::try_later())
    }

    /// The reply to a message, which may be one refusal too many.
    fn conclude(&mut self, reply: Reply) -> Option<After> {
        let action = self.session.outcome(reply);
        self.answer(action)
    }

    /// Says why the data cannot be taken; without a fault the reason is on our side.
    fn refuse(&mut self, fault: Option<DataFault>) -> Option<After> {
        match fault {
            None => self.conclude(standard::disk_full()),
            Some(DataFault::TooBig) => self.conclude(standard::message_too_big()),
            Some(DataFault::BareNewline) => Some(self.part(&standard::bare_newline())),
        }
    }

    /// Reads octets that nobody wants.
    pub(super) async fn skip(&mut self, size: u64) -> Result<(), Ended> {
        let mut left = size;
        loop {
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.input.len());
            let _ = self.input.split_to(here);
            left -= here as u64;
            if left == 0 {
                return Ok(());
            }
            self.read_data().await?;
        }
    }

    async fn read_data(&mut self) -> Result<(), Ended> {
        self.flush().await?;
        let patience = self.service.connection().data_timeout;
        timeout(patience, read_some(&mut self.stream, &mut self.input))
            .await
            .map_err(|_| Ended::Silent)?
    }
}

/// What the message is, by its octets: who announces BINARYMIME often sends ordinary lines, which every server takes.
fn body_type(summary: &Summary, envelope: &Envelope, body: &[u8]) -> BodyType {
    if envelope.is_binary() && (summary.nul || has_bare_newline(body)) {
        BodyType::Binary
    } else if summary.eight_bit {
        BodyType::EightBit
    } else {
        BodyType::SevenBit
    }
}

fn nul_in_message() -> Reply {
    Reply::new(554, EnhancedCode::new(5, 6, 0), "NUL is allowed in binary messages only")
}

fn header_not_lines() -> Reply {
    Reply::new(554, EnhancedCode::new(5, 6, 0), "The lines of the header must end in CR LF")
}

/// Moves what was received out of memory where that is due; true if it cannot be kept.
async fn store(spool: &mut Spool, broken: bool) -> bool {
    if broken {
        spool.buffer().clear();
        return true;
    }
    match spool.settle().await {
        Ok(()) => false,
        Err(error) => {
            tracing::error!(%error, "cannot hold a message in a temporary file");
            true
        }
    }
}
