//! A chart of the last hours as an SVG: lines that break where there is no sample. Its numbers stand
//! beside it as text, which stays readable at any width, and says in words what the lines show.

use maud::{Markup, html};

use super::words;
use crate::observe::human;

/// Size of the drawing in units of its own: it is stretched to the room that there is.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;

/// What the numbers of a chart are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Things that are counted, as rows.
    Count(&'static str),
    /// Things a second.
    Rate(&'static str),
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

impl Unit {
    fn say(self, value: f64) -> String {
        match self {
            Unit::Count(what) => format!("{} {what}", words::number(value)),
            Unit::Rate(what) => format!("{} {what}/s", words::number(value)),
            Unit::Bytes => human::bytes(value as u64),
            Unit::Seconds => words::seconds(value),
        }
    }

    /// The same at the axis, where its name is not needed.
    fn axis(self, value: f64) -> String {
        match self {
            Unit::Count(_) => words::number(value),
            Unit::Rate(_) => format!("{}/s", words::number(value)),
            Unit::Bytes | Unit::Seconds => self.say(value),
        }
    }

    /// A number above the largest one that is easy to read.
    fn top(self, most: f64) -> f64 {
        match self {
            Unit::Bytes => {
                let mut step = 1024.0;
                while most > step * 1024.0 {
                    step *= 1024.0;
                }
                nice(most / step).max(1.0) * step
            }
            Unit::Seconds => {
                const STEPS: [f64; 12] = [
                    1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0,
                ];
                let step = STEPS.into_iter().find(|s| most <= *s);
                // Beyond, whole hours, and days.
                let unit = if most <= 86_400.0 { 3600.0 } else { 86_400.0 };
                step.unwrap_or_else(|| nice(most / unit).max(1.0) * unit)
            }
            Unit::Count(_) => nice(most).max(1.0),
            Unit::Rate(_) => nice(most).max(0.1),
        }
    }
}

/// 1, 2, 2.5, 5 or 10 times a power of ten, at or above `most`.
fn nice(most: f64) -> f64 {
    if most <= 0.0 {
        return 0.0;
    }
    let power = 10f64.powf(most.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|s| s * power);
    // A rounding error above the last one.
    steps.into_iter().find(|s| most <= *s).unwrap_or(steps[4])
}

/// One line of a chart: a value for each step of time, `None` where there is no sample.
pub(super) struct Line {
    /// What it shows.
    pub(super) name: &'static str,
    pub(super) values: Vec<Option<f64>>,
}

/// See the module.
pub(super) struct Chart {
    /// A word for the document, unique in it.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) unit: Unit,
    pub(super) lines: Vec<Line>,
    /// Values that stand alone, as inserts do, and are not joined to a line.
    pub(super) bars: bool,
    /// Unix time of the first step, s, and the length of a step.
    pub(super) from_s: u64,
    pub(super) step_s: u64,
    /// Steps at which the program made no sample.
    pub(super) gaps: Vec<(usize, usize)>,
}

impl Chart {
    fn steps(&self) -> usize {
        self.lines.first().map_or(0, |l| l.values.len())
    }

    fn most(&self) -> f64 {
        let all = self.lines.iter().flat_map(|l| l.values.iter().flatten());
        all.fold(0.0, |a, b| a.max(*b))
    }

    /// What a line shows, in words.
    fn says(&self, line: &Line) -> String {
        let known = || {
            let known = line.values.iter().enumerate();
            known.filter_map(|(at, v)| v.map(|v| (at, v)))
        };
        let Some((_, last)) = known().next_back() else {
            return "no value yet".to_owned();
        };
        let (at, most) = known().fold((0, f64::MIN), |a, b| if b.1 >= a.1 { b } else { a });
        let when = words::clock(self.from_s + at as u64 * self.step_s);
        let now = if self.bars { "last" } else { "now" };
        let (last, most) = (self.unit.say(last), self.unit.say(most));
        match last == most {
            true => format!("{now} {last}, never more"),
            false => format!("{now} {last}, most {most} at {when}"),
        }
    }

    pub(super) fn draw(&self) -> Markup {
        let top = self.unit.top(self.most());
        let steps = self.steps();
        let end_s = self.from_s + steps.saturating_sub(1) as u64 * self.step_s;
        let (title_id, says_id) = (format!("{}-t", self.id), format!("{}-d", self.id));
        html! {
            figure.chart id=(self.id) {
                figcaption {
                    h3 id=(title_id) { (self.title) }
                    ul id=(says_id) {
                        @for (n, line) in self.lines.iter().enumerate() {
                            li class={ "s" (n) } {
                                @if self.lines.len() > 1 { b { (line.name) ": " } }
                                (self.says(line))
                            }
                        }
                    }
                }
                div.plot {
                    p.y aria-hidden="true" { (self.unit.axis(top)) }
                    svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img"
                        aria-labelledby=(title_id) aria-describedby=(says_id) {
                        title { (self.title) }
                        @for (from, to) in &self.gaps {
                            rect.gap x=(two(x(*from, steps))) y="0" height=(HEIGHT)
                                width=(two(x(*to, steps) - x(*from, steps))) {}
                        }
                        @for part in 0..=4 {
                            @let y = two(HEIGHT * f64::from(part) / 4.0);
                            line.grid x1="0" x2=(WIDTH) y1=(y) y2=(y) {}
                        }
                        @for (n, line) in self.lines.iter().enumerate() {
                            @let path = if self.bars { bars(&line.values, top) } else { path(&line.values, top) };
                            path class={ "line s" (n) } d=(path) {}
                        }
                    }
                    div.x aria-hidden="true" {
                        @for part in 0..=4 {
                            span { (words::clock(self.from_s + (end_s - self.from_s) * part / 4)) }
                        }
                    }
                }
            }
        }
    }
}

fn x(step: usize, steps: usize) -> f64 {
    let last = steps.saturating_sub(1).max(1);
    WIDTH * step as f64 / last as f64
}

fn y(value: f64, top: f64) -> f64 {
    HEIGHT - HEIGHT * (value / top).clamp(0.0, 1.0)
}

/// With two places, and none where they are 0: a page has thousands of them.
fn two(v: f64) -> String {
    let text = format!("{v:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Lines through what is known. One value alone is a dot.
fn path(values: &[Option<f64>], top: f64) -> String {
    let mut d = String::new();
    let mut joined = false;
    for (step, value) in values.iter().enumerate() {
        let Some(value) = value else {
            joined = false;
            continue;
        };
        let (x, y) = (two(x(step, values.len())), two(y(*value, top)));
        let is_alone = !joined && values.get(step + 1).copied().flatten().is_none();
        match (joined, is_alone) {
            (true, _) => d += &format!("L{x} {y}"),
            (false, false) => d += &format!("M{x} {y}"),
            // Of no length; its round end is what is seen.
            (false, true) => d += &format!("M{x} {y}h0"),
        }
        joined = true;
    }
    d
}

/// A bar from the ground for each value.
fn bars(values: &[Option<f64>], top: f64) -> String {
    let known = values
        .iter()
        .enumerate()
        .filter_map(|(at, v)| v.map(|v| (at, v)));
    known
        .map(|(at, v)| {
            let (x, y) = (two(x(at, values.len())), two(y(v, top)));
            format!("M{x} {HEIGHT}V{y}")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_breaks_where_there_is_no_sample() {
        let some = [Some(0.0), Some(10.0), None, Some(5.0), None];
        assert_eq!(path(&some, 10.0), "M0 120L150 0M450 60h0");
        assert_eq!(path(&[None; 5], 10.0), "");
        assert_eq!(path(&[Some(1.0)], 10.0), "M0 108h0");
        // Above the top it stays in the picture.
        assert_eq!(path(&[Some(11.0), Some(-1.0)], 10.0), "M0 0L600 120");
        assert_eq!(bars(&some, 10.0), "M0 120V120M150 120V0M450 120V60");
    }

    #[test]
    fn the_scale_ends_at_a_number_that_reads_well() {
        let tops = [0.0, 1.0, 3.0, 12.0, 999.0, 1001.0].map(|m| Unit::Count("").top(m));
        assert_eq!(tops, [1.0, 1.0, 5.0, 20.0, 1000.0, 2000.0]);
        assert_eq!(Unit::Bytes.top(3.0 * 1024.0 * 1024.0), 5.0 * 1048576.0);
        assert_eq!(Unit::Bytes.top(0.0), 1024.0);
        assert_eq!(Unit::Seconds.top(61.0), 120.0);
        assert_eq!(Unit::Seconds.top(8000.0), 2.5 * 3600.0);
        assert_eq!(Unit::Seconds.top(200_000.0), 2.5 * 86_400.0);
        for most in [1e-3, 0.5, 7.7e3, 1e9, 123_456_789.0, 1e15] {
            for unit in [Unit::Count(""), Unit::Rate(""), Unit::Bytes, Unit::Seconds] {
                let top = unit.top(most);
                assert!(top >= most * 0.999_999, "{unit:?} {most}: {top}");
            }
        }
    }

    fn chart(values: Vec<Option<f64>>) -> Chart {
        Chart {
            id: "c",
            title: "Rows",
            unit: Unit::Count("rows"),
            lines: vec![Line { name: "in", values }],
            bars: false,
            from_s: 12 * 3600,
            step_s: 60,
            gaps: Vec::new(),
        }
    }

    #[test]
    fn what_it_shows_is_said_in_words() {
        let drawn = chart(vec![Some(3.0), None, Some(40.0), Some(7.0)]).draw();
        let drawn = drawn.into_string();
        assert!(
            drawn.contains("now 7 rows, most 40 rows at 12:02"),
            "{drawn}"
        );
        let drawn = chart(vec![None, None]).draw().into_string();
        assert!(drawn.contains("no value yet"), "{drawn}");
        // Nor does nothing at all break it.
        chart(Vec::new()).draw();
    }
}
