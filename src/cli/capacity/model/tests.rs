use super::*;

fn plan(rate: f64) -> Plan {
    let days = |n: u64| Duration::from_secs(n * 86_400);
    Plan {
        rate,
        retention: days(30),
        totals_retention: days(730),
        queue: Duration::from_secs(3600),
        kafka_retention: days(7),
        kafka_replicas: 3,
    }
}

/// One point of data/capacity/groups.csv.
struct Point {
    held_out: bool,
    bucket: String,
    rows_in_bucket: f64,
    share: BTreeMap<String, f64>,
}

fn points() -> Vec<Point> {
    let mut lines = include_str!("../../../../data/capacity/groups.csv").lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    lines
        .map(|line| {
            let of: BTreeMap<&str, &str> = names.iter().copied().zip(line.split(',')).collect();
            let number = |name: &str| of[name].parse::<f64>().unwrap();
            Point {
                held_out: of["use"] == "held out",
                bucket: of["bucket"].to_owned(),
                rows_in_bucket: number("rows") / number("buckets"),
                share: ["address", "no address", "address alone"]
                    .map(|key| (key.to_owned(), number(key) / number("rows")))
                    .into(),
            }
        })
        .collect()
}

/// The bucket and dimensions that a table of the DDL groups by, as groups.csv names them.
fn key(name: &str) -> (&'static str, &'static str) {
    match name {
        "http_log_totals" => ("minute", "address"),
        "http_log_totals_1d" => ("day", "address"),
        "http_log_address_1d" => ("day", "address alone"),
        "http_log_1m" => ("minute", "no address"),
        "http_log_1h" => ("hour", "no address"),
        "http_log_1d" => ("day", "no address"),
        _ => panic!("{name} is new: say here what it groups by"),
    }
}

#[test]
fn the_model_is_within_a_tenth_of_rates_it_was_not_fitted_to() {
    let mut looked_at = 0;
    for table in Factors::built_in().totals {
        let (bucket, dimensions) = key(&table.name);
        for p in points().iter().filter(|p| p.held_out && p.bucket == bucket) {
            let (got, want) = (
                table.growth.groups_per_row(p.rows_in_bucket),
                p.share[dimensions],
            );
            let off = got / want - 1.0;
            assert!(
                off.abs() < 0.1,
                "{} at {}: {got} is not {want}",
                table.name,
                p.rows_in_bucket
            );
            looked_at += 1;
        }
    }
    assert!(looked_at >= 25, "{looked_at}");
}

#[test]
fn every_totals_table_of_the_ddl_has_factors_and_none_besides() {
    use crate::clickhouse::{ObjectKind, Schema};
    let schema = Schema::new("default", RAW).unwrap();
    let mut want: Vec<&str> = schema
        .objects()
        .iter()
        .filter(|o| o.kind == ObjectKind::Table && o.name != RAW)
        .map(|o| o.name.as_str())
        .collect();
    let factors = Factors::built_in();
    let mut got: Vec<&str> = factors.totals.iter().map(|t| t.name.as_str()).collect();
    want.sort_unstable();
    got.sort_unstable();
    assert_eq!(got, want, "run ops/characterize --capacity");
}

#[test]
fn groups_never_outnumber_rows_and_grow_with_them() {
    for table in Factors::built_in().totals {
        let mut before = 0.0;
        for exponent in -10..=80 {
            let rows = 10f64.powf(f64::from(exponent) / 10.0);
            let groups = rows * table.growth.groups_per_row(rows);
            assert!(groups <= rows, "{}: {groups} of {rows}", table.name);
            assert!(
                groups > before * 0.999,
                "{}: fewer groups of {rows}",
                table.name
            );
            before = groups;
        }
    }
}

