//! The screen: the verdict, then what it rests on, then each partition. What does not fit is cut from
//! below, so that a small terminal has at least the verdict.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};

use super::Shown;
use super::history::{REACH_MS, Way};
use crate::observe::human::{self, bytes, count, of, since, time, until};
use crate::observe::status::{Partition, Status};
use crate::observe::verdict::Code;
use crate::queue::{Batch, BatchState, Lane};
use crate::runtime::clock::rfc3339;

/// Columns that the names of the facts take.
const NAMES: usize = 13;

/// Most bars of a rate.
const MOST_BARS: usize = 60;

/// Lines of partitions below which they do not give way to more of the facts: a heading and two.
const TABLE: usize = 3;

/// `12:05:29 UTC`.
pub(super) fn clock(ms: u64) -> String {
    let text = rfc3339(ms);
    let hour = text.get(11..19).unwrap_or(&text);
    format!("{hour} UTC")
}

/// Draws it as of `now`.
pub(super) fn draw(frame: &mut Frame<'_>, shown: &Shown, now: u64, colours: bool) {
    let area = frame.area();
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let paint = Paint(colours);
    // The last line tells how to leave.
    let room = height.saturating_sub(1);
    let mut lines = head(shown, now, width, &paint);
    // Half of it at most, if there is more to show.
    lines.truncate((height / 2).max(room.min(3)));
    lines.push(Line::default());
    let partitions = table(shown, &paint);
    let least = partitions.len().min(TABLE);
    let mut facts = facts(shown, now, width, &paint);
    facts.truncate(room.saturating_sub(lines.len() + 1 + least));
    lines.extend(facts);
    lines.push(Line::default());
    lines.extend(fitting(
        partitions,
        shown.scrolled,
        room.saturating_sub(lines.len()),
    ));
    lines.truncate(room);
    frame.render_widget(Text::from(lines), area);
    if height > 0 {
        let last = Rect {
            y: area.y + area.height - 1,
            height: 1,
            ..area
        };
        frame.render_widget(foot(shown, now, width), last);
    }
}

/// How things look, with colours or without.
struct Paint(bool);

impl Paint {
    fn colour(&self, colour: Color) -> Style {
        match self.0 {
            true => Style::new().fg(colour),
            false => Style::new(),
        }
    }

    fn bold(&self, colour: Color) -> Style {
        self.colour(colour).add_modifier(Modifier::BOLD)
    }

    /// The verdict's.
    fn code(&self, code: Code) -> Style {
        match code {
            Code::Ok => self.bold(Color::Green),
            Code::Delayed | Code::Paused => self.bold(Color::Yellow),
            Code::Held | Code::AtRisk => self.bold(Color::LightRed),
            // Also without colours it must strike.
            Code::Lost => self.bold(Color::LightRed).add_modifier(Modifier::REVERSED),
        }
    }
}

/// The verdict, what to do, and what else there is.
fn head(shown: &Shown, now: u64, width: usize, paint: &Paint) -> Vec<Line<'static>> {
    let verdict = &shown.status.verdict;
    let mut lines = Vec::new();
    let mut say = |words: &str, style: Style| {
        let wrapped = wrap(words, width);
        lines.extend(wrapped.into_iter().map(|l| Line::styled(l, style)));
    };
    if let Some(why) = shown.stale(now) {
        say(&why, paint.bold(Color::LightRed));
    }
    say(&verdict.sentence, paint.code(verdict.code));
    if let Some(act) = &verdict.act {
        say(&format!("To do: {act}"), Style::new().bold());
    }
    for finding in verdict.findings.iter().skip(1) {
        let words = format!("Also {}: {}", finding.code.title(), finding.reason);
        say(&words, paint.code(finding.code).not_bold());
        if let Some(act) = &finding.act {
            say(&format!("To do: {act}"), Style::new());
        }
    }
    lines
}

/// What the verdict rests on, the most telling first.
fn facts(shown: &Shown, now: u64, width: usize, paint: &Paint) -> Vec<Line<'static>> {
    let status = &shown.status;
    let mut facts = Facts(Vec::new());
    facts.add("queue", queue(status, now));
    if status.live {
        facts.rate("rows in", shown, Way::In, now, width, paint);
        facts.rate("rows out", shown, Way::Out, now, width, paint);
    }
    facts.bad("failing", failing(status, now), paint.colour(Color::Yellow));
    facts.bad("HELD", held(status), paint.colour(Color::LightRed));
    facts.bad(
        "set aside",
        set_aside(status),
        paint.colour(Color::LightRed),
    );
    facts.bad("LOST", lost(status), paint.colour(Color::LightRed));
    facts.bad("quarantined", quarantined(status), Style::new());
    facts.bad("under way", under_way(status, now), Style::new());
    facts.add("last insert", last_insert(status, now));
    facts.bad("next", next(status, now), Style::new());
    facts.bad("room", room(status, now), Style::new());
    facts.add("kafka", kafka(status));
    facts.0
}

