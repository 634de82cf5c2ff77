//! `anonymizer export`: the stored rows as a file.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::cli::reach_or_lock;
use crate::queue::{self, Exported, Owned, Selection, Trees, What};
use crate::rows::Format;
use crate::runtime::config::Config;
use crate::runtime::control::Request;

/// How and where rows are written.
#[derive(Debug, Clone, clap::Args)]
pub struct Target {
    /// Format of the rows; ClickHouse reads each back exactly. Times are Unix seconds
    #[arg(long, value_enum, default_value = "json-each-row")]
    pub format: Format,
    /// A new file; without it, stdout. Beside a live instance, the instance writes it, as its user
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
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
    write(args.what, None, &args.target, config)
}

/// Writes rows to the target, through the live instance or from the data dir.
///
/// # Errors
/// As [`run`].
pub fn write(
    what: What,
    batch: Option<u64>,
    target: &Target,
    config: &Config,
) -> anyhow::Result<()> {
    let selection = Selection {
        what,
        batch,
        format: target.format,
    };
    // Rows for stdout take the way through a file that both can reach.
    let passing = config
        .data_dir
        .join(format!("export.{}.tmp", std::process::id()));
    let path = std::path::absolute(target.output.as_ref().unwrap_or(&passing))?;
    let request = Request::Export {
        selection,
        path: path.clone(),
    };
    let done: Exported = match reach_or_lock(&config.data_dir, &request)? {
        Owned::Live(answer) => {
            if target.output.is_none() {
                pass_on(&path)?;
            }
            serde_json::from_value(answer)?
        }
        Owned::Locked(dir) => {
            let trees = Trees::open(&dir)?;
            if target.output.is_some() {
                queue::export_to_file(&trees, selection, false, &path, &|| false)?
            } else {
                let mut out = BufWriter::new(io::stdout().lock());
                let done = queue::export(&trees, selection, false, &mut out, &|| false)?;
                out.flush()?;
                done
            }
        }
    };
    eprintln!("{} rows in {} bytes", done.rows, done.bytes);
    for words in &done.damaged {
        eprintln!("DAMAGED and left out: {words}");
    }
    match done.damaged.len() {
        0 => Ok(()),
        n => bail!("{n} damaged; all others were written"),
    }
}

fn pass_on(path: &Path) -> anyhow::Result<()> {
    let copied = File::open(path)
        .and_then(|mut file| io::copy(&mut file, &mut io::stdout().lock()))
        .with_context(|| format!("cannot pass {} on", path.display()));
    fs::remove_file(path)?;
    copied.map(drop)
}
