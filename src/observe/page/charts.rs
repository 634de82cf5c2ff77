//! Which charts the page has, made of the samples of the last day.

use maud::{Markup, html};

use super::View;
use super::chart::{Chart, Line, Unit};
use crate::observe::history::{MINUTES, Sample};

/// How much of the day is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Span {
    /// As much as there are samples of.
    #[default]
    Auto,
    /// The last hour, a minute each step.
    Hour,
    /// The last six hours, a minute each step.
    Hours6,
    /// The last day, five minutes each step.
    Day,
}

impl Span {
    /// All of them but [`Span::Auto`], with the words of their links.
    const ALL: [(Span, &'static str, &'static str); 3] = [
        (Span::Hour, "1h", "hour"),
        (Span::Hours6, "6h", "6 hours"),
        (Span::Day, "24h", "24 hours"),
    ];

    /// By the query of the page's address, `span=6h`.
    pub fn of_query(query: &str) -> Span {
        let named = query.split('&').find_map(|p| p.strip_prefix("span="));
        let known = Span::ALL.iter().find(|(_, name, _)| Some(*name) == named);
        known.map_or(Span::Auto, |(span, ..)| *span)
    }

    fn resolved(self, day: &[Option<Sample>]) -> Span {
        let first = day.iter().position(Option::is_some).unwrap_or(day.len());
        match self {
            Span::Auto if day.len() - first <= 60 => Span::Hour,
            Span::Auto if day.len() - first <= 360 => Span::Hours6,
            Span::Auto => Span::Day,
            named => named,
        }
    }

    /// Minutes shown, and of each step.
    fn minutes(self) -> (usize, usize) {
        match self {
            Span::Hour => (60, 1),
            Span::Hours6 => (360, 1),
            Span::Day | Span::Auto => (MINUTES, 5),
        }
    }
}

/// The samples of each step.
struct Steps<'a> {
    all: Vec<&'a [Option<Sample>]>,
    from_s: u64,
    step_s: u64,
    /// Seconds of the minute under way that have passed.
    now_s: u64,
}

impl<'a> Steps<'a> {
    fn new(first_minute: u64, day: &'a [Option<Sample>], span: Span, now_ms: u64) -> Steps<'a> {
        let (minutes, each) = span.minutes();
        let skipped = day.len().saturating_sub(minutes);
        Steps {
            all: day[skipped..].chunks(each).collect(),
            from_s: (first_minute + skipped as u64) * 60,
            step_s: each as u64 * 60,
            now_s: now_ms / 1000 % 60,
        }
    }

    /// The most of what `of` takes of the samples of each step; of the last one what it is now.
    fn most(&self, of: impl Fn(&Sample) -> Option<u64>) -> Vec<Option<f64>> {
        let last = self.all.len().saturating_sub(1);
        let step = |(at, samples): (usize, &&[Option<Sample>])| {
            let some = samples.iter().flatten().filter_map(&of);
            let value = if at == last { some.last() } else { some.max() };
            value.map(|v| v as f64)
        };
        self.all.iter().enumerate().map(step).collect()
    }

    /// What `of` takes, a second, of whole minutes; of the one under way, which is the last, only if it is
    /// all there is.
    fn rate(&self, of: impl Fn(&Sample) -> u64) -> Vec<Option<f64>> {
        let known = self.all.iter().flat_map(|s| s.iter().flatten()).count();
        let last = self.all.len().saturating_sub(1);
        let step = |(at, samples): (usize, &&[Option<Sample>])| {
            let whole = match at == last && known > 1 {
                true => &samples[..samples.len() - 1],
                false => samples,
            };
            let some = || whole.iter().flatten();
            let seconds = match known {
                1 => self.now_s.max(1),
                _ => some().count() as u64 * 60,
            };
            let rows: u64 = some().map(&of).fold(0, u64::saturating_add);
            (some().count() > 0).then_some(rows as f64 / seconds as f64)
        };
        self.all.iter().enumerate().map(step).collect()
    }

    /// Steps without a sample between others, each with the step before and after it.
    fn gaps(&self) -> Vec<(usize, usize)> {
        let is_known: Vec<bool> = self
            .all
            .iter()
            .map(|s| s.iter().any(Option::is_some))
            .collect();
        let mut gaps = Vec::new();
        let mut before: Option<usize> = None;
        for at in (0..is_known.len()).filter(|at| is_known[*at]) {
            match before {
                Some(before) if at > before + 1 => gaps.push((before, at)),
                _ => {}
            }
            before = Some(at);
        }
        gaps
    }
}

/// The section of charts.
pub(super) fn section(view: &View<'_>) -> Markup {
    let shown = view.span.resolved(view.day);
    let steps = Steps::new(view.first_minute, view.day, shown, view.status.told_ms);
    let gaps = steps.gaps();
    let chart = |id, title, unit, bars, lines: Vec<(&'static str, Vec<Option<f64>>)>| Chart {
        id,
        title,
        unit,
        bars,
        lines: lines
            .into_iter()
            .map(|(name, values)| Line { name, values })
            .collect(),
        from_s: steps.from_s,
        step_s: steps.step_s,
        gaps: gaps.clone(),
    };
    let insert = |of: fn(&Sample) -> u64| {
        steps.most(move |s| (s.insert_bytes > 0 || s.insert_ms > 0).then(|| of(s)))
    };
    let charts = [
        chart(
            "c-rows",
            "Rows a second",
            Unit::Rate("rows"),
            false,
            vec![
                ("read from Kafka", steps.rate(|s| s.rows_in)),
                ("into ClickHouse", steps.rate(|s| s.rows_out)),
            ],
        ),
        chart(
            "c-queue",
            "Rows in the queue",
            Unit::Count("rows"),
            false,
            vec![("queued", steps.most(|s| Some(s.queue_rows)))],
        ),
        chart(
            "c-age",
            "Age of the oldest row",
            Unit::Seconds,
            false,
            vec![("age", steps.most(|s| Some(s.oldest_s)))],
        ),
        chart(
            "c-bytes",
            "Bytes in the queue",
            Unit::Bytes,
            false,
            vec![("queued", steps.most(|s| Some(s.queue_bytes)))],
        ),
        chart(
            "c-unread",
            "Records in Kafka, not read yet",
            Unit::Count("records"),
            false,
            vec![("unread", steps.most(|s| s.unread))],
        ),
        chart(
            "c-body",
            "Size of an insert",
            Unit::Bytes,
            true,
            vec![("size", insert(|s| s.insert_bytes))],
        ),
        chart(
            "c-took",
            "Time of an insert",
            Unit::Seconds,
            true,
            vec![(
                "time",
                insert(|s| s.insert_ms)
                    .into_iter()
                    .map(|v| v.map(|ms| ms / 1000.0))
                    .collect(),
            )],
        ),
    ];
    html! {
        section #charts data-part aria-labelledby="charts-h" {
            div.head {
                h2 #charts-h { "The last " (name(shown)) }
                nav aria-label="Time shown" {
                    @for (one, query, name) in Span::ALL {
                        a #{ "span-" (query) } href={ "/?span=" (query) } aria-label={ "the last " (name) }
                            aria-current=[(one == shown).then_some("true")] { (name) }
                    }
                }
            }
            div.charts { @for c in &charts { (c.draw()) } }
            @if !gaps.is_empty() {
                p.note { "Grey: minutes without a sample, as when the program did not run." }
            }
            p.note { "Times are UTC." }
        }
    }
}

