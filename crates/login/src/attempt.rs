//! Taking turns: how many attempts to log in may be under way at the same time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use letterlock_guard::{Guard, LoginAttempt};
use tokio::sync::Notify;

use crate::LoginError;

/// Where attempts wait for others to end.
#[derive(Default)]
pub(crate) struct Queue(Arc<Notify>);

/// An attempt that may be made now. Others may follow when it is dropped.
pub(crate) struct Turn {
    attempt: Option<LoginAttempt>,
    ended: Arc<Notify>,
}

impl Queue {
    /// Waits until the guard lets an attempt be made. Whoever logs in rightly many times at once waits a little; whoever
    /// guesses many times at once is refused as if it were one after the other.
    pub(crate) async fn turn(
        &self,
        guard: &Arc<Guard>,
        ip: IpAddr,
        name: &str,
    ) -> Result<Turn, LoginError> {
        loop {
            let ended = self.0.notified();
            tokio::pin!(ended);
            // From here on no end is missed.
            ended.as_mut().enable();
            let reserved = guard.try_login(ip, name, Instant::now());
            match reserved
                .map_err(|refusal| LoginError::Throttled { retry_after: refusal.retry_after })?
            {
                Some(attempt) => {
                    return Ok(Turn { attempt: Some(attempt), ended: Arc::clone(&self.0) });
                }
                None => ended.await,
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // First the place, then the bell.
        self.attempt = None;
        self.ended.notify_waiters();
    }
}
