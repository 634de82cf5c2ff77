//! `traffic` on the real engine: exact for every combination of dimensions, range, step and filter.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use crate::totals::{ALL, Engine, START, century, digest, rows, subsets};

/// What `traffic` calls the columns of [`ALL`].
const NAMES: [&str; 4] = ["resource", "status", "cache", "address"];

/// Numbers that are the same in every run: an odd step through 64 bits.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A question that `traffic` takes, and the same to the raw rows.
struct Question<'a> {
    by: &'a [&'a str],
    step: u64,
    from: u64,
    to: u64,
    /// Name and values, as an array of ClickHouse's; `[]` is all.
    filters: Vec<(&'a str, String)>,
}

impl Question<'_> {
    fn to_traffic(&self) -> String {
        let filters = self
            .filters
            .iter()
            .fold(String::new(), |mut text, (name, values)| {
                write!(text, ", {name} = {values}").unwrap();
                text
            });
        format!(
            "traffic(from = {}, to = {}, step = {}, by = '{}'{filters})",
            self.from,
            self.to,
            self.step,
            self.by.join(",")
        )
    }

    /// All minutes that the range touches, each row by itself.
    fn to_raw(&self) -> String {
        let (first, end) = (self.from / 60 * 60, self.to.div_ceil(60) * 60);
        let (time, seconds) = match self.step {
            0 => (format!("toUInt32({first})"), format!("{}", end - first)),
            step => (
                format!("toUInt32(intDiv(toUInt32(timestamp), {step}) * {step})"),
                format!("least(t + {step}, {end}) - greatest(t, {first})"),
            ),
        };
        let mut wanted = String::new();
        let mut keys = Vec::new();
        for ((name, values), column) in self.filters.iter().zip(ALL) {
            if values != "[]" {
                write!(wanted, " AND {column} IN {values}").unwrap();
            }
            keys.push(match (self.by.contains(name), *name) {
                (true, _) => format!("toString({column})"),
                (false, "resource" | "status") => "'0'".into(),
                (false, _) => "''".into(),
            });
        }
        format!(
            "SELECT {time} AS t, toString({seconds}) || '|' || {} AS k, sum(bytes_sent) AS b, count() AS n FROM http_log \
             WHERE {} < {} AND toUInt32(timestamp) >= {first} AND toUInt32(timestamp) < {end}{wanted} \
             GROUP BY ALL",
            keys.join(" || '|' || "),
            self.from,
            self.to,
        )
    }

    fn assert_equal(&self, engine: &Engine) {
        let traffic = self.to_traffic();
        let got = engine.sql(&digest(&format!(
            "SELECT toUInt32(time) AS t, toString(seconds) || '|' || toString(resource_id) || '|' \
             || toString(response_status) || '|' || cache_status || '|' || remote_addr AS k, \
             bytes_sent AS b, requests AS n FROM {traffic}"
        )));
        assert_eq!(got, engine.sql(&digest(&self.to_raw())), "{traffic}");
    }
}

fn all() -> Vec<(&'static str, String)> {
    NAMES.map(|name| (name, "[]".to_string())).to_vec()
}

#[test]
fn the_ends_of_a_range_are_exact() {
    let engine = Engine::start();
    engine.send("t", &rows(7, 20_000, 4 * 86_400), &[]).unwrap();
    for by in [&[][..], &["status"], &["address"], &["status", "address"]] {
        for step in [0, 3_600, 86_400] {
            for (from, to) in [(60, 3 * 86_400 + 1_234), (4_000, 40_000), (7, 8), (9, 9)] {
                let (from, to) = (START + from, START + to);
                let filters = all();
                Question {
                    by,
                    step,
                    from,
                    to,
                    filters,
                }
                .assert_equal(&engine);
            }
        }
    }
}

