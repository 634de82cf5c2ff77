//! The whole program: which thread runs what, in which order they start and stop.
//!
//! Start: lock and open the queue, listen, join the group; then ingest, store and flusher run.
//! Stop: ingest stops polling and hands its last blocks over; the store thread syncs and commits
//! them; the flusher ends its request. All of that within [`STOP_WITHIN`], or the process ends
//! without it: what is not committed is read again, and a sealed batch is sent again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use crossbeam_channel::{Receiver, bounded};

use crate::clickhouse::{Schema, SinkError};
use crate::flush::{FlushStatus, Flusher, Hold};
use crate::ingest::Ingest;
use crate::kafka::Consumer;
use crate::kafka::fault::Reason;
use crate::observe::forecast::Meter;
use crate::observe::history::History;
use crate::observe::report::Report;
use crate::observe::verdict::Code;
use crate::observe::word::Word;
use crate::observe::{control, http};
use crate::ownership::Ownership;
use crate::queue::{DataDir, Queue, format_version};
use crate::row::RowError;
use crate::row::tap::Taps;
use crate::runtime::clock::now_ms;
use crate::runtime::shutdown::Shutdown;
use crate::runtime::stats::Stats;
use crate::settings::Config;
use crate::store::bounds::DiskBound;
use crate::store::{Feedback, Store};

/// Blocks in flight between ingest and store: at most 128 KiB of rows each.
const CHANNEL_BLOCKS: usize = 32;

/// Questions of commands that wait for a slot; more wait at the socket.
const QUESTIONS: usize = 8;

/// How long a start waits for the lock: a `status` of a stopped instance takes less.
const LOOKED_AT: Duration = Duration::from_secs(3);

/// Bound on an orderly stop. Below the 10 s that supervisors commonly grant.
pub const STOP_WITHIN: Duration = Duration::from_secs(8);

/// The program's version, and those of what it was built from.
pub fn version() -> String {
    let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
    format!(
        "{} (commit {}, librdkafka {librdkafka}, queue format {})",
        env!("CARGO_PKG_VERSION"),
        env!("ANONYMIZER_COMMIT"),
        format_version()
    )
}

