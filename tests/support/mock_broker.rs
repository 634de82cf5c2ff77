//! A Kafka broker for a machine without Java: librdkafka's mock cluster in a process of its own.
//!
//! ```text
//! mock_broker ADDRESS_FILE [PARTITIONS]
//! ```
//! Makes the topic `http_log`, writes `host:port` to the file and stays until SIGTERM or SIGINT. It
//! keeps everything in memory, and of each partition only the newest 5 MiB: it is for a look at the
//! program, not for a test of volume.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use rdkafka::mocking::MockCluster;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let file: PathBuf = args
        .next()
        .context("usage: mock_broker ADDRESS_FILE [PARTITIONS]")?
        .into();
    let partitions: i32 = args.next().as_deref().unwrap_or("6").parse()?;
    ensure!(partitions > 0, "at least one partition");
    // Before the address is told: from then on a signal may come.
    let mut signals = Signals::new([SIGTERM, SIGINT])?;

    let cluster = MockCluster::new(1)?;
    cluster.create_topic("http_log", partitions, 1)?;
    let address = cluster.bootstrap_servers();

    // Renamed into place, so that a reader never sees half an address.
    let half = file.with_extension("new");
    std::fs::write(&half, format!("{address}\n"))
        .and_then(|()| std::fs::rename(&half, &file))
        .with_context(|| format!("cannot write {}", file.display()))?;
    println!("{address}");

    signals.forever().next();
    Ok(())
}
