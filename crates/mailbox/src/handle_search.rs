//! Keeping the word index up to date in the background, and what is known of it.
//!
//! Indexing waits until nothing was delivered, to anybody, for a moment; only where very much waits does it go on
//! beside delivery, in a part of the time. One account is indexed at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::error::MailboxError;
use crate::handle::Handle;
use crate::index::{self, IndexState, Spent, WORTHWHILE};
use crate::live::Live;

/// Nothing was delivered for so long: there is time for the index.
const QUIET: Duration = Duration::from_millis(500);
/// When so many bodies of an account wait, indexing goes on beside delivery.
const PRESSING: u64 = 4_096;
/// Beside delivery, each step is followed by a pause so many times as long.
const PAUSE: u32 = 3;

/// What indexing shares between all accounts.
#[derive(Debug)]
pub(crate) struct Indexing {
    enabled: bool,
    turn: Semaphore,
    spent: Spent,
    began: Instant,
    /// When mail last came in, in milliseconds after `began`.
    busy: AtomicU64,
}

impl Indexing {
    pub(crate) fn new(enabled: bool) -> Arc<Self> {
        Arc::new(Self {
            enabled,
            turn: Semaphore::new(1),
            spent: Spent::default(),
            began: Instant::now(),
            busy: AtomicU64::new(0),
        })
    }

    pub(crate) fn spent(&self) -> Duration {
        self.spent.total()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How long it is still to wait until nothing was delivered for a moment.
    fn until_quiet(&self) -> Option<Duration> {
        let since = self.now().saturating_sub(self.busy.load(Ordering::Relaxed));
        QUIET.checked_sub(Duration::from_millis(since)).filter(|left| !left.is_zero())
    }
}

/// Of one account: what came since the index was last looked after, and whether somebody looks after it.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    came: AtomicU64,
    tended: AtomicBool,
}

impl Handle {
    /// How far the word index has come. Small numbers of new messages are not indexed: looking at them costs less.
    ///
    /// # Errors
    /// What storage reports.
    pub async fn index_state(&self) -> Result<IndexState, MailboxError> {
        self.live()?.read(|conn, _| index::state(conn)).await
    }

    /// Indexes all that waits, at once. By itself that happens in the background.
    ///
    /// # Errors
    /// What storage reports; what was done stays done.
    pub async fn index_now(&self) -> Result<IndexState, MailboxError> {
        let live = self.live()?;
        live.check_writable()?;
        while index::step(&live, &self.indexing().spent, 1).await? {}
        self.index_state().await
    }

    /// So many messages came in: when it is enough and time allows, they are indexed.
    pub(crate) fn index_soon(&self, came: u64) {
        let (indexing, fresh) = (self.indexing(), self.fresh());
        indexing.busy.store(indexing.now(), Ordering::Relaxed);
        let all = fresh.came.fetch_add(came, Ordering::Relaxed) + came;
        if !indexing.enabled || all < WORTHWHILE || fresh.tended.swap(true, Ordering::AcqRel) {
            return;
        }
        let handle = self.clone();
        tokio::spawn(async move {
            let result = handle.tend_index().await;
            let fresh = handle.fresh();
            fresh.tended.store(false, Ordering::Release);
            match result {
                Ok(()) | Err(MailboxError::Locked) => {}
                Err(error) => {
                    tracing::warn!(account = %handle.account(), %error, "indexing ended early");
                }
            }
        });
    }

    async fn tend_index(&self) -> Result<(), MailboxError> {
        let indexing = Arc::clone(self.indexing());
        loop {
            let live = self.live()?;
            live.check_writable()?;
            self.fresh().came.store(0, Ordering::Relaxed);
            let mut pause = Duration::ZERO;
            if let Some(left) = indexing.until_quiet() {
                if live.read(|conn, _| index::backlog(conn)).await? < PRESSING {
                    drop(live);
                    tokio::time::sleep(left).await;
                    continue;
                }
                pause = Duration::from_millis(1);
            }
            let more = self.index_step(&indexing, &live, pause).await?;
            if !more {
                return Ok(());
            }
        }
    }

    async fn index_step(
        &self,
        indexing: &Indexing,
        live: &Arc<Live>,
        pause: Duration,
    ) -> Result<bool, MailboxError> {
        let _turn = indexing.turn.acquire().await.map_err(|_| MailboxError::Locked)?;
        let began = Instant::now();
        let more = index::step(live, &indexing.spent, WORTHWHILE).await?;
        if !pause.is_zero() {
            tokio::time::sleep(began.elapsed() * PAUSE).await;
        }
        Ok(more)
    }
}
