//! `anonymizer export`: the stored rows as a file.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use log::Level;

use crate::cli::exit::Ended;
use crate::cli::json;
use crate::cli::progress::{self, Progress};
use crate::cli::{end_without_a_reader, reach_or_lock};
use crate::observe::control::Request;
use crate::queue::{self, Exported, Owned, Selection, Trees, What};
use crate::row::Format;
use crate::runtime::logging;
use crate::settings::Config;

/// How and where rows are written.
#[derive(Debug, Clone, clap::Args)]
pub struct Target {
    /// Format of the rows; ClickHouse reads each back exactly. Times are Unix seconds
    #[arg(long, value_enum, default_value = "json-each-row")]
    pub format: Format,
    /// A new file; without it, stdout. Beside a live instance, the instance writes it, as its user
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print what was written as JSON
    #[arg(long, requires = "output")]
    pub json: bool,
}

/// The flags of `export`.
#[derive(Debug, Clone, clap::Args)]
pub struct ExportArgs {
    /// Which rows
    #[arg(long, value_enum, default_value = "queue")]
    pub what: What,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub target: Target,
}

/// Writes the rows; each once.
///
/// # Errors
/// If something is damaged (the rest is written), or cannot be written.
pub fn run(args: &ExportArgs, config: &Config) -> anyhow::Result<()> {
    let selection = Selection::of(args.what, args.target.format);
    write(selection, &args.target, config)
}

/// Writes rows to the target, through the live instance or from the data dir.
///
/// # Errors
/// As [`run`].
pub fn write(selection: Selection, target: &Target, config: &Config) -> anyhow::Result<()> {
    // Rows for stdout take the way through a file that both can reach.
    let passing = queue::passing_file(&config.data_dir, std::process::id());
    let path = std::path::absolute(target.output.as_ref().unwrap_or(&passing))?;
    let request = Request::Export {
        selection,
        path: path.clone(),
    };
    let partial = queue::partial_of(&path);
    let written = || fs::metadata(&partial).map_or(0, |meta| meta.len());
    let progress = Progress::counting("bytes", "the instance writes");
    let reached = progress.follow(written, || reach_or_lock(&config.data_dir, &request));
    drop(progress);
    let done: Exported = match reached? {
        Owned::Live(answer) => {
            if target.output.is_none() {
                pass_on(&path)?;
            }
            serde_json::from_value(answer)?
        }
        Owned::Locked(dir) => {
            let trees = Trees::open(&dir)?;
            let progress = Progress::of(trees.rows(), "rows", "reading");
            let seen = |rows| {
                progress.at(rows);
                false
            };
            if target.output.is_some() {
                queue::export_to_file(&trees, selection, None, &path, &seen)?
            } else {
                let mut out = BufWriter::new(Stdout);
                let done = queue::export(&trees, selection, false, &mut out, &seen)?;
                out.flush()?;
                done
            }
        }
    };
    if target.json {
        json::print(&done)?;
    } else {
        let words = format!("{} rows in {} bytes", done.rows, done.bytes);
        logging::say(Level::Info, &words);
    }
    for words in &done.damaged {
        logging::say(Level::Error, &format!("DAMAGED and left out: {words}"));
    }
    match done.damaged.len() {
        0 => Ok(()),
        n => bail!(Ended::found_bad(format!(
            "{n} damaged; all others were written"
        ))),
    }
}

fn pass_on(path: &Path) -> anyhow::Result<()> {
    // Removed before it is read: stdout may end the command.
    let file = File::open(path).with_context(|| format!("cannot pass {} on", path.display()))?;
    fs::remove_file(path)?;
    io::copy(&mut { file }, &mut Stdout)
        .with_context(|| format!("cannot pass {} on", path.display()))
        .map(drop)
}

/// Stdout, whose end is the end of the command.
pub(super) struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = Ok(0);
        progress::aside(&mut || written = io::stdout().lock().write(bytes));
        written.or_else(|e| end_without_a_reader(&e))
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = io::stdout().lock().flush();
        flushed.or_else(|e| end_without_a_reader(&e))
    }
}
