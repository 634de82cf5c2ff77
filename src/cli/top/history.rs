//! What came in and went out in the last minutes, second by second, and as a line of bars.

use std::collections::VecDeque;

use ratatui::symbols::bar::NINE_LEVELS as LEVELS;

use crate::observe::forecast::Counted;

/// How far back it reaches, ms.
pub(super) const REACH_MS: u64 = 300_000;

/// Counters that are further apart say nothing of a single second, ms.
const GAP_MS: u64 = 10_000;

/// Which rate.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    In,
    Out,
}

/// Rows between two looks.
#[derive(Clone, Copy, Debug)]
struct Step {
    from_ms: u64,
    to_ms: u64,
    rows: [u64; 2],
}

/// The last minutes.
#[derive(Debug, Default)]
pub(super) struct History {
    last: Option<(u64, Counted)>,
    steps: VecDeque<Step>,
}

impl History {
    /// A live instance's counters.
    pub(super) fn add(&mut self, at_ms: u64, counted: &Counted) {
        if let Some((before_ms, before)) = self.last.replace((at_ms, *counted)) {
            let goes_on = before_ms < at_ms
                && at_ms - before_ms <= GAP_MS
                && before.rows_in <= counted.rows_in
                && before.rows_out <= counted.rows_out;
            // Another process counts from zero.
            if goes_on {
                self.steps.push_back(Step {
                    from_ms: before_ms,
                    to_ms: at_ms,
                    rows: [
                        counted.rows_in - before.rows_in,
                        counted.rows_out - before.rows_out,
                    ],
                });
            }
        }
        while self
            .steps
            .front()
            .is_some_and(|s| s.to_ms + REACH_MS < at_ms)
        {
            self.steps.pop_front();
        }
    }

    /// None runs: what comes next begins anew.
    pub(super) fn stops(&mut self) {
        self.last = None;
    }

    /// So many bars up to `now`, the highest for the highest rate, and that rate in rows a second.
    pub(super) fn bars(&self, way: Way, width: usize, now: u64) -> (String, u64) {
        if width == 0 {
            return (String::new(), 0);
        }
        let each_ms = REACH_MS.div_ceil(width as u64);
        // In whole steps of the clock, or bars would change as they move; of the step that is not over yet
        // there is too little.
        let end = now / each_ms * each_ms;
        let start = end.saturating_sub(each_ms * width as u64);
        let mut rates = vec![0.0; width];
        for step in &self.steps {
            let rows = step.rows[way as usize] as f64;
            let (from, to) = (step.from_ms.max(start), step.to_ms);
            if to <= from {
                continue;
            }
            let at = ((from + (to - from) / 2).saturating_sub(start) / each_ms) as usize;
            if let Some(rate) = rates.get_mut(at) {
                *rate += rows / each_ms as f64 * 1000.0;
            }
        }
        let most = rates.iter().copied().fold(0.0, f64::max);
        let bar = |rate: f64| match (rate / most * 8.0).ceil() {
            _ if most == 0.0 => LEVELS.empty,
            n if n <= 0.0 => LEVELS.empty,
            n if n <= 1.0 => LEVELS.one_eighth,
            n if n <= 2.0 => LEVELS.one_quarter,
            n if n <= 3.0 => LEVELS.three_eighths,
            n if n <= 4.0 => LEVELS.half,
            n if n <= 5.0 => LEVELS.five_eighths,
            n if n <= 6.0 => LEVELS.three_quarters,
            n if n <= 7.0 => LEVELS.seven_eighths,
            _ => LEVELS.full,
        };
        (rates.into_iter().map(bar).collect(), most as u64)
    }
}
