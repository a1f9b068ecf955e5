//! How a database closes: when idle, for good, and what it forgets then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::key::{FileKeys, Key};
use crate::pool::{Alarm, lock};
use crate::vfs::fault;

use super::connection::Live;
use super::executor::{Access, Inner, Life, MAX_SYNC_FAILURES, State};
use super::job::Reply;
use super::{Spec, VaultError};

impl Inner {
    pub(super) fn idle(&self, state: &mut State) {
        state.idle_alarm = false;
        let (Some(after), true) = (self.spec().idle_close, state.live.is_some()) else { return };
        let due = state.last_used + after;
        let copied = state.live.as_ref().is_some_and(|live| live.copying.is_some());
        if Instant::now() < due || copied || !lock(&self.queue).jobs.is_empty() {
            state.idle_alarm = true;
            let again = due.max(Instant::now() + Duration::from_millis(10));
            return self.pool.set_alarm(again, Alarm::Idle, self.me.clone());
        }
        if let Err(error) = self.shut(state) {
            tracing::error!(file = %self.path().display(), %error, "not closed cleanly");
        }
    }

    /// Closes for a file that opens; see [`Pool::limit_open`](crate::Pool::limit_open).
    pub(super) fn give_way(&self, state: &mut State, busy_too: bool) {
        let Some(live) = &state.live else { return };
        if live.copying.is_some() || (!busy_too && !lock(&self.queue).jobs.is_empty()) {
            return;
        }
        fault::begin(&self.path());
        if let Err(error) = self.shut(state) {
            tracing::error!(file = %self.path().display(), %error, "not closed cleanly");
        }
    }

    pub(super) fn close(&self, state: &mut State, reply: Option<Reply<(), VaultError>>) {
        let outcome = self.shut(state);
        lock(&self.queue).life = Life::Closed;
        self.forget_keys();
        match (reply, outcome) {
            (Some(reply), outcome) => reply.send(outcome),
            (None, Err(error)) => {
                tracing::error!(file = %self.path().display(), %error, "not closed cleanly");
            }
            (None, Ok(())) => {}
        }
    }

    /// Closes the connection, cleanly if possible.
    pub(super) fn shut(&self, state: &mut State) -> Result<(), VaultError> {
        if self.access == Access::ReadOnly {
            state.live.take().into_iter().for_each(Live::abandon);
        }
        let Some(live) = &mut state.live else { return Ok(()) };
        let ready = match state.sync_failures >= MAX_SYNC_FAILURES {
            true => Err(VaultError::SyncFailed),
            false => live.wind_down(&self.spec()),
        };
        let sync_failed = live.file.sync_failures() > 0;
        match ready {
            // Without it, a later sync would find nothing open and call it done.
            Err(_) if sync_failed => drop(self.recover(state, None)),
            Err(_) => state.live.take().into_iter().for_each(Live::abandon),
            Ok(()) => return state.live.take().map_or(Ok(()), |live| live.close(&self.spec())),
        }
        ready
    }

    /// After closing for good: handles may live on, the keys must not.
    pub(super) fn forget_keys(&self) {
        let mut spec = Spec::clone(&self.spec());
        spec.keys = FileKeys { page: Key::zero(), integrity: Key::zero() };
        self.set_spec(Arc::new(spec));
    }
}
