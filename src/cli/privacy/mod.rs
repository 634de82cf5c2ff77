//! `anonymizer privacy audit`: does an address that goes through reach a disk, a log or an answer?

mod canary;
mod search;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use crate::cli::exit::Ended;
use crate::cli::json::{self, List};
use crate::cli::live::Live;
use crate::cli::privacy::canary::Canaries;
use crate::cli::privacy::search::{Searched, search};
use crate::cli::producer;
use crate::observe::control::{self, Request};
use crate::observe::human::{bytes, of};
use crate::queue::{LOCK_FILE, PolicySince};
use crate::runtime::http_client;
use crate::runtime::span;
use crate::settings::Config;

/// What can be asked about privacy.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum PrivacyCommand {
    /// Send reserved addresses through, and look for them in all that is left behind
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
    /// How long the instance may take to read them, and then to send them
    #[arg(long, value_name = "SPAN", default_value = "5m", value_parser = span::parse)]
    pub wait: Duration,
    /// Do not ask the pages: they want a password or a certificate, or another proxy stands before them
    #[arg(long)]
    pub no_pages: bool,
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

/// Settings that say where records go and come from; the live instance's must be the same.
const SHARED: [&str; 3] = ["kafka_brokers", "kafka_topic", "http_listen"];

/// What was done and found.
struct Audit {
    canaries: u32,
    networks: String,
    searched: Searched,
    /// Answers with an address that is not masked.
    answers: BTreeSet<String>,
    /// Whether the kernel would write the memory of the instance, where addresses are plain, to a file or hand it on.
    core_dumps: bool,
}

/// Carries it out.
///
/// # Errors
/// No instance runs here, it has other settings, Kafka does not take the records, they are not read in time, an
/// address was found, or something could not be looked at.
pub fn run(command: &PrivacyCommand, config: &Config) -> anyhow::Result<()> {
    let PrivacyCommand::Audit(args) = command;
    for path in &args.also {
        ensure!(
            path.exists(),
            Ended::usage(format!("--also: {} is not there", path.display()))
        );
    }
    let before = status(config)?;
    ensure_same_settings(config)?;
    let policy = before["privacy"].as_array().and_then(|all| all.last());
    let policy = policy.context("the instance does not tell what it masks")?;
    let policy: PolicySince = serde_json::from_value(policy.clone())?;
    let canaries = Canaries::new(&policy.policy)?;
    let messages = canaries.records(args.canaries as usize).map(|record| {
        let mut message = Vec::new();
        record.encode_into(&mut message);
        message
    });
    let read = partitions(&before, "read").map(|(partition, _)| partition);
    let ends = producer::messages(config, read.collect(), messages)?;

    let mut audit = Audit {
        canaries: args.canaries,
        networks: canaries.networks(),
        searched: Searched::default(),
        answers: BTreeSet::new(),
        core_dumps: false,
    };
    let Some(mut status) = wait_until(config, "read", &ends, args.wait)? else {
        bail!(
            "the records were not read within {:?}: `status` says why; --wait waits longer",
            args.wait
        );
    };
    // Before they go, and what their going leaves behind.
    audit.look(config, args, &canaries, &status);
    match wait_until(config, "in_clickhouse", &ends, args.wait)? {
        Some(stored) => status = stored,
        None => {
            let words = format!(
                "what sending them leaves behind: they were not in ClickHouse within {:?}",
                args.wait
            );
            audit.searched.left_out.insert(words);
        }
    }
    audit.look(config, args, &canaries, &status);
    match core_dumps(&config.data_dir) {
        Ok(dumps) => audit.core_dumps = dumps,
        Err(e) => {
            let words = format!("the limit of core dumps: {e:#}");
            audit.searched.left_out.insert(words);
        }
    }
    if audit.searched.masked == 0 && canaries.show_when_masked() {
        let words =
            "none was seen masked either, so the search proves nothing: try again".to_owned();
        audit.searched.left_out.insert(words);
    }
    report(&audit, args.json)
}

impl Audit {
    fn look(&mut self, config: &Config, args: &AuditArgs, canaries: &Canaries, status: &Value) {
        for path in std::iter::once(&config.data_dir).chain(&args.also) {
            search(path, canaries, &mut self.searched);
        }
        let mut answers = vec![("status".to_owned(), Ok(status.to_string()))];
        if !args.no_pages {
            answers.extend(pages(config));
        }
        for (name, answer) in answers {
            match answer {
                Ok(text) if canaries.look(text.as_bytes(), text.len()).plain > 0 => {
                    _ = self.answers.insert(name)
                }
                Ok(_) => {}
                Err(why) => {
                    let words = format!("{name}: {why}; --no-pages does without");
                    self.searched.left_out.insert(words);
                }
            }
        }
    }
}

/// # Errors
/// If the records would go where the instance does not read.
fn ensure_same_settings(config: &Config) -> anyhow::Result<()> {
    let live = Live::ask(config)?.context("the instance stopped; try again")?;
    let differ = live.differ(&config.describe());
    let differ: Vec<String> = differ
        .into_iter()
        .map(|d| d.name)
        .filter(|name| SHARED.contains(&&**name))
        .collect();
    ensure!(
        differ.is_empty(),
        "the live instance has another {}: give this command the same settings",
        differ.join(", ")
    );
    Ok(())
}

