//! The log: to standard error, text on a terminal and JSON otherwise.

use std::io::IsTerminal;

use letterlock_config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

use crate::Failure;

/// Starts the log as the configuration says. Called once, before anything is logged.
pub(crate) fn start(log: &Log) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&log.level)
        .map_err(|error| Failure::Usage(format!("[log] level = {:?}: {error}", log.level)))?;
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        builder.json().flatten_event(true).init();
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).init();
    }
    Ok(())
}
