//! `anonymizer repair`: copy first, then save all that is whole.

use anyhow::{Context as _, bail, ensure};

use crate::cli::exit::Ended;
use crate::cli::json;
use crate::cli::progress::Progress;
use crate::queue::repair::{self, Repaired, Step};
use crate::queue::{DataDir, LOST_RANGES, LostRange, QUEUE_DIR, Queue};
use crate::runtime::clock::now_ms;
use crate::settings::Config;

/// The flags of `repair`.
#[derive(Debug, Clone, clap::Args)]
pub struct RepairArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Repairs the queue of a stopped instance and lists what is lost.
///
/// # Errors
/// If an instance runs, the disk is too small for the copy, or not all could be saved.
pub fn run(args: &RepairArgs, config: &Config) -> anyhow::Result<()> {
    ensure!(
        config.data_dir.join(QUEUE_DIR).is_dir(),
        "there is no queue in {}; name the data dir with --data-dir",
        config.data_dir.display()
    );
    let dir = DataDir::lock(&config.data_dir).context("repair needs the instance stopped")?;
    dir.refuse_root()?;
    let progress = Progress::of(0, "", "copying bytes");
    let done = repair::repair(&dir, now_ms(), &|step, done, total| {
        let doing = match step {
            Step::Copy => "copying bytes",
            Step::Look => "looking at rows",
            Step::Save => "saving rows",
        };
        progress.next(doing, total);
        progress.at(done);
    })?;
    drop(progress);
    let queue = Queue::open(dir)?;
    let mut all: Vec<LostRange> = queue.load(LOST_RANGES)?.unwrap_or_default();
    all.extend(done.lost.iter().map(|l| LostRange {
        topic: l.topic.clone(),
        partition: l.partition,
        from: l.from,
        to: l.to,
        noticed_ms: now_ms(),
        unsure: false,
    }));
    queue.save(LOST_RANGES, &all)?;
    queue.sync()?;
    if args.json {
        json::print(&done)?;
    } else {
        print(&done);
    }
    match done.damaged {
        0 => Ok(()),
        n => bail!(Ended::found_bad(format!(
            "the queue is whole again, but {n} of its parts were not: see what is lost above"
        ))),
    }
}

fn print(done: &Repaired) {
    say!("the queue as it was: {}", done.copy.display());
    say!(
        "saved       {} blocks with {} rows, {} lanes, {} batches",
        done.blocks,
        done.rows,
        done.lanes,
        done.batches
    );
    for words in &done.notes {
        say!("note        {words}");
    }
    for l in &done.lost {
        say!(
            "LOST        {} p{} rows between offsets {}..{}",
            l.topic,
            l.partition,
            l.from,
            l.to
        );
    }
    if !done.lost.is_empty() {
        say!(
            "while Kafka holds these offsets, they can be read again; the rest of the queue goes on"
        );
    }
}
