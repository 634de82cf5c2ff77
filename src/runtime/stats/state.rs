//! How it stands, as `status` tells it. All of it is set when it is asked for.

use prometheus_client::metrics::gauge::Gauge;

use super::limits::Seconds;
use super::table::metrics;
use super::words::{ByPartition, Words};

metrics! {
    /// See the module.
    pub struct StateStats {
        verdict: Words = Words::new("code"), "verdict",
            "1 for the code that heads `status`, 0 for the others; from good to bad: ok, delayed, paused, held, \
             at_risk, lost";
        finding: Words = Words::new("what"), "finding",
            "1 for each thing that `status` finds not to be as it should, 0 for the others; ops/runbook.md has them";
        hold: Words = Words::new("reason"), "hold",
            "1 for why inserts are held until a person acts, 0 for the others";
        kafka_fault: Words = Words::new("reason"), "kafka_fault",
            "1 for why Kafka does not let it in or does not answer, as far as that is known, 0 for the others";
        kafka_lag: ByPartition, "kafka_lag",
            "Records between what was read and the end of Kafka's log, of each partition held whose end is known; \
             librdkafka tells the end every 5 s";
        visible_through: ByPartition, "visible_through_timestamp_seconds",
            "Every record of the partition that Kafka got before this is in ClickHouse, or set aside for a person, \
             Unix time; of each partition held of which it is known";
        requests_in_flight: Gauge, "requests_in_flight", "Requests under way: 1 at most";
        in_flight_seconds: Seconds, "request_in_flight_seconds",
            "Time since the request under way began; 0 if there is none";
        failing_since: Seconds, "failing_since_timestamp_seconds",
            "Since when every request has failed, Unix time; 0 if the last one did not";
        last_insert: Seconds, "last_insert_timestamp_seconds",
            "When ClickHouse acknowledged an insert last, Unix time, also of an earlier process; 0 if never";
        last_request: Seconds, "last_request_timestamp_seconds",
            "When the last request began that the proxy's limiter let pass, Unix time; 0 if none did";
        forecast_drained: Seconds, "forecast_drained_seconds",
            "Time until all is sent that is queued now, as things go; 0 if nothing is, infinite if more comes in";
        forecast_full: Seconds, "forecast_full_seconds",
            "Time until the queue has no room, as things go; infinite if it does not come to that";
    }
}
