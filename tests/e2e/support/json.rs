//! Listings as JSON.

use anyhow::{Context as _, Result};
use letterlock_testkit::server::Letterlock;
use serde_json::Value;

/// What a listing command prints as JSON.
pub(crate) async fn json(server: &Letterlock, arguments: &[&str]) -> Result<Value> {
    let mut arguments = arguments.to_vec();
    arguments.push("--json");
    let text = server.run(&arguments).await?;
    serde_json::from_str(&text).with_context(|| format!("{arguments:?} printed {text}"))
}
