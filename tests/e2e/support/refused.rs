//! Commands that are not carried out.

use anyhow::{Result, ensure};
use letterlock_testkit::server::Letterlock;

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
