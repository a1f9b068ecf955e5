//! An orderly end: tell everybody, wait for those who are at work, cut off who does not end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// A token that all tasks share: whether the server drains, and how many tasks are at work.
#[derive(Debug, Clone)]
pub struct Shutdown {
    draining: Arc<watch::Sender<bool>>,
    cut: Arc<watch::Sender<bool>>,
    tasks: Arc<watch::Sender<usize>>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A token of a server that runs.
    pub fn new() -> Shutdown {
        Shutdown {
            draining: Arc::new(watch::Sender::new(false)),
            cut: Arc::new(watch::Sender::new(false)),
            tasks: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Begins to drain. There is no way back.
    pub fn begin(&self) {
        self.draining.send_replace(true);
    }

    /// Whether [`Shutdown::begin`] was called.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Resolves once the server drains; at once if it does already. The future owns what it needs and may be dropped and
    /// asked for again at any time.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + use<> {
        set(&self.draining)
    }

    /// Ends every connection at once, wherever it is: the time for draining is over.
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Resolves once connections are to be cut off, as [`Shutdown::draining`] does.
    pub fn cut_off(&self) -> impl Future<Output = ()> + Send + use<> {
        set(&self.cut)
    }

    /// Counts a task; the returned guard counts it off when dropped.
    pub fn track(&self) -> Tracked {
        self.tasks.send_modify(|count| *count += 1);
        Tracked { tasks: Arc::clone(&self.tasks) }
    }

    /// Tasks at work.
    pub fn tasks(&self) -> usize {
        *self.tasks.borrow()
    }

    /// Waits until no task is at work, at most for `timeout`. Gives the number of tasks that are left.
    pub async fn wait_idle(&self, timeout: Duration) -> usize {
        let mut seen = self.tasks.subscribe();
        let idle = seen.wait_for(|count| *count == 0);
        match tokio::time::timeout(timeout, idle).await {
            Ok(_) => 0,
            Err(_) => self.tasks(),
        }
    }
}

/// Resolves when the flag is set.
fn set(flag: &Arc<watch::Sender<bool>>) -> impl Future<Output = ()> + Send + use<> {
    let token = Arc::clone(flag);
    let mut seen = flag.subscribe();
    async move {
        // The sender lives in `token`, so that the wait cannot fail.
        let _ = seen.wait_for(|set| *set).await;
        drop(token);
    }
}

/// A task that [`Shutdown::wait_idle`] waits for.
#[derive(Debug)]
#[must_use = "the task counts only as long as this lives"]
pub struct Tracked {
    tasks: Arc<watch::Sender<usize>>,
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.tasks.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_tasks() {
        let shutdown = Shutdown::new();
        assert_eq!(shutdown.wait_idle(Duration::from_secs(5)).await, 0);
        let (one, two) = (shutdown.track(), shutdown.track());
        assert_eq!(shutdown.wait_idle(Duration::from_millis(5)).await, 2);
        drop(one);
        let waiting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.wait_idle(Duration::from_secs(5)).await }
        });
        tokio::task::yield_now().await;
        drop(two);
        assert_eq!(waiting.await.unwrap(), 0);
    }

    #[tokio::test]
    async fn everybody_hears_of_the_end() {
        let shutdown = Shutdown::new();
        let early = shutdown.draining();
        assert!(!shutdown.is_draining());
        shutdown.begin();
        assert!(shutdown.is_draining());
        early.await;
        let late = shutdown.clone().draining();
        drop(shutdown);
        late.await;
    }
}
