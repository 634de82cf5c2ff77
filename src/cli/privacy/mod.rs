//! `anonymizer privacy audit`: does an address that goes through reach a disk, a log or an answer?

mod canary;
mod search;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;
use serde_json::Value;

use crate::cli::exit::Ended;
use crate::cli::json;
use crate::cli::privacy::canary::Canaries;
use crate::cli::privacy::search::{Searched, search};
use crate::cli::produce;
use crate::observe::control::{self, Request};
use crate::observe::human::bytes;
use crate::queue::LOCK_FILE;
use crate::runtime::http_client;
use crate::runtime::span;
use crate::settings::Config;

/// What can be asked about privacy.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum PrivacyCommand {
    /// Send addresses that nobody has through, and look for them in all that is left behind
    Audit(AuditArgs),
}

/// The flags of `privacy audit`.
#[derive(Debug, Clone, clap::Args)]
pub struct AuditArgs {
    /// Records to send. They become rows, with resource_id 0 and the URL /privacy-audit
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub canaries: u32,
    /// Look through these files and directories, too: logs, a backup, a core dump
    #[arg(long, value_name = "PATH")]
    pub also: Vec<PathBuf>,
    /// How long the instance may take to read them
    #[arg(long, value_name = "SPAN", default_value = "2m", value_parser = span::parse)]
    pub wait: Duration,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// How often the instance is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// For one page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// The paths of `http_listen`.
const PAGES: [&str; 4] = ["/", "/metrics", "/api/v1/status", "/readyz"];

/// What was done and found.
#[derive(Debug, Serialize)]
struct Audit {
    canaries: u32,
    networks: String,
    #[serde(flatten)]
    searched: Searched,
    /// Answers with an address that is not masked.
    answers: Vec<String>,
    /// What was not looked at, and why.
    left_out: Vec<String>,
    /// Whether the kernel would write the memory of the instance, where addresses are plain, to a file.
    core_dumps: bool,
}

/// Carries it out.
///
/// # Errors
/// No instance runs here, Kafka does not take the records, they are not read in time, or an address was found.
pub fn run(command: &PrivacyCommand, config: &Config) -> anyhow::Result<()> {
    let PrivacyCommand::Audit(args) = command;
    let status = status(config)?;
    let partitions = partitions(&status)
        .map(|(partition, _)| partition)
        .collect();
    let canaries = Canaries::new()?;
    let messages = canaries.records(args.canaries as usize).map(|record| {
        let mut message = Vec::new();
        record.encode_into(&mut message);
        message
    });
    let ends = produce::messages(config, partitions, messages)?;
    let status = wait_until_read(config, &ends, args.wait)?;

    let mut audit = Audit {
        canaries: args.canaries,
        networks: canaries.networks(),
        searched: Searched::default(),
        answers: Vec::new(),
        left_out: Vec::new(),
        core_dumps: core_dumps(&config.data_dir)?,
    };
    for path in std::iter::once(&config.data_dir).chain(&args.also) {
        ensure!(
            path.exists(),
            Ended::usage(format!("{} is not there", path.display()))
        );
        search(path, &canaries, &mut audit.searched)
            .with_context(|| format!("cannot look through {}", path.display()))?;
    }
    let mut answers = vec![("status".to_owned(), status.to_string())];
    match pages(config) {
        Ok(pages) => answers.extend(pages),
        Err(why) => audit.left_out.push(why),
    }
    let told = |(_, text): &(String, String)| canaries.look(text.as_bytes(), text.len()).plain > 0;
    audit.answers = answers
        .into_iter()
        .filter(told)
        .map(|(name, _)| name)
        .collect();
    report(&audit, args.json)
}

fn status(config: &Config) -> anyhow::Result<Value> {
    control::ask(&config.data_dir, &Request::Status)?.with_context(|| {
        format!(
            "no instance runs on {}: start it, the records go through it",
            config.data_dir.display()
        )
    })
}

/// The partitions that the instance reads, and how far each is synced.
fn partitions(status: &Value) -> impl Iterator<Item = (i32, i64)> {
    let all = status["kafka"]["partitions"]
        .as_array()
        .into_iter()
        .flatten();
    all.filter_map(|p| {
        let number = i32::try_from(p["partition"].as_i64()?).ok()?;
        Some((number, p["read"].as_i64().unwrap_or(-1)))
    })
}

fn wait_until_read(
    config: &Config,
    ends: &BTreeMap<i32, i64>,
    patience: Duration,
) -> anyhow::Result<Value> {
    let deadline = Instant::now() + patience;
    loop {
        let status = status(config)?;
        let read: BTreeMap<_, _> = partitions(&status).collect();
        let late = ends
            .iter()
            .find(|(p, end)| read.get(p).is_none_or(|read| read < end));
        let Some((partition, end)) = late else {
            return Ok(status);
        };
        ensure!(
            Instant::now() < deadline,
            "partition {partition} was not read up to offset {end} within {patience:?}: `status` says why; --wait \
             waits longer"
        );
        thread::sleep(LOOK_EVERY);
    }
}

/// By the limit of the process that holds the lock.
fn core_dumps(data_dir: &Path) -> anyhow::Result<bool> {
    let pid =
        fs::read_to_string(data_dir.join(LOCK_FILE)).context("cannot read who holds the lock")?;
    let limits = PathBuf::from("/proc").join(pid.trim()).join("limits");
    let text =
        fs::read_to_string(&limits).with_context(|| format!("cannot read {}", limits.display()))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"));
    let most = line.and_then(|line| line.split_whitespace().nth(1));
    // One byte is too little for a file, and keeps it from a program of core_pattern.
    Ok(!matches!(most, Some("0" | "1")))
}

/// What `http_listen` answers, or why it was not asked.
fn pages(config: &Config) -> Result<Vec<(String, String)>, String> {
    let listen = config.http_listen;
    if config.http_certificate_file.is_some() || config.http_user.is_some() || listen.port() == 0 {
        return Err(format!(
            "the pages of {listen}: they want a password or a certificate, or have no fixed port"
        ));
    }
    let agent = http_client::for_one_request()
        .timeout_global(Some(PAGE_TIMEOUT))
        .build()
        .new_agent();
    let mut answers = Vec::new();
    for path in PAGES {
        let url = format!("http://{listen}{path}");
        let answer = agent
            .get(&url)
            .call()
            .and_then(|mut a| a.body_mut().read_to_string());
        answers.push((path.to_owned(), answer.map_err(|e| format!("{url}: {e}"))?));
    }
    Ok(answers)
}

fn report(audit: &Audit, json: bool) -> anyhow::Result<()> {
    let searched = &audit.searched;
    if json {
        json::print(audit)?;
    } else {
        say!(
            "sent      {} records from {}",
            audit.canaries,
            audit.networks
        );
        say!(
            "searched  {} files, {}, and in them {} compressed frames",
            searched.files,
            bytes(searched.bytes),
            searched.frames
        );
        say!("masked    {} seen", searched.masked);
        for (path, count) in &searched.plain {
            say!("PLAIN     {} in {}", count, path.display());
        }
        for answer in &audit.answers {
            say!("PLAIN     in the answer {answer}");
        }
        for what in &audit.left_out {
            say!("left out  {what}");
        }
        if audit.core_dumps {
            say!("CORE      the instance may dump its memory, in which addresses are plain");
        }
    }
    let bad = searched.plain.len() + audit.answers.len() + usize::from(audit.core_dumps);
    match bad {
        0 => Ok(()),
        n => bail!(Ended::found_bad(format!("{n} places may show an address"))),
    }
}
