//! `letterlock config …`

use std::path::Path;

use anyhow::Context;

use crate::Failure;
use crate::cli::ConfigCommand;

/// Carries out a subcommand.
pub(crate) fn run(config: &Path, command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check => {
            for warning in super::settings(config)?.warnings() {
                eprintln!("warning: {warning}");
            }
            println!("{}: good", config.display());
        }
        ConfigCommand::Show { json: true } => {
            let value = serde_json::to_value(super::settings(config)?.to_table())
                .context("cannot write JSON")?;
            println!("{value:#}");
        }
        ConfigCommand::Show { json: false } => print!("{}", super::settings(config)?.to_toml()),
        ConfigCommand::Reference => print!("{}", letterlock_config::reference()),
    }
    Ok(())
}
