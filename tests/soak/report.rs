//! The summary, as Markdown, and the verdict on what the first instance took.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::World;
use crate::judge::{Bound, judge};
use crate::rows::Difference;
use crate::samples::Sample;

/// Caches fill and threads start.
const WARM_UP: f64 = 600.0;
/// A shorter stretch says nothing of a leak.
const SHORTEST: f64 = 900.0;

type Measure = (&'static str, fn(&Sample) -> f64, Bound);

/// What is judged of the first instance. A slot's work comes and goes, so that a tenth is noise. sled's file
/// keeps the size that the longest backlog gave it, up to 512 MiB, and has to use its space again: without that
/// an hour at 500 records a second would take more than twice of what is allowed.
const MEASURES: [Measure; 5] = [
    ("RSS, MiB", |s| s.rss_mib, bound(0.10, 4.0)),
    ("PSS, MiB", |s| s.pss_mib, bound(0.10, 4.0)),
    ("descriptors", |s| s.descriptors, bound(0.0, 3.0)),
    ("threads", |s| s.threads, bound(0.0, 1.0)),
    ("data dir, MiB", |s| s.disk_mib, bound(0.0, 64.0)),
];

const fn bound(share: f64, least: f64) -> Bound {
    Bound { share, least }
}

pub fn of(
    world: &World<'_>,
    minutes: u64,
    seed: u64,
    rate: u64,
    difference: Option<&Difference>,
    samples: &[Sample],
) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").unwrap();
    line(format!(
        "`ops/soak {minutes} {seed}`, {rate} records a second\n"
    ));
    line("| fault | times |\n|---|---|".into());
    for (kind, times) in world.notes.faults() {
        line(format!("| {kind} | {times} |"));
    }
    if let Some(d) = difference {
        let requests = world.stack.requests();
        let of = |what: &dyn Fn(&crate::stack::Request) -> bool| {
            requests.iter().filter(|r| what(r)).count()
        };
        line("\n| rows | |\n|---|---|".into());
        line(format!("| produced | {} |", d.due + d.named));
        line(format!(
            "| named as lost, of records deleted unread | {} |",
            d.named
        ));
        line(format!("| lost without a name | {} |", d.missing.len()));
        line(format!("| doubled | {} |", d.doubled.len()));
        line(format!("| that nobody produced | {} |", d.foreign));
        line(format!(
            "| requests that reached ClickHouse | {}, of them inserts {} |",
            of(&|r| r.upstream.is_some()),
            of(&|r| r.upstream.is_some() && r.uri.contains("query=INSERT")),
        ));
        line(format!(
            "| refused by the limiter | {} |",
            of(&|r| r.limited())
        ));
    }
    line(format!("\n{}", steady(world, samples)));
    line(others(samples));
    let problems = world.notes.problems();
    line(match problems.len() {
        0 => "All is right.".into(),
        _ => format!("NOT right:\n- {}", problems.join("\n- ")),
    });
    out
}

/// Judges the longest life of the first instance, and notes what is wrong.
fn steady(world: &World<'_>, samples: &[Sample]) -> String {
    let mut lives: BTreeMap<u32, Vec<&Sample>> = BTreeMap::new();
    for sample in samples.iter().filter(|s| s.name == "steady") {
        lives.entry(sample.start).or_default().push(sample);
    }
    let count = lives.len();
    let lasts = |life: &Vec<&Sample>| life[life.len() - 1].seconds - life[0].seconds;
    let longest = lives
        .into_values()
        .max_by(|a, b| lasts(a).total_cmp(&lasts(b)));
    let Some(life) = longest else {
        return "no samples".into();
    };
    let warm = life[0].seconds + WARM_UP.min(lasts(&life) / 4.0);
    let stretch: Vec<&Sample> = life.into_iter().filter(|s| s.seconds >= warm).collect();
    let length = stretch[stretch.len() - 1].seconds - stretch[0].seconds;
    let mut out = format!(
        "The first instance: {count} lives, judged over {:.0} min of the longest one, {} samples.\n\n\
         | of it | median | peak of each third | slope an hour | may grow by |\n|---|---|---|---|---|\n",
        length / 60.0,
        stretch.len()
    );
    for (name, value, bound) in MEASURES {
        let series: Vec<(f64, f64)> = stretch.iter().map(|s| (s.seconds, value(s))).collect();
        let flat = judge(&series, bound);
        let [a, b, c] = flat.peaks;
        writeln!(
            out,
            "| {name} | {:.1} | {a:.1}, {b:.1}, {c:.1} | {:+.2} | {:.1} |",
            flat.median, flat.slope, flat.allowed
        )
        .unwrap();
        match flat.wrong {
            Some(words) if length >= SHORTEST => world.notes.problem(format!("{name}: {words}")),
            _ => {}
        }
    }
    if length < SHORTEST {
        out += "\nToo short to judge.\n";
    }
    out
}

/// The peaks of the second instance's lives: does a restart on an older queue take more?
fn others(samples: &[Sample]) -> String {
    let mut peaks: BTreeMap<u32, (f64, f64, f64)> = BTreeMap::new();
    for s in samples.iter().filter(|s| s.name == "second") {
        let (rss, descriptors, disk) = peaks.entry(s.start).or_default();
        *rss = rss.max(s.rss_mib);
        *descriptors = descriptors.max(s.descriptors);
        *disk = disk.max(s.disk_mib);
    }
    let all: Vec<_> = peaks.into_values().collect();
    let of = |what: &str, part: &[(f64, f64, f64)]| {
        let most = |value: fn(&(f64, f64, f64)) -> f64| part.iter().map(value).fold(0.0, f64::max);
        format!(
            "| {what} | {} | {:.1} | {} | {:.1} |\n",
            part.len(),
            most(|p| p.0),
            most(|p| p.1),
            most(|p| p.2)
        )
    };
    let (first, second) = all.split_at(all.len() / 2);
    format!(
        "| of the second instance | lives | most RSS, MiB | descriptors | data dir, MiB |\n\
         |---|---|---|---|---|\n{}{}",
        of("first half", first),
        of("second half", second)
    )
}
