//! `anonymizer config`: the settings that hold, and the file that they may stand in.

use serde_json::json;

use crate::settings::{Settings, example, schema};

/// `config ...`.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum ConfigCommand {
    /// Print each setting with its value and where it comes from; secrets are covered
    Print {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON schema of the settings file
    Schema,
    /// Print a settings file with every default, explained by comments
    Example,
}

/// Prints what was asked for.
///
/// # Errors
/// If the settings are to be printed and cannot be used.
pub fn run(command: &ConfigCommand, settings: &Settings) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Print { json } => print(*json, settings),
        ConfigCommand::Schema => {
            say!("{}", serde_json::to_string_pretty(&schema())?);
            Ok(())
        }
        ConfigCommand::Example => {
            say_as_it_is!("{}", example());
            Ok(())
        }
    }
}

fn print(json: bool, settings: &Settings) -> anyhow::Result<()> {
    let all = settings.load()?.describe();
    if json {
        let all: Vec<_> = all
            .iter()
            .map(|(name, value, origin)| json!({ "name": name, "value": value, "origin": origin }))
            .collect();
        let all = json!({ "items": all, "count": all.len() });
        say!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        for (name, value, origin) in all {
            say!("{name} = {value} ({origin})");
        }
    }
    Ok(())
}