fn status(config: &Config) -> anyhow::Result<Value> {
    control::ask(&config.data_dir, &Request::Status)?.with_context(|| {
        format!(
            "no instance runs on {}: start it, the records go through it",
            config.data_dir.display()
        )
    })
}

/// The partitions that the instance reads, and how far each is in this: `read`, which is also synced, or
/// `in_clickhouse`.
fn partitions(status: &Value, how_far: &str) -> impl Iterator<Item = (i32, i64)> {
    let all = status["kafka"]["partitions"]
        .as_array()
        .into_iter()
        .flatten();
    all.filter_map(move |p| {
        let number = i32::try_from(p["partition"].as_i64()?).ok()?;
        Some((number, p[how_far].as_i64().unwrap_or(-1)))
    })
}

/// The status when all partitions are that far; `None` if they are not in time.
fn wait_until(
    config: &Config,
    how_far: &str,
    ends: &BTreeMap<i32, i64>,
    patience: Duration,
) -> anyhow::Result<Option<Value>> {
    let deadline = Instant::now() + patience;
    loop {
        let status = status(config)?;
        let are: BTreeMap<_, _> = partitions(&status, how_far).collect();
        if ends
            .iter()
            .all(|(p, end)| are.get(p).is_some_and(|is| is >= end))
        {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// By the limit of the process that holds the lock.
fn core_dumps(data_dir: &Path) -> anyhow::Result<bool> {
    let pid =
        fs::read_to_string(data_dir.join(LOCK_FILE)).context("cannot read who holds the lock")?;
    let process = PathBuf::from("/proc").join(pid.trim());
    let read = |path: PathBuf| {
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let name = read(process.join("comm"))?;
    // A number of another container's.
    ensure!(
        name.trim() == "anonymizer",
        "process {} is {}, not the instance",
        pid.trim(),
        name.trim()
    );
    let limits = read(process.join("limits"))?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"));
    let most = line.and_then(|line| line.split_whitespace().nth(1));
    // One byte is too little for a file, and keeps it from a program of core_pattern as well; a limit of none does not.
    let handed_on = read(PathBuf::from("/proc/sys/kernel/core_pattern"))?.starts_with(['|', '@']);
    Ok(match most {
        Some("1") => false,
        Some("0") => handed_on,
        _ => true,
    })
}

/// What each page answers, or why it does not.
fn pages(config: &Config) -> Vec<(String, Result<String, String>)> {
    let listen = config.http_listen;
    let agent = http_client::for_one_request()
        .timeout_global(Some(PAGE_TIMEOUT))
        .build()
        .new_agent();
    let ask = |path: &&str| {
        if config.http_certificate_file.is_some() || config.http_user.is_some() {
            return Err("it wants a password or a certificate".to_owned());
        }
        let answer = agent.get(format!("http://{listen}{path}")).call();
        answer
            .and_then(|mut a| a.body_mut().read_to_string())
            .map_err(|e| e.to_string())
    };
    PAGES
        .iter()
        .map(|path| ((*path).to_owned(), ask(path)))
        .collect()
}

/// The same as JSON.
fn told(audit: &Audit) -> Value {
    let searched = &audit.searched;
    let list = |of: &BTreeSet<String>| List::from(of.iter().cloned().collect::<Vec<_>>());
    let plain = searched
        .plain
        .iter()
        .map(|(file, addresses)| json!({"file": file, "addresses": addresses}));
    json!({
        "canaries": audit.canaries,
        "networks": audit.networks,
        "files": searched.files,
        "bytes": searched.bytes,
        "frames": searched.frames,
        "masked": searched.masked,
        "plain": List::from(plain.collect::<Vec<_>>()),
        "answers": list(&audit.answers),
        "core_dumps": audit.core_dumps,
        "left_out": list(&searched.left_out),
    })
}

fn report(audit: &Audit, json: bool) -> anyhow::Result<()> {
    let searched = &audit.searched;
    if json {
        json::print(&told(audit))?;
    } else {
        say!(
            "sent      {} from {}",
            of(audit.canaries.into(), "record"),
            audit.networks
        );
        say!(
            "searched  {}, {}, with {} in them, twice",
            of(searched.files, "file"),
            bytes(searched.bytes),
            of(searched.frames, "compressed frame")
        );
        say!("masked    seen {} times", searched.masked);
        for (path, count) in &searched.plain {
            say!("PLAIN     {count} in {}", path.display());
        }
        for answer in &audit.answers {
            say!("PLAIN     in the answer of {answer}");
        }
        if audit.core_dumps {
            say!("CORE      the instance's memory, in which addresses are plain, may be dumped");
        }
        for what in &searched.left_out {
            say!("left out  {what}");
        }
    }
    let found = of((searched.plain.len() + audit.answers.len()) as u64, "place");
    ensure!(
        searched.plain.is_empty() && audit.answers.is_empty(),
        Ended::found_bad(format!("{found} with an address that is not masked"))
    );
    ensure!(
        !audit.core_dumps,
        Ended::found_bad("a core dump would show addresses that are not masked")
    );
    ensure!(
        searched.left_out.is_empty(),
        "nothing bad was found, but not everything could be looked at"
    );
    Ok(())
}
