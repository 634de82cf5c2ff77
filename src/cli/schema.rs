//! `anonymizer schema`: the tables and views, to be looked at or created by hand.

use crate::runtime::config::Config;
use crate::sink::{Retention, Schema};

/// `schema ...`.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum SchemaCommand {
    /// Print the statements that create all tables and views, in order; makes no request
    Print(PrintArgs),
}

/// The flags of `schema print`.
#[derive(Debug, Clone, clap::Args)]
pub struct PrintArgs {
    /// Keep rows of the raw table this long, such as 30d; for ever if not given
    #[arg(long, value_name = "TIME", value_parser = Retention::parse)]
    pub retention: Option<Retention>,
    /// Keep rows of the totals this long, such as 2y; for ever if not given
    #[arg(long, value_name = "TIME", value_parser = Retention::parse)]
    pub totals_retention: Option<Retention>,
}

/// Prints what was asked for.
///
/// # Errors
/// If the table's name cannot be used.
pub fn run(command: &SchemaCommand, config: &Config) -> anyhow::Result<()> {
    let SchemaCommand::Print(args) = command;
    print!("{}", text(args, config)?);
    Ok(())
}

fn text(args: &PrintArgs, config: &Config) -> anyhow::Result<String> {
    let (database, table) = (&config.clickhouse_database, &config.clickhouse_table);
    let kept = |retention: Option<Retention>| match retention {
        Some(r) => format!(
            "at least {} days by their timestamp, then removed",
            r.days()
        ),
        None => "for ever".to_string(),
    };
    let mut text = format!(
        "-- Rows of {table} are kept {}; rows of its totals {}.\n\
         -- For: clickhouse-client --database {database} --multiquery\n",
        kept(args.retention),
        kept(args.totals_retention),
    );
    for object in Schema::new(database, table)?.objects() {
        let retention = if object.name == *table {
            args.retention
        } else {
            args.totals_retention
        };
        let with_end = retention.and_then(|r| r.apply(object));
        text += &format!("\n{};\n", with_end.as_ref().unwrap_or(&object.sql));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::config::Settings;

    #[test]
    fn a_ttl_is_there_only_if_asked_for() {
        let config = Settings::default().load_from([]).unwrap();
        let f = |retention: Option<&str>, totals: Option<&str>, want: usize| {
            let parse = |text: &str| Retention::parse(text).unwrap();
            let args = PrintArgs {
                retention: retention.map(parse),
                totals_retention: totals.map(parse),
            };
            let text = text(&args, &config).unwrap();
            assert_eq!(text.matches("\nTTL ").count(), want, "{text}");
            text
        };
        let tables = f(None, None, 0).matches("\nCREATE TABLE ").count();
        f(Some("30d"), None, 1);
        f(None, Some("2y"), tables - 1);
        f(Some("30d"), Some("2y"), tables);
    }
}