struct Facts(Vec<Line<'static>>);

impl Facts {
    fn add(&mut self, name: &str, what: String) {
        self.styled(name, what, Style::new());
    }

    fn bad(&mut self, name: &str, what: Option<String>, style: Style) {
        if let Some(what) = what {
            self.styled(name, what, style);
        }
    }

    fn styled(&mut self, name: &str, what: String, style: Style) {
        let name = Span::styled(format!("{name:<NAMES$}"), Style::new().dim());
        // Words of others may have line ends.
        let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
        self.0
            .push(Line::from(vec![name, Span::styled(what, style)]));
    }

    fn rate(&mut self, name: &str, shown: &Shown, way: Way, now: u64, width: usize, paint: &Paint) {
        let rates = &shown.status.rates;
        let rate = match way {
            Way::In => rates.rows_in,
            Way::Out => rates.rows_out,
        };
        let said = format!("{:>9}/s  ", count(rate.round() as u64));
        // What follows the bars is the least of it.
        let bars = width.saturating_sub(NAMES + said.len() + 22).min(MOST_BARS);
        let (bars, most) = shown.history.bars(way, bars, now);
        let minutes = REACH_MS / 60_000;
        let name = Span::styled(format!("{name:<NAMES$}"), Style::new().dim());
        let after = format!("  {minutes} min, most {}", count(most));
        self.0.push(Line::from(vec![
            name,
            Span::raw(said),
            Span::styled(bars, paint.colour(Color::Cyan)),
            Span::styled(after, Style::new().dim()),
        ]));
    }
}

fn queue(s: &Status, now: u64) -> String {
    let oldest = match s.queue.oldest_ms {
        Some(ms) if s.queue.rows > 0 => {
            format!(", the oldest for {}", time(now.saturating_sub(ms)))
        }
        _ => String::new(),
    };
    let held = bytes(s.queue.bytes);
    let files = bytes(s.disk_bytes);
    format!(
        "{}, {held} ({files} on disk){oldest}",
        of(s.queue.rows, "row")
    )
}

fn failing(s: &Status, now: u64) -> Option<String> {
    let failing = s.flush.failing.as_ref()?;
    let (times, since) = (of(failing.times, "time"), since(failing.since_ms, now));
    Some(format!("{times} {since}: {}", failing.words))
}

fn held(s: &Status) -> Option<String> {
    let is_held = |l: &&Lane| l.is_held();
    let rows: u64 = s.queue.lanes.iter().filter(is_held).map(|l| l.rows).sum();
    match (&s.flush.hold, rows) {
        (Some(why), _) => Some(why.clone()),
        (None, 0) => None,
        (None, n) => Some(format!(
            "{} of partitions that wait for a person",
            of(n, "row")
        )),
    }
}

fn set_aside(s: &Status) -> Option<String> {
    let is_rejected = |b: &&Batch| matches!(b.state, BatchState::Rejected { .. });
    let rejected = || s.queue.batches.iter().filter(is_rejected);
    let (batches, rows) = (rejected().count() as u64, rejected().map(|b| b.rows).sum());
    (batches > 0).then(|| {
        format!(
            "{} that ClickHouse refused, {}: anonymizer batches list",
            of(batches, "batch"),
            of(rows, "row")
        )
    })
}

fn lost(s: &Status) -> Option<String> {
    let offsets: i64 = s.lost.iter().map(|l| l.to - l.from).sum();
    let dropped = s.queue.quarantine.dropped;
    let mut said = Vec::new();
    if offsets > 0 {
        said.push(format!(
            "{} that Kafka no longer had",
            of(offsets as u64, "record")
        ));
    }
    if dropped > 0 {
        said.push(format!(
            "{} dropped from quarantine",
            of(dropped, "message")
        ));
    }
    (!said.is_empty()).then(|| said.join("; "))
}

fn quarantined(s: &Status) -> Option<String> {
    let q = &s.queue;
    (q.quarantined > 0).then(|| {
        format!(
            "{}, {}",
            of(q.quarantined, "message"),
            bytes(q.quarantine.bytes)
        )
    })
}

fn under_way(s: &Status, now: u64) -> Option<String> {
    let request = s.flush.in_flight.as_ref()?;
    let rows = match request.rows {
        0 => String::new(),
        n => format!(" of {}, {}", of(n, "row"), bytes(request.bytes)),
    };
    let age = time(now.saturating_sub(request.since_ms));
    Some(format!("{}{rows}, for {age}", request.what))
}

fn last_insert(s: &Status, now: u64) -> String {
    let Some(stored) = &s.flush.stored else {
        return "none yet".to_owned();
    };
    format!(
        "{} in {}, {} ago, took {:.1} s",
        of(stored.rows, "row"),
        bytes(stored.bytes),
        time(now.saturating_sub(stored.at_ms)),
        stored.took_ms as f64 / 1000.0
    )
}

fn next(s: &Status, now: u64) -> Option<String> {
    if !s.live {
        return None;
    }
    let drained = match (s.queue.rows, s.forecast.inserts, s.forecast.drained_ms) {
        (0, ..) => String::new(),
        (_, Some(n), Some(ms)) => {
            format!(
                "; drained in {}, {}",
                of(n, "insert"),
                human::clock(ms, now)
            )
        }
        _ => "; more comes in than inserts carry".to_owned(),
    };
    let slot = until(s.flush.next_slot_ms, now);
    Some(format!("request {slot}{drained}"))
}

fn room(s: &Status, now: u64) -> Option<String> {
    let free = bytes(s.limits.free_bytes?);
    let full = match s.forecast.full_ms {
        Some(ms) => format!("; full {}", until(ms, now)),
        None => String::new(),
    };
    let most = bytes(s.limits.max_queue_bytes);
    Some(format!(
        "{free} free on the disk, the queue may hold {most}{full}"
    ))
}

fn kafka(s: &Status) -> String {
    let unread = match s.kafka.unread {
        Some(n) => format!("{} unread", of(n, "record")),
        None => "unread records unknown".to_owned(),
    };
    match s.live {
        true => format!(
            "{} assigned, {unread}",
            of(s.partitions.len() as u64, "partition")
        ),
        false => unread,
    }
}

/// A heading, and a line for each partition.
fn table(shown: &Shown, paint: &Paint) -> Vec<Line<'static>> {
    let partitions = &shown.status.kafka.partitions;
    if partitions.is_empty() {
        return Vec::new();
    }
    let heading = format!(
        "{:>9} {:>14} {:>14} {:>14} {:>10}",
        "partition", "in ClickHouse", "committed", "read", "unread"
    );
    let mut lines = vec![Line::styled(heading, Style::new().dim())];
    lines.extend(partitions.iter().map(|p| partition(p, paint)));
    lines
}

