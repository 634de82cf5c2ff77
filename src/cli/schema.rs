//! `anonymizer schema`: the tables and views, to be looked at or created by hand.

use serde::Serialize;

use crate::cli::json::{self, List};
use crate::clickhouse::{ObjectKind, Retention, Schema, SchemaObject, on_cluster};
use crate::settings::Config;

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
    /// For the servers of this cluster: replicated tables, and with _all behind the name what reads all shards
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Print JSON: name, kind and statement of each
    #[arg(long)]
    pub json: bool,
}

/// Prints what was asked for.
///
/// # Errors
/// If the table's name cannot be used.
pub fn run(command: &SchemaCommand, config: &Config) -> anyhow::Result<()> {
    let SchemaCommand::Print(args) = command;
    if args.json {
        return json::print(&List::from(statements(args, config)?));
    }
    say_as_it_is!("{}", text(args, config)?);
    Ok(())
}

/// A statement that creates something.
#[derive(Debug, Serialize)]
struct Statement {
    name: String,
    kind: &'static str,
    sql: String,
}

fn statements(args: &PrintArgs, config: &Config) -> anyhow::Result<Vec<Statement>> {
    let (database, table) = (&config.clickhouse_database, &config.clickhouse_table);
    let schema = Schema::new(database, table)?;
    let with_end = |object: &SchemaObject| {
        let retention = if object.name == *table {
            args.retention
        } else {
            args.totals_retention
        };
        let sql = retention.and_then(|r| r.apply(object));
        SchemaObject {
            sql: sql.unwrap_or_else(|| object.sql.clone()),
            ..object.clone()
        }
    };
    let mut objects: Vec<SchemaObject> = schema.objects().iter().map(with_end).collect();
    if let Some(cluster) = &args.cluster {
        objects = on_cluster(&objects, database, cluster);
    }
    let statement = |object: SchemaObject| Statement {
        name: object.name,
        kind: match object.kind {
            ObjectKind::Table => "table",
            ObjectKind::MaterializedView => "materialized view",
            ObjectKind::View => "view",
        },
        sql: object.sql,
    };
    Ok(objects.into_iter().map(statement).collect())
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
    for statement in statements(args, config)? {
        text += &format!("\n{};\n", statement.sql);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn a_ttl_is_there_only_if_asked_for() {
        let config = Settings::default().load_from([]).unwrap();
        let f = |retention: Option<&str>, totals: Option<&str>, want: usize| {
            let parse = |text: &str| Retention::parse(text).unwrap();
            let args = PrintArgs {
                retention: retention.map(parse),
                totals_retention: totals.map(parse),
                cluster: None,
                json: false,
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
