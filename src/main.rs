//! The command line: everything the program can do.

mod allocator;

use std::process::ExitCode;

use anonymizer::cli::{
    adopt, batches, capacity, check, completions, config, exit::Exit, export, held, help, man,
    privacy, produce, quarantine, reconcile, repair, replay, run, schema, status, tap, top, verify,
};
use anonymizer::pipeline;
use anonymizer::runtime::core_dump;
use anonymizer::runtime::logging::{self, Format};
use anonymizer::settings::{self, Settings};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use log::{Level, warn};

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
    /// Check settings, Kafka, topic and queue, and ClickHouse if asked to
    Check(check::CheckArgs),
    /// Show what is queued and what happens next
    Status(status::StatusArgs),
    /// Watch the status live in a terminal; q quits
    Top,
    /// Show a sample of the masked rows as they pass
    Tap(tap::TapArgs),
    /// Estimate the disk that ClickHouse, the queue and Kafka need
    Capacity(capacity::CapacityArgs),
    /// Check that all that is stored is whole; changes nothing
    Verify(verify::VerifyArgs),
    /// Write the queue's rows to a file or stdout
    Export(export::ExportArgs),
    /// List, show, retry, export or drop batches, or say that ClickHouse has one
    #[command(subcommand)]
    Batches(batches::BatchesCommand),
    /// List, export, send or drop rows that another instance may have sent
    #[command(subcommand)]
    Held(held::HeldCommand),
    /// Compare the counts of all instances with ClickHouse's, minute by minute; takes a slot
    Reconcile(reconcile::ReconcileArgs),
    /// Send what is queued without Kafka, or delivered batches again; the instance must be stopped
    Replay(replay::ReplayArgs),
    /// Copy the queue, then save all that is whole of it; the instance must be stopped
    Repair(repair::RepairArgs),
    /// Make a copied or restored data dir an installation of its own
    Adopt(adopt::AdoptArgs),
    /// List, show, export, retry or drop the messages that could not become rows
    #[command(subcommand)]
    Quarantine(quarantine::QuarantineCommand),
    /// Look whether an address that goes through reaches a disk, a log or an answer
    #[command(subcommand)]
    Privacy(privacy::PrivacyCommand),
    /// Print the tables and views
    #[command(subcommand)]
    Schema(schema::SchemaCommand),
    /// Produce synthetic records into Kafka
    Produce(produce::ProduceArgs),
    /// Print the settings that hold, or the schema or an example of their file
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print what a shell completes the command line by
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write the pages of all commands
    Man(man::ManArgs),
    /// Print the help of a command, all settings, or the exit codes
    Help(help::HelpArgs),
}

fn main() -> ExitCode {
    let line = help::dress(Cli::command());
    let matches = line.clone().try_get_matches();
    let cli = matches.and_then(|matches| {
        Cli::from_arg_matches(&matches).map_err(|e| e.format(&mut line.clone()))
    });
    let cli = match cli {
        Ok(cli) => cli,
        Err(e) => return usage(&e),
    };
    // sled makes its files as it likes, and rows are nobody else's business.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let format = cli.settings.log_format();
    if let Err(e) = logging::start(format) {
        logging::say_at_once(
            format,
            Level::Error,
            &format!("anonymizer: cannot begin to log: {e}"),
        );
        return Exit::Failed.into();
    }
    if let Err(e) = core_dump::forbid() {
        warn!(
            "core dumps cannot be switched off: {e}; one would hold addresses that are not masked"
        );
    }
    let exit = match dispatch(&cli, line) {
        Ok(()) => Exit::Good,
        Err(e) => {
            logging::say(Level::Error, &format!("anonymizer: {e:#}"));
            Exit::of(&e)
        }
    };
    logging::finish();
    exit.into()
}

/// Help and version go to stdout; what is wrong with the command line goes where the log goes.
fn usage(e: &clap::Error) -> ExitCode {
    let format = settings::log_format_of(std::env::args_os());
    if e.use_stderr() && format == Format::Json {
        logging::say_at_once(format, Level::Error, e.to_string().trim_end());
    } else {
        // It may be a pipe that is closed.
        drop(e.print());
    }
    ExitCode::from(e.exit_code() as u8)
}

fn dispatch(cli: &Cli, line: clap::Command) -> anyhow::Result<()> {
    // These need no settings that can be used.
    match &cli.command {
        Command::Config(command) => return config::run(command, &cli.settings),
        Command::Completions(args) => return completions::run(args, line),
        Command::Man(args) => return man::run(args, line),
        Command::Help(args) => return help::run(args, line),
        _ => {}
    }
    let config = cli.settings.load()?;
    match &cli.command {
        Command::Run => run::run(&config),
        Command::Check(args) => check::run(args, &config),
        Command::Status(args) => status::run(args, &config),
        Command::Tap(args) => tap::run(args, &config),
        Command::Top => top::run(&config),
        Command::Capacity(args) => capacity::run(args, &config),
        Command::Verify(args) => verify::run(args, &config),
        Command::Export(args) => export::run(args, &config),
        Command::Batches(command) => batches::run(command, &config),
        Command::Held(command) => held::run(command, &config),
        Command::Reconcile(args) => reconcile::run(args, &config),
        Command::Replay(args) => replay::run(args, &config),
        Command::Repair(args) => repair::run(args, &config),
        Command::Adopt(args) => adopt::run(args, &config),
        Command::Quarantine(command) => quarantine::run(command, &config),
        Command::Privacy(command) => privacy::run(command, &config),
        Command::Schema(command) => schema::run(command, &config),
        Command::Produce(args) => produce::run(args, &config),
        Command::Config(_) | Command::Completions(_) | Command::Man(_) | Command::Help(_) => Ok(()),
    }
}

/// clap wants a text that lives for ever.
fn version() -> &'static str {
    pipeline::version().leak()
}
