//! [`Status`] as gauges.

use super::forecast::Forecast;
use super::status::Status;
use crate::flush::FlushStatus;
use crate::queue::BatchState;
use crate::runtime::logging;
use crate::runtime::stats::{Stats, limit, set_counter};

/// Shows what the status says.
pub(super) fn set(stats: &Stats, s: &Status) {
    queue(stats, s);
    let state = &stats.state;
    state.verdict.set([s.verdict.code.name()]);
    let found = s.verdict.findings.iter();
    state.finding.set(found.map(|f| f.what.text()));
    state.hold.set(s.flush.hold_kind.as_deref());
    state
        .kafka_fault
        .set(s.kafka.fault.as_ref().map(|t| t.kind.as_str()));
    let partitions = s.kafka.partitions.iter();
    let unread = partitions.filter_map(|p| Some((p.partition, p.unread? as i64)));
    state.kafka_lag.set(unread);
    let partitions = s.kafka.partitions.iter();
    let visible =
        partitions.filter_map(|p| Some((p.partition, (p.visible_through_ms? / 1000) as i64)));
    state.visible_through.set(visible);
    flush(stats, &s.flush, s.told_ms);
    forecast(stats, &s.forecast, s.told_ms);
    set_counter(&stats.log_lines_dropped, logging::dropped());
    set_counter(&stats.log_lines_repeated, logging::repeated());
}

fn queue(stats: &Stats, s: &Status) {
    let (gauges, q) = (&stats.queue, &s.queue);
    let most = &stats.limits;
    limit(&most.max_queue_bytes, s.limits.max_queue_bytes);
    limit(&most.min_free_disk_bytes, s.limits.min_free_disk);
    limit(&most.max_quarantine_bytes, s.limits.max_quarantine_bytes);
    let age = q
        .oldest_ms
        .map_or(0, |ms| s.told_ms.saturating_sub(ms) / 1000);
    limit(&gauges.rows, q.rows);
    limit(&gauges.bytes, q.bytes);
    limit(&gauges.disk_bytes, s.disk_bytes);
    limit(&gauges.oldest_seconds, age);
    limit(&gauges.quarantine_messages, q.quarantine.entries);
    limit(&gauges.quarantine_bytes, q.quarantine.bytes);
    set_counter(&gauges.quarantine_dropped, q.quarantine.dropped);
    let held = q.lanes.iter();
    let held = held.filter(|l| l.is_held());
    gauges.held_lanes.set(held.count() as i64);
    let rejected = q.batches.iter();
    let rejected = rejected.filter(|b| matches!(b.state, BatchState::Rejected { .. }));
    gauges.rejected_batches.set(rejected.count() as i64);
    set_counter(&gauges.dropped_batches, s.dropped.len() as u64);
    let rows = s.dropped.iter().map(|batch| batch.rows).sum();
    set_counter(&gauges.dropped_rows, rows);
    let lost: i64 = s.lost.iter().map(|l| l.to - l.from).sum();
    set_counter(&gauges.lost_offsets, lost.unsigned_abs());
    let noticed = s.lost.iter().map(|l| l.noticed_ms).max();
    gauges.last_loss.set(seconds(noticed));
}

fn flush(stats: &Stats, f: &FlushStatus, now: u64) {
    let state = &stats.state;
    let slot = f.next_slot_ms.saturating_sub(now) / 1000;
    limit(&stats.flush.next_slot_seconds, slot);
    state
        .requests_in_flight
        .set(i64::from(f.in_flight.is_some()));
    let began = f.in_flight.as_ref().map(|r| now.saturating_sub(r.since_ms));
    state.in_flight_seconds.set(seconds(began));
    let failing = f.failing.as_ref().map(|trouble| trouble.since_ms);
    state.failing_since.set(seconds(failing));
    let stored = f.stored.as_ref().map(|stored| stored.at_ms);
    state.last_insert.set(seconds(stored));
    state.last_request.set(seconds(f.last_attempt_ms));
}

fn forecast(stats: &Stats, f: &Forecast, now: u64) {
    let until =
        |at: Option<u64>| at.map_or(f64::INFINITY, |at| seconds(Some(at.saturating_sub(now))));
    let drained = match f.inserts {
        Some(0) => 0.0,
        _ => until(f.drained_ms),
    };
    stats.state.forecast_drained.set(drained);
    stats.state.forecast_full.set(until(f.full_ms));
}

fn seconds(ms: Option<u64>) -> f64 {
    ms.unwrap_or(0) as f64 / 1000.0
}
