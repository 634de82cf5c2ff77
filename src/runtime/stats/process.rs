//! What the system says of this process, under the names that every Prometheus client library has, and
//! which build it is.

use std::sync::atomic::AtomicU64;

use procfs::process::{LimitValue, Process};
use procfs::{ProcResult, WithCurrentSystemInfo as _};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// What was built.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
    commit: &'static str,
    librdkafka: String,
}

pub(super) fn register_build(registry: &mut Registry) {
    let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
    let build = Build {
        version: env!("CARGO_PKG_VERSION"),
        commit: env!("ANONYMIZER_COMMIT"),
        librdkafka,
    };
    registry.register("build", "What was built, and of what", Info::new(build));
}

/// Nothing is registered where there is no `/proc`, as in some containers.
pub(super) fn register(registry: &mut Registry) {
    if let Err(e) = try_register(registry) {
        log::debug!("no metrics of the process: {e}");
    }
}

fn try_register(registry: &mut Registry) -> ProcResult<()> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let ticks = procfs::ticks_per_second() as f64;
    let since_boot = stat.starttime as f64 / ticks;
    let started = procfs::boot_time_secs()? as f64 + since_boot;
    let most_files = match process.limits()?.max_open_files.soft_limit {
        LimitValue::Value(most) => most as f64,
        LimitValue::Unlimited => f64::INFINITY,
    };
    let files = process.fd_count()? as u64;

    let cpu = (stat.utime + stat.stime) as f64 / ticks;
    let gauge = |value: u64| ConstGauge::new(value);
    let float = |value: f64| {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(value);
        gauge
    };
    registry.register(
        "process_cpu_seconds",
        "Time of CPU that the process took, user's and system's",
        ConstCounter::new(cpu),
    );
    registry.register(
        "process_start_time_seconds",
        "When the process started, Unix time",
        float(started),
    );
    registry.register(
        "process_resident_memory_bytes",
        "Memory that is resident",
        gauge(stat.rss_bytes().get()),
    );
    registry.register(
        "process_virtual_memory_bytes",
        "Address space",
        gauge(stat.vsize),
    );
    registry.register(
        "process_threads",
        "Threads",
        gauge(stat.num_threads.unsigned_abs()),
    );
    registry.register("process_open_fds", "Open file descriptors", gauge(files));
    registry.register(
        "process_max_fds",
        "Most open file descriptors that are allowed",
        float(most_files),
    );
    Ok(())
}
