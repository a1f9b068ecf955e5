//! How much an account may send, and how often a stranger may guess at recipients.

use std::net::IpAddr;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use letterlock_config::Limits;

use crate::ban::Bans;
use crate::source::Source;
use crate::tally::{Tallies, Window};
use crate::{Account, Guard, Reason, Refusal};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// What is counted of one account over one length of time.
#[derive(Debug)]
struct Cap {
    messages: Window<Account>,
    recipients: Window<Account>,
}

impl Cap {
    fn new(messages: u32, recipients: u32, length: Duration) -> Cap {
        Cap { messages: Window::new(messages, length), recipients: Window::new(recipients, length) }
    }

    fn has_room(&self, account: Account, recipients: u32, now: Instant) -> bool {
        self.messages.has_room(&account, 1, now)
            && self.recipients.has_room(&account, recipients, now)
    }

    fn add(&mut self, account: Account, recipients: u32, now: Instant) {
        self.messages.add(account, 1, now);
        self.recipients.add(account, recipients, now);
    }

    fn evict(&mut self, now: Instant) {
        self.messages.evict(now);
        self.recipients.evict(now);
    }
}

/// The counters.
#[derive(Debug)]
pub(crate) struct Mail {
    hour: Cap,
    day: Cap,
    unknown: Tallies<Source>,
    put_off: Bans<Source>,
}

impl Mail {
    pub(crate) fn new(limits: &Limits) -> Mail {
        Mail {
            hour: Cap::new(
                limits.messages_per_account_hour,
                limits.recipients_per_account_hour,
                HOUR,
            ),
            day: Cap::new(limits.messages_per_account_day, limits.recipients_per_account_day, DAY),
            unknown: Tallies::new(limits.unknown_recipients_per_ip, limits.unknown_window),
            put_off: Bans::new(limits.ban..=limits.ban_max),
        }
    }

    pub(crate) fn evict(&mut self, now: Instant) {
        self.hour.evict(now);
        self.day.evict(now);
        self.unknown.evict(now);
        self.put_off.evict(now);
    }

    fn room(&self, account: Account, recipients: u32, now: Instant) -> Result<(), Refusal> {
        let full = |retry_after| Refusal { reason: Reason::Submissions, retry_after };
        if !self.hour.has_room(account, recipients, now) {
            return Err(full(HOUR));
        }
        if !self.day.has_room(account, recipients, now) {
            return Err(full(DAY));
        }
        Ok(())
    }
}

impl Guard {
    /// Asks whether an account may submit one message more, with so many recipients. Counts nothing. `account` is any
    /// text that is the account's own.
    ///
    /// # Errors
    /// It has sent as much as it may in an hour or a day.
    pub fn may_submit(
        &self,
        ip: IpAddr,
        account: &str,
        recipients: u32,
        now: Instant,
    ) -> Result<(), Refusal> {
        if self.is_exempt(ip) {
            return Ok(());
        }
        self.mail().room(self.account(account), recipients, now)
    }

    /// The same, and counts the message if it may be submitted.
    ///
    /// # Errors
    /// As [`Guard::may_submit`].
    pub fn submit(
        &self,
        ip: IpAddr,
        account: &str,
        recipients: u32,
        now: Instant,
    ) -> Result<(), Refusal> {
        if self.is_exempt(ip) {
            return Ok(());
        }
        let account = self.account(account);
        let mut mail = self.mail();
        mail.room(account, recipients, now)?;
        mail.hour.add(account, recipients, now);
        mail.day.add(account, recipients, now);
        Ok(())
    }

    /// Counts a recipient that does not exist. Who reaches the limit is put off for the time of a ban.
    pub fn unknown_recipient(&self, ip: IpAddr, now: Instant) {
        if self.is_exempt(ip) {
            return;
        }
        let source = Source::of(ip);
        let mut mail = self.mail();
        if mail.unknown.add(source, now) {
            let length = mail.put_off.add(source, now);
            tracing::info!(seconds = length.as_secs(), "address put off after unknown recipients");
            tracing::debug!(%ip, "this address was put off");
        }
    }

    /// How long this source is still to be put off, whatever recipient it names.
    pub fn recipients_put_off(&self, ip: IpAddr, now: Instant) -> Option<Duration> {
        if self.is_exempt(ip) {
            return None;
        }
        self.mail().put_off.active(&Source::of(ip), now)
    }

    pub(crate) fn mail(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