#[test]
fn disk_follows_rate_and_time_as_written() {
    let factors = Factors {
        raw_bytes_per_row: 10.0,
        queue_bytes_per_row: 40.0,
        kafka_bytes_per_message: 200.0,
        totals: vec![TableFactors {
            name: "http_log_1m".into(),
            bucket_s: 60.0,
            bytes_per_group: 8.0,
            growth: Growth {
                r0: 0.5,
                a: 6000.0,
                b: 1.0,
                c: 1.0,
            },
        }],
    };
    let e = factors.estimate(&plan(100.0));
    let day = 100.0 * 86_400.0;
    let near = |got: f64, want: f64| assert!((got / want - 1.0).abs() < 1e-9, "{got} {want}");
    near(e.tables[0].bytes, day * 30.0 * 10.0);
    // 6,000 rows a minute: half as many groups as at few rows.
    near(e.tables[1].rows_per_row, 0.25);
    near(e.tables[1].bytes, day * 730.0 * 0.25 * 8.0);
    near(
        e.clickhouse_bytes,
        (e.tables[0].bytes + e.tables[1].bytes) * 1.3,
    );
    near(e.queue.bytes, 100.0 * 3600.0 * 40.0);
    near(e.kafka.bytes, day * 7.0 * 200.0 * 3.0);
}

fn answer(factors: &Factors, rate: f64) -> String {
    let raw = (rate * DAY_S) as u64;
    let mut text = format!("edge\t{}\t{}\t{raw}\n", raw * 30, raw * 300);
    for t in &factors.totals {
        // Twice the groups that the model expects, of 5 bytes each.
        let groups = (2.0 * t.growth.groups_per_row(rate * t.bucket_s) * raw as f64) as u64;
        let name = t.name.replacen(RAW, "edge", 1);
        text += &format!("{name}\t{}\t{}\t{groups}\n", groups * 30, groups * 150);
    }
    text
}

#[test]
fn measured_sizes_replace_ours_and_the_groups_scale() {
    let ours = Factors::built_in();
    let found = Measured::parse(&answer(&ours, 50.0), "edge").unwrap();
    let theirs = ours.measured(&found).unwrap();
    assert!((theirs.raw_bytes_per_row - 10.0).abs() < 1e-9);
    for (a, b) in ours.totals.iter().zip(&theirs.totals) {
        assert!((b.bytes_per_group - 5.0).abs() < 1e-9);
        for rate in [50.0, 5000.0] {
            let rows = rate * a.bucket_s;
            let want = (2.0 * a.growth.groups_per_row(rows)).min(1.0);
            let got = b.growth.groups_per_row(rows);
            assert!((got / want - 1.0).abs() < 1e-3, "{}: {got} {want}", a.name);
        }
    }
}

#[test]
fn an_answer_that_cannot_be_used_is_named() {
    let ours = Factors::built_in();
    let whole = answer(&ours, 50.0);
    let f = |text: &str, want: fn(&MeasureError) -> bool| {
        let e = Measured::parse(text, "edge")
            .and_then(|m| ours.measured(&m))
            .unwrap_err();
        assert!(want(&e), "{text:?}: {e}");
    };
    f("", |e| matches!(e, MeasureError::Missing(t) if t == RAW));
    f("Code: 60. DB::Exception", |e| {
        matches!(e, MeasureError::Answer(_))
    });
    f("edge\t1\t2\n", |e| matches!(e, MeasureError::Answer(_)));
    f("edge\t1\t2\tmany\n", |e| {
        matches!(e, MeasureError::Answer(_))
    });
    f("other\t1\t2\t3\n", |e| matches!(e, MeasureError::Answer(_)));
    f("edge\t9\t90\t9\n", |e| matches!(e, MeasureError::TooFew(9)));
    let first = whole.lines().next().unwrap();
    f(first, |e| matches!(e, MeasureError::Missing(_)));
    let empty = format!(
        "{first}\n{}\t0\t0\t0\n",
        ours.totals[0].name.replacen(RAW, "edge", 1)
    );
    f(&empty, |e| matches!(e, MeasureError::Missing(_)));
}

#[test]
fn the_question_names_every_table_under_the_configured_name() {
    let ours = Factors::built_in();
    let sql = measure_query(&ours, "db", "edge");
    assert!(!sql.contains(RAW), "{sql}");
    assert!(
        sql.contains("`db`.`edge` WHERE toUnixTimestamp(timestamp) ")
            && sql.contains("database = 'db'"),
        "{sql}"
    );
    for t in &ours.totals {
        assert!(
            sql.contains(&format!(
                "`db`.`{}` WHERE toUnixTimestamp(time) ",
                t.name.replacen(RAW, "edge", 1)
            )),
            "{sql}"
        );
    }
}
