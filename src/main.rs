//! The command line: everything the program can do.

mod allocator;

use std::process::ExitCode;

use anonymizer::cli::{
    adopt, batches, capacity, check, export, produce, quarantine, reconcile, repair, replay, run,
    schema, status, verify,
};
use anonymizer::runtime::config::Settings;
use clap::{Parser, Subcommand};

/// Takes HTTP log records from Kafka, masks client addresses, and inserts them into ClickHouse
/// through a proxy that lets one request a minute pass. Nothing is lost, nothing stored twice.
#[derive(Parser)]
#[command(name = "anonymizer", version = version())]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service
    Run,
    /// Check settings, Kafka, topic and queue, without a request to ClickHouse
    Check,
    /// Show what is queued and what happens next
    Status(status::StatusArgs),
    /// Estimate the disk that ClickHouse, the queue and Kafka need
    Capacity(capacity::CapacityArgs),
    /// Check that all that is stored is whole; changes nothing
    Verify(verify::VerifyArgs),
    /// Write the queue's rows to a file or stdout
    Export(export::ExportArgs),
    /// List, show, retry or export batches
    #[command(subcommand)]
    Batches(batches::BatchesCommand),
    /// Compare the counts of all instances with ClickHouse's, minute by minute; takes a slot
    Reconcile(reconcile::ReconcileArgs),
    /// Send what is queued without Kafka, or delivered batches again; the instance must be stopped
    Replay(replay::ReplayArgs),
    /// Copy the queue, then save all that is whole of it; the instance must be stopped
    Repair,
    /// Make a copied or restored data dir an installation of its own
    Adopt(adopt::AdoptArgs),
    /// List, show, export, retry or drop the messages that could not become rows
    #[command(subcommand)]
    Quarantine(quarantine::QuarantineCommand),
    /// Print the tables and views
    #[command(subcommand)]
    Schema(schema::SchemaCommand),
    /// Produce synthetic records into Kafka
    Produce(produce::ProduceArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    match dispatch(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("anonymizer: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: &Cli) -> anyhow::Result<()> {
    let config = cli.settings.load()?;
    match &cli.command {
        Command::Run => run::run(&config),
        Command::Check => check::run(&config),
        Command::Status(args) => status::run(args, &config),
        Command::Capacity(args) => capacity::run(args, &config),
        Command::Verify(args) => verify::run(args, &config),
        Command::Export(args) => export::run(args, &config),
        Command::Batches(command) => batches::run(command, &config),
        Command::Reconcile(args) => reconcile::run(args, &config),
        Command::Replay(args) => replay::run(args, &config),
        Command::Repair => repair::run(&config),
        Command::Adopt(args) => adopt::run(args, &config),
        Command::Quarantine(command) => quarantine::run(command, &config),
        Command::Schema(command) => schema::run(command, &config),
        Command::Produce(args) => produce::run(args, &config),
    }
}

fn version() -> &'static str {
    let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
    let text = format!(
        "{} (commit {}, librdkafka {librdkafka})",
        env!("CARGO_PKG_VERSION"),
        env!("ANONYMIZER_COMMIT")
    );
    Box::leak(text.into_boxed_str())
}
