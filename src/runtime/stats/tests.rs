use super::*;

#[test]
fn all_are_there_from_the_start_with_names_that_say_their_unit() {
    let stats = Stats::default();
    stats.flush.expect(&["hold"]);
    stats.ingest.expect_reasons(&["empty"]);
    let text = stats.open_metrics().unwrap();
    for sample in [
        "anonymizer_inserts_total{outcome=\"stored\"} 0",
        "anonymizer_inserts_total{outcome=\"hold\"} 0",
        "anonymizer_queries_total{outcome=\"answered\"} 0",
        "anonymizer_quarantined_messages_total{reason=\"empty\"} 0",
        "anonymizer_lost_offsets_total 0",
        "anonymizer_dropped_rows_total 0",
        "anonymizer_record_to_stored_seconds_count 0",
        "anonymizer_max_queue_bytes 0",
    ] {
        assert!(text.lines().any(|l| l == sample), "no {sample} in {text}");
    }
    for begin in [
        "anonymizer_build_info{version=",
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_open_fds ",
        "process_max_fds ",
        "process_threads ",
        "process_start_time_seconds ",
    ] {
        assert!(
            text.lines().any(|l| l.starts_with(begin)),
            "no {begin} in {text}"
        );
    }
}

#[test]
fn the_process_started_a_moment_ago_and_uses_memory() {
    let text = Stats::default().open_metrics().unwrap();
    let value = |name: &str| -> f64 {
        let mut lines = text.lines();
        let value = lines.find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap().parse().unwrap()
    };
    let now = crate::runtime::clock::now_ms() as f64 / 1000.0;
    let age = now - value("process_start_time_seconds");
    assert!((-2.0..3600.0).contains(&age), "{age} s");
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_open_fds") >= 3.0);
    assert!(value("process_threads") >= 1.0);
}
