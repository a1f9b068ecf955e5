//! Waiting for what goes on by itself, as operators see it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use letterlock_testkit::server::Letterlock;
use serde_json::Value;

use crate::json::json;

/// Waits until the listing satisfies the condition.
pub(crate) async fn wait_for_json(
    server: &Letterlock,
    arguments: &[&str],
    condition: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let value = json(server, arguments).await?;
        if condition(&value) {
            return Ok(value);
        }
        if Instant::now() > deadline {
            bail!("{arguments:?} stays at {value:#}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