fn partition(p: &Partition, paint: &Paint) -> Line<'static> {
    let offset = |n: Option<i64>| n.map_or("-".to_owned(), |n| n.to_string());
    let (note, style) = match p.without_leader {
        true => ("  no leader", paint.colour(Color::Yellow)),
        false => ("", Style::new()),
    };
    let text = format!(
        "{:>9} {:>14} {:>14} {:>14} {:>10}{note}",
        p.partition,
        offset(p.in_clickhouse),
        offset(p.committed),
        offset(p.read),
        p.unread.map_or("-".to_owned(), count),
    );
    Line::styled(text, style)
}

/// The heading and those lines that fit, from the one scrolled to; the last one tells how many do not.
fn fitting(mut lines: Vec<Line<'static>>, scrolled: usize, room: usize) -> Vec<Line<'static>> {
    if lines.len() <= room {
        return lines;
    }
    if room < TABLE {
        lines.truncate(room);
        return lines;
    }
    let shown = room - 2;
    let all = lines.len() - 1;
    let first = scrolled.min(all - shown);
    let mut fit: Vec<Line<'static>> = vec![lines.remove(0)];
    fit.extend(lines.drain(first..first + shown));
    let below = all - first - shown;
    let more = format!("{first} above, {below} below: arrow keys");
    fit.push(Line::styled(format!("{more:>9}"), Style::new().dim()));
    fit
}

fn foot(shown: &Shown, now: u64, width: usize) -> Line<'static> {
    let state = match shown.status.live {
        true => "live",
        false => "NOT RUNNING",
    };
    let note = match &shown.note {
        Some(note) => format!(" ({note})"),
        None => String::new(),
    };
    let right = format!("{}   q quits", clock(now));
    let short = format!("{state}{note}");
    let long = format!("{short}, installation {}", shown.status.installation);
    // To leave comes first.
    let fits = |left: &&String| left.chars().count() + 2 + right.len() <= width;
    let text = match [&long, &short].into_iter().find(fits) {
        Some(left) => {
            let gap = width - left.chars().count() - right.len();
            format!("{left}{:gap$}{right}", "")
        }
        None => right,
    };
    Line::styled(text, Style::new().add_modifier(Modifier::REVERSED))
}

/// Words in lines of `width` characters. A longer word is divided.
fn wrap(words: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in words.split_whitespace() {
        let mut rest: Vec<char> = word.chars().filter(|c| !c.is_control()).collect();
        if used > 0 && used + 1 + rest.len() <= width {
            lines.last_mut().expect("there is one").push(' ');
            used += 1;
        } else if used > 0 {
            lines.push(String::new());
            used = 0;
        }
        while rest.len() > width.max(1) {
            let later = rest.split_off(width.max(1));
            lines.last_mut().expect("there is one").extend(rest);
            lines.push(String::new());
            rest = later;
        }
        used += rest.len();
        lines.last_mut().expect("there is one").extend(rest);
    }
    lines
}
