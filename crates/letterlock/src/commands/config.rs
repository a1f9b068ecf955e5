//! `letterlock config …`

use std::path::Path;

use anyhow::Context;

use crate::Failure;
use crate::cli::ConfigCommand;
use crate::render;

/// Carries out a subcommand.
pub(crate) fn run(config: &Path, command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check => {
            for warning in super::settings(config)?.warnings() {
                eprintln!("warning: {warning}");
            }
            render::print(&format!("{}: good\n", config.display()))
        }
        ConfigCommand::Show { json: true } => {
            let value = serde_json::to_value(super::settings(config)?.to_table())
                .context("cannot write JSON")?;
            render::print(&format!("{value:#}\n"))
        }
        ConfigCommand::Show { json: false } => render::print(&super::settings(config)?.to_toml()),
        ConfigCommand::Reference => render::print(&letterlock_config::reference()),
    }
}
