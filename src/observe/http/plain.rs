//! OpenMetrics as Prometheus' older plain text, version 0.0.4, which browsers show and more tools read.
//!
//! There the name of a counter has its `_total` in all lines, a unit, an exemplar and an end are unknown,
//! and so are some types.

use std::fmt::Write as _;

/// Rewrites what [`prometheus_client`] encodes.
pub(super) fn text(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let comment = line.strip_prefix("# ").and_then(|c| c.split_once(' '));
        match comment {
            // Its name depends on the type, which follows.
            Some(("HELP", rest)) => help = rest.split_once(' '),
            Some(("TYPE", rest)) => {
                let (name, kind) = rest.split_once(' ').unwrap_or((rest, "unknown"));
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "stateset" => ("", "gauge"),
                    "unknown" => ("", "untyped"),
                    other => ("", other),
                };
                if let Some((_, words)) = help.take() {
                    let _ = writeln!(out, "# HELP {name}{suffix} {words}");
                }
                let _ = writeln!(out, "# TYPE {name}{suffix} {kind}");
            }
            Some(_) => {}
            None if line.starts_with('#') => {}
            None => {
                // A ` # {` inside a label's value would be cut, too: ours have none.
                let sample = line.split_once(" # {").map_or(line, |(sample, _)| sample);
                out.push_str(sample);
                out.push('\n');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn what_the_older_format_does_not_know_is_left_out() {
        let open = "# HELP a_rows Rows.\n# TYPE a_rows counter\n# UNIT a_rows rows\n\
                    a_rows_total{x=\"1\"} 5 # {trace=\"t\"} 1.0\n\
                    # HELP a_left Left.\n# TYPE a_left gauge\na_left 2\n\
                    # HELP a_build Build.\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n\
                    # HELP a_seconds Took.\n# TYPE a_seconds histogram\n\
                    a_seconds_sum 1.5\na_seconds_count 1\na_seconds_bucket{le=\"+Inf\"} 1\n# EOF\n";
        let plain = "# HELP a_rows_total Rows.\n# TYPE a_rows_total counter\na_rows_total{x=\"1\"} 5\n\
                     # HELP a_left Left.\n# TYPE a_left gauge\na_left 2\n\
                     # HELP a_build_info Build.\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n\
                     # HELP a_seconds Took.\n# TYPE a_seconds histogram\n\
                     a_seconds_sum 1.5\na_seconds_count 1\na_seconds_bucket{le=\"+Inf\"} 1\n";
        assert_eq!(text(open), plain);
    }
}