/// Runs the service until `shutdown` is requested or a part fails.
///
/// # Errors
/// The first failure of any part; by then everything committed is on the disk.
pub fn run(config: &Config, shutdown: &Shutdown) -> anyhow::Result<()> {
    let queue = Queue::open(DataDir::lock_within(&config.data_dir, LOOKED_AT)?)?;
    queue.begin_run()?;
    queue.keep_counts(config.keep_counts);
    let stats = Stats::default();
    config.show_limits(&stats.limits);
    stats.ingest.expect_reasons(&RowError::LABELS);
    stats.flush.expect(&SinkError::LABELS);
    stats.state.verdict.expect(&Code::ALL.map(Code::name));
    stats.state.finding.expect(Word::ALL);
    stats.state.hold.expect(&Hold::WORDS);
    stats.state.kafka_fault.expect(&Reason::WORDS);
    let flush_status = Mutex::new(FlushStatus::default());
    let feedback = Feedback::default();
    let taps = Taps::default();
    let (questions, asked) = bounded(QUESTIONS);
    let schema = Schema::new(&config.clickhouse_database, &config.clickhouse_table)?;
    let mut flusher = Flusher::new(
        &queue,
        config.sink()?,
        schema,
        config.flush_options(),
        shutdown,
        &stats,
        &flush_status,
    )?;
    flusher.listen(asked);
    let (may_send, asks) = bounded(1);
    flusher.ask_before_sending(may_send);
    let consumer = Consumer::new(&config.consumer_options(queue.installation()))
        .context("cannot start the Kafka client")?;
    let ownership = Ownership::new(&queue, &consumer, &config.kafka_topic, config.start_at());
    let disk = DiskBound::new(queue.dir().path().to_owned(), config.bounds());
    let mut store = Store::new(&queue, ownership, disk, &feedback, shutdown, &stats, &taps)?;

    store.listen(asks);
    let in_doubt = store.is_in_doubt();

    let report = Report {
        queue: &queue,
        stats: &stats,
        flush: &flush_status,
        topic: &config.kafka_topic,
        bounds: config.bounds(),
        questions: &questions,
        consumer: &consumer,
        taps: &taps,
        meter: Meter::default(),
        stood: Mutex::default(),
        history: History::open(queue.dir()),
        settings: config.describe(),
    };

    let policy = config.policy();
    let policy_before = queue.note_policy(&policy, now_ms())?;

    let web = http::Server::bind(config.into())?;
    let socket = control::Server::bind(queue.dir())?;
    log::info!(
        "anonymizer {}: topic {}, group {}, brokers {}; {policy}; ClickHouse {}, table {}.{}; data dir {}, \
         installation {}, {} rows queued from before",
        version(),
        config.kafka_topic,
        config.kafka_group,
        config.kafka_brokers,
        config.clickhouse_url,
        config.clickhouse_database,
        config.clickhouse_table,
        config.data_dir.display(),
        queue.installation(),
        queue.summary()?.rows
    );
    if let Some(before) = queue.note_writer()? {
        log::info!(
            "the queue was last written by anonymizer {}, in format {}; from now on by {}, in format {}",
            before.release,
            before.format,
            env!("CARGO_PKG_VERSION"),
            format_version()
        );
    }
    if let Some(before) = policy_before {
        let level = match policy.stricter(&before) == policy {
            true => log::Level::Info,
            false => log::Level::Warn,
        };
        log::log!(
            level,
            "from now on rows are masked by another policy: {policy}; those before stay as they are: {before}"
        );
    }
    log::info!("metrics at {}/metrics", web.url());

    let parts = Parts::new(shutdown);
    let (to_store, from_ingest) = bounded(CHANNEL_BLOCKS);
    let ingest = Ingest {
        consumer: &consumer,
        to_store,
        sync_interval: config.sync_interval,
        policy: &policy,
        feedback: &feedback,
        shutdown,
        stats: &stats,
        in_doubt,
    };
    std::thread::scope(|scope| {
        let (parts, store) = (&parts, &mut store);
        scope.spawn(move || {
            parts.run_on("store", from_ingest, |blocks| Ok(store.run(blocks)?));
        });
        scope.spawn(|| parts.run("flusher", || Ok(flusher.run()?)));
        scope.spawn(|| {
            parts.run("http", || {
                web.run(&report, shutdown);
                Ok(())
            })
        });
        scope.spawn(|| {
            parts.run("control", || {
                socket.run(&report, shutdown);
                Ok(())
            })
        });
        scope.spawn(|| parts.run("report", || report.run(shutdown)));
        // Dropped at its end, ingest closes the channel, and the store thread finishes.
        scope.spawn(move || parts.run("ingest", || Ok(ingest.run()?)));
    });
    consumer.close();
    if let Ok(status) = report.status() {
        report.sample(&status);
    }
    if let Some(e) = parts.failed() {
        return Err(e);
    }
    queue.sync()?;
    let left = queue.summary()?;
    log::info!("stopped; {} rows stay queued", left.rows);
    Ok(())
}

/// The threads of the program: whichever ends first, by an error or a panic, stops the others.
struct Parts<'a> {
    shutdown: &'a Shutdown,
    /// The first error is the cause; later ones follow from it.
    failed: Mutex<Option<anyhow::Error>>,
}

impl<'a> Parts<'a> {
    fn new(shutdown: &'a Shutdown) -> Parts<'a> {
        Parts {
            shutdown,
            failed: Mutex::new(None),
        }
    }

    /// Runs a part to its end.
    fn run(&self, name: &str, run: impl FnOnce() -> anyhow::Result<()>) {
        let error = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(())) => None,
            Ok(Err(e)) => Some(e.context(format!("the {name} thread ended"))),
            Err(_) => Some(anyhow::anyhow!("BUG: the {name} thread panicked")),
        };
        if let Some(e) = error {
            let mut first = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(e);
        }
        self.shutdown.request();
    }

    /// The same for a part that takes what another one sends. At its end the other's sends fail, which
    /// would otherwise wait for room in the channel for ever.
    fn run_on<T>(
        &self,
        name: &str,
        sent: Receiver<T>,
        run: impl FnOnce(&Receiver<T>) -> anyhow::Result<()>,
    ) {
        self.run(name, || run(&sent));
    }

    fn failed(self) -> Option<anyhow::Error> {
        let failed = self.failed.into_inner();
        failed.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_to_a_part_that_has_ended_does_not_wait() {
        let shutdown = Shutdown::default();
        let parts = Parts::new(&shutdown);
        let (send, sent) = bounded(1);
        parts.run_on("test", sent, |_| anyhow::bail!("the disk is gone"));
        // One fits, and a second one would wait for ever.
        assert!(send.try_send(1).is_err());
        assert!(shutdown.requested());
        let e = parts.failed().unwrap();
        assert_eq!(format!("{e:#}"), "the test thread ended: the disk is gone");
    }
}
