//! Commands of the binary, and waiting for what they do.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use letterlock_testkit::server::Letterlock;
use serde_json::Value;

/// What a listing command prints as JSON.
pub(crate) async fn json(server: &Letterlock, arguments: &[&str]) -> Result<Value> {
    let mut arguments = arguments.to_vec();
    arguments.push("--json");
    let text = server.run(&arguments).await?;
    serde_json::from_str(&text).with_context(|| format!("{arguments:?} printed {text}"))
}

/// A command that has to fail with this exit code; what it wrote to standard error.
pub(crate) async fn refused(
    server: &Letterlock,
    arguments: &[&str],
    input: &str,
    code: i32,
) -> Result<String> {
    let output = server.cli_with_input(arguments, input).await?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.code() == Some(code),
        "{arguments:?}: {} instead of exit code {code}\n{errors}",
        output.status
    );
    ensure!(!errors.trim().is_empty(), "{arguments:?} does not say why");
    Ok(errors)
}

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