#[test]
fn every_combination_range_step_and_filter_is_exact() {
    let engine = Engine::start();
    engine
        .send("t", &rows(7, 100_000, 12 * 86_400), &[])
        .unwrap();
    engine.send("c", &century(5_000), &[]).unwrap();
    let mut random = Random(1);
    let mut some = |engine: &Engine, column: &str| match random.below(4) {
        0 => {
            let skip = random.below(90_000);
            let few = format!("SELECT * FROM http_log LIMIT {skip}, 40");
            let values = format!("SELECT groupUniqArray(3)({column}) FROM ({few})");
            engine.sql(&values).trim().to_string()
        }
        _ => "[]".into(),
    };
    let mut where_from = Random(2);
    for by in subsets(&NAMES) {
        for (i, step) in [0, 60, 3_600, 5_400, 86_400, 0, 3_600, 86_400]
            .into_iter()
            .enumerate()
        {
            // Every third range begins and ends with a second of its own, with an hour, with a day.
            let unit = [1, 3_600, 86_400][i % 3];
            let mut from = START + where_from.below(6 * 86_400) - 3_600;
            let mut to = from + 1 + where_from.below(9 * 86_400);
            if where_from.below(20) == 0 {
                (from, to) = (0, u64::from(u32::MAX));
            }
            let (from, to) = (from / unit * unit, to / unit * unit);
            let filters = NAMES
                .into_iter()
                .zip(ALL.iter().map(|c| some(&engine, c)))
                .collect();
            Question {
                by: &by,
                step,
                from,
                to,
                filters,
            }
            .assert_equal(&engine);
        }
    }
}

#[test]
fn a_step_or_dimension_that_it_does_not_take_is_an_error() {
    let engine = Engine::start();
    engine.send("t", &rows(7, 100, 600), &[]).unwrap();
    let f = |step: u32, by: &str, refused: Option<&str>| {
        let sql = format!(
            "SELECT count() FROM traffic(from = 0, to = 4294967295, step = {step}, by = '{by}', \
             resource = [], status = [], cache = [], address = [])"
        );
        let answer = engine.answer(&sql);
        match refused {
            Some(why) => assert!(answer.contains(why), "{answer}"),
            None => assert!(answer.trim().parse::<u64>().unwrap() > 0),
        }
    };
    f(90, "", Some("a multiple of 60"));
    f(60, "adress", Some("by takes resource, status"));
    f(60, "status, cache", None);
}

/// A time that is text on its way would be read in the zone of whoever reads it.
#[test]
fn a_range_is_in_unix_seconds_and_a_time_is_refused() {
    let engine = Engine::start();
    engine.send("t", &rows(7, 1_000, 2 * 86_400), &[]).unwrap();
    let ask = |from: &str, to: &str| {
        engine.answer(&format!(
            "SELECT sum(requests) FROM traffic(from = {from}, to = {to}, step = 0, by = '', \
             resource = [], status = [], cache = [], address = []) SETTINGS session_timezone = 'Europe/Prague'"
        ))
    };
    let from = START / 60 * 60;
    let to = from + 86_400;
    let raw = engine.sql(&format!(
        "SELECT count() FROM http_log WHERE toUnixTimestamp(timestamp) >= {from} \
         AND toUnixTimestamp(timestamp) < {to}"
    ));
    let of = |seconds: u64| format!("toUnixTimestamp(toDateTime({seconds}, 'Asia/Tokyo'))");
    assert_eq!(ask(&from.to_string(), &to.to_string()), raw);
    assert_eq!(ask(&of(from), &of(to)), raw);
    let refused = "cannot be parsed as UInt64 for query parameter";
    let time = ask(&format!("toDateTime({from}, 'Asia/Tokyo')"), &of(to));
    assert!(time.contains(refused), "{time}");
    assert!(ask("now()", "now()").contains(refused));
}

/// Every panel of the dashboard and every question of the cookbook, with the server in Prague.
#[test]
fn panels_and_cookbook_answer_as_the_raw_rows_do_in_another_time_zone() {
    // Installs what the check needs, too.
    drop(Engine::start());
    let tools = std::env::var_os("TOOLS_DIR").map_or_else(|| ".stack/tools".into(), PathBuf::from);
    let check = Command::new(tools.join("venv/bin/python"))
        .args(["tests/python/traffic_check.py", "Europe/Prague"])
        .output()
        .unwrap();
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = words(&check.stdout) + &words(&check.stderr);
    assert!(check.status.success(), "{said}");
}
