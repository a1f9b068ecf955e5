//! A thread with its own single-threaded runtime for a helper server, so that a test which blocks its own runtime
//! (by waiting for a child process, say) does not stop the world around it.

use std::future::Future;
use std::thread::JoinHandle;

use anyhow::Context as _;
use tokio::sync::oneshot;

/// A future on its own thread and runtime; dropping the handle cancels the future, all tasks it spawned, and joins.
#[derive(Debug)]
pub(crate) struct Background {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts `make()` on a new thread called `name`.
    pub(crate) fn spawn<F, Fut>(name: &str, make: F) -> anyhow::Result<Self>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no runtime for a helper")?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    tokio::select! {
                        () = make() => {}
                        _ = stopped => {}
                    }
                });
            })
            .context("no thread for a helper")?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in a helper has been printed already; a second one while unwinding would abort the test.
            let _ = thread.join();
        }
    }
}
