//! The whole program: which thread runs what, in which order they start and stop.
//!
//! Start: lock and open the queue, listen, join the group; then ingest, store and flusher run.
//! Stop: ingest stops polling and hands its last blocks over; the store thread syncs and commits
//! them; the flusher ends its request. All of that within [`STOP_WITHIN`], or the process ends
//! without it: what is not committed is read again, and a sealed batch is sent again.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context as _;
use crossbeam_channel::bounded;

use crate::consume::{Consumer, ConsumerOptions};
use crate::flush::{FlushOptions, FlushStatus, Flusher};
use crate::ingest::Ingest;
use crate::ownership::{Ownership, StartAt};
use crate::queue::{DataDir, Queue};
use crate::runtime::config::{Config, KafkaStart};
use crate::runtime::disk::DiskBound;
use crate::runtime::report::Report;
use crate::runtime::shutdown::Shutdown;
use crate::runtime::stats::Stats;
use crate::runtime::{control, http};
use crate::sink::{Schema, Sink, SinkOptions};
use crate::store::{Feedback, Store};

/// Blocks in flight between ingest and store: at most 128 KiB of rows each.
const CHANNEL_BLOCKS: usize = 32;

/// Questions of commands that wait for a slot; more wait at the socket.
const QUESTIONS: usize = 8;

/// How long a start waits for the lock: a `status` of a stopped instance takes less.
const LOOKED_AT: Duration = Duration::from_secs(3);

/// Bound on an orderly stop. Below the 10 s that supervisors commonly grant.
pub const STOP_WITHIN: Duration = Duration::from_secs(8);

/// Runs the service until `shutdown` is requested or a part fails.
///
/// # Errors
/// The first failure of any part; by then everything committed is on the disk.
pub fn run(config: &Config, shutdown: &Shutdown) -> anyhow::Result<()> {
    let queue = Queue::open(DataDir::lock_within(&config.data_dir, LOOKED_AT)?)?;
    queue.refuse_copy()?;
    queue.keep_counts(config.keep_counts);
    let stats = Stats::default();
    let flush_status = Mutex::new(FlushStatus::default());
    let feedback = Feedback::default();
    let (questions, asked) = bounded(QUESTIONS);
    let report = Report {
        queue: &queue,
        stats: &stats,
        flush: &flush_status,
        topic: &config.kafka_topic,
        questions: &questions,
    };

    let schema = Schema::new(&config.clickhouse_database, &config.clickhouse_table)?;
    let sink = Sink::new(&sink_options(config)?)?;
    let mut flusher = Flusher::new(
        &queue,
        sink,
        schema,
        flush_options(config),
        shutdown,
        &stats,
        &flush_status,
    )?;
    flusher.listen(asked);
    let consumer = Consumer::subscribe(&ConsumerOptions {
        brokers: &config.kafka_brokers,
        topic: &config.kafka_topic,
        group: &config.kafka_group,
        installation: queue.installation(),
        properties: &config.kafka_properties,
    })
    .context("cannot start the Kafka client")?;
    let start_at = match config.kafka_start {
        KafkaStart::Earliest => StartAt::Earliest,
        KafkaStart::Latest => StartAt::Latest,
        KafkaStart::Stop => StartAt::Stop,
    };
    let ownership = Ownership::new(&queue, &consumer, &config.kafka_topic, start_at);
    let disk = DiskBound::new(
        config.data_dir.clone(),
        config.max_queue_bytes,
        config.min_free_disk,
    )
    .with_quarantine(config.max_quarantine_bytes, config.quarantine_full);
    let mut store = Store::new(&queue, ownership, disk, &feedback, shutdown, &stats)?;

    let web = http::Server::bind(config.http_listen)?;
    let socket = control::Server::bind(queue.dir())?;
    log::info!(
        "installation {}, data dir {}, {} rows queued from before",
        queue.installation(),
        config.data_dir.display(),
        queue.summary()?.rows
    );

    let failed: Mutex<Option<anyhow::Error>> = Mutex::new(None);
    // Whatever part ends first, by an error or a panic, stops the others.
    let guarded = |name: &str, result: std::thread::Result<anyhow::Result<()>>| {
        let error = match result {
            Ok(Ok(())) => None,
            Ok(Err(e)) => Some(e.context(format!("the {name} thread ended"))),
            Err(_) => Some(anyhow::anyhow!("BUG: the {name} thread panicked")),
        };
        if let Some(e) = error {
            // The first error is the cause; later ones follow from it.
            let mut first = failed.lock().unwrap_or_else(|e| e.into_inner());
            if first.is_none() {
                *first = Some(e);
            }
        }
        shutdown.request();
    };
    let part = |name: &'static str, run: &mut dyn FnMut() -> anyhow::Result<()>| {
        guarded(
            name,
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)),
        );
    };
    let (to_store, from_ingest) = bounded(CHANNEL_BLOCKS);
    let ingest = Ingest {
        consumer: &consumer,
        to_store,
        sync_interval: config.sync_interval,
        feedback: &feedback,
        shutdown,
        stats: &stats,
    };
    std::thread::scope(|scope| {
        // Dropped at its end, so that ingest does not wait for room in the channel for ever.
        let from_ingest = from_ingest;
        let (part, store) = (&part, &mut store);
        scope.spawn(move || part("store", &mut || Ok(store.run(&from_ingest)?)));
        scope.spawn(|| part("flusher", &mut || Ok(flusher.run()?)));
        scope.spawn(|| part("http", &mut || web.run(&report, shutdown)));
        scope.spawn(|| part("control", &mut || socket.run(&report, shutdown)));
        scope.spawn(|| part("report", &mut || report.run(shutdown)));
        // Dropped at its end, ingest closes the channel, and the store thread finishes.
        let ingest = ingest;
        scope.spawn(move || {
            let mut ingest = Some(ingest);
            part("ingest", &mut || match ingest.take() {
                Some(ingest) => Ok(ingest.run()?),
                None => Ok(()),
            });
        });
    });
    consumer.close();
    match failed.into_inner().unwrap_or_else(|e| e.into_inner()) {
        Some(e) => Err(e),
        None => {
            queue.sync()?;
            let left = queue.summary()?;
            log::info!("stopped; {} rows stay queued", left.rows);
            Ok(())
        }
    }
}

/// How ClickHouse is reached, from the settings.
///
/// # Errors
/// If the password file cannot be read.
pub fn sink_options(config: &Config) -> anyhow::Result<SinkOptions> {
    Ok(SinkOptions {
        url: config.clickhouse_url.clone(),
        database: config.clickhouse_database.clone(),
        table: config.clickhouse_table.clone(),
        user: config.clickhouse_user.clone(),
        password: config.clickhouse_password()?,
        request_timeout: config.request_timeout,
    })
}

/// What the flusher does, from the settings.
pub fn flush_options(config: &Config) -> FlushOptions {
    FlushOptions {
        packed_format: config.packed_format,
        interval: config.flush_interval,
        max_rows: config.max_batch_rows,
        max_body_bytes: config.max_body_bytes,
        url: config.clickhouse_url.clone(),
        database: config.clickhouse_database.clone(),
        table: config.clickhouse_table.clone(),
        create_tables: !config.no_create_tables,
        request_timeout: config.request_timeout,
        keep_delivered: config.keep_delivered,
    }
}