fn name(span: Span) -> &'static str {
    let named = Span::ALL.iter().find(|(one, ..)| *one == span);
    named.map_or("day", |(_, _, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(of: impl Fn(usize) -> Option<Sample>) -> Vec<Option<Sample>> {
        (0..MINUTES).map(of).collect()
    }

    fn rows(rows_in: u64) -> Option<Sample> {
        Some(Sample {
            rows_in,
            queue_rows: rows_in,
            ..Sample::default()
        })
    }

    #[test]
    fn as_much_is_shown_as_there_are_samples_of() {
        let since = |first| day(|at| (at >= first).then_some(Sample::default()));
        let resolved = |first| Span::Auto.resolved(&since(first));
        assert_eq!(resolved(MINUTES - 1), Span::Hour);
        assert_eq!(resolved(MINUTES - 61), Span::Hours6);
        assert_eq!(resolved(0), Span::Day);
        assert_eq!(Span::Hours6.resolved(&since(0)), Span::Hours6);
        let asked = ["span=1h", "x=1&span=24h", "span=9h", ""].map(Span::of_query);
        assert_eq!(asked, [Span::Hour, Span::Day, Span::Auto, Span::Auto]);
    }

    #[test]
    fn rates_are_of_whole_minutes_and_a_minute_without_a_sample_is_no_zero() {
        let all = day(|at| match at {
            1439 => rows(1),
            1430..1435 => rows(600),
            1428 => rows(0),
            _ => None,
        });
        let steps = Steps::new(0, &all, Span::Hour, 30_000);
        let rate = steps.rate(|s| s.rows_in);
        assert_eq!(rate.len(), 60);
        assert_eq!(
            rate[47..52],
            [None, Some(0.0), None, Some(10.0), Some(10.0)]
        );
        assert_eq!(rate[55..], [None; 5], "the minute under way is not over");
        assert_eq!(steps.gaps(), [(48, 50), (54, 59)]);
        let most = steps.most(|s| Some(s.queue_rows));
        assert_eq!(most[59], Some(1.0), "of a queue this moment counts");

        let steps = Steps::new(0, &all, Span::Day, 30_000);
        let rate = steps.rate(|s| s.rows_in);
        assert_eq!(rate.len(), 288);
        assert_eq!(rate[285..], [Some(0.0), Some(10.0), None]);

        let all = day(|at| if at == 1439 { rows(60) } else { None });
        let steps = Steps::new(0, &all, Span::Hour, 30_000);
        assert_eq!(steps.rate(|s| s.rows_in)[59], Some(2.0));
    }
}
