//! Does a series of samples stay flat? Two answers, both of which must be yes: the slope over all of it, which
//! finds a leak, and the peaks of its thirds, which find a step.

/// What a series may do and still count as flat.
#[derive(Clone, Copy)]
pub struct Bound {
    /// Share of its median by which it may grow from its beginning to its end.
    pub share: f64,
    /// And so much in any case, in its own unit: what is small is rough.
    pub least: f64,
}

/// What was seen of a series.
pub struct Flat {
    pub median: f64,
    /// Highest of each third.
    pub peaks: [f64; 3],
    /// Theil and Sen's: the median of the slopes between all pairs, which a few outliers do not move. An hour.
    pub slope: f64,
    /// By how much it may grow from its beginning to its end.
    pub allowed: f64,
    /// What is not as it should be.
    pub wrong: Option<String>,
}

/// Fewer samples than these say nothing.
const FEWEST: usize = 12;
/// Pairs grow with the square: of more samples every nth is taken for the slope.
const MOST: usize = 720;

/// Judges samples of (seconds, value), in the order of their time.
pub fn judge(samples: &[(f64, f64)], bound: Bound) -> Flat {
    let median = middle(samples.iter().map(|s| s.1).collect());
    let mut flat = Flat {
        median,
        peaks: [0.0; 3],
        slope: 0.0,
        allowed: (bound.share * median).max(bound.least),
        wrong: None,
    };
    if samples.len() < FEWEST {
        flat.wrong = Some(format!("only {} samples", samples.len()));
        return flat;
    }
    let third = samples.len().div_ceil(3);
    for (peak, part) in flat.peaks.iter_mut().zip(samples.chunks(third)) {
        *peak = part.iter().map(|s| s.1).fold(f64::MIN, f64::max);
    }
    flat.slope = 3600.0 * slope(samples);
    let hours = (samples[samples.len() - 1].0 - samples[0].0) / 3600.0;
    let grown = flat.slope * hours;
    let step = flat.peaks[2] - flat.peaks[0].max(flat.peaks[1]);
    if grown > flat.allowed {
        flat.wrong = Some(format!("grows by {grown:.1} over {:.0} min", 60.0 * hours));
    } else if step > flat.allowed {
        flat.wrong = Some(format!("its last third is {step:.1} higher"));
    }
    flat
}

fn slope(samples: &[(f64, f64)]) -> f64 {
    let some: Vec<_> = samples
        .iter()
        .step_by(samples.len().div_ceil(MOST))
        .collect();
    let mut slopes = Vec::with_capacity(some.len() * some.len() / 2);
    for (at, (t, v)) in some.iter().enumerate() {
        slopes.extend(some[at + 1..].iter().map(|(u, w)| (w - v) / (u - t)));
    }
    middle(slopes)
}

fn middle(mut values: Vec<f64>) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let at = values.len() / 2;
    *values.select_nth_unstable_by(at, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MiB of a program that takes 60 and has work once a minute.
    const MEMORY: Bound = Bound {
        share: 0.1,
        least: 4.0,
    };

    fn an_hour(mut value: impl FnMut(f64) -> f64) -> Vec<(f64, f64)> {
        let seconds = (0..720).map(|n| f64::from(n) * 5.0);
        seconds.map(|t| (t, value(t))).collect()
    }

    /// 60 MiB, 12 more while an insert is made, and noise.
    fn sound(t: f64) -> f64 {
        60.0 + if t % 65.0 < 10.0 { 12.0 } else { 0.0 } + (t * 7.3).sin()
    }

    #[test]
    fn what_goes_up_and_down_is_flat() {
        let flat = judge(&an_hour(sound), MEMORY);
        assert!(flat.wrong.is_none(), "{:?}", flat.wrong);
        assert!(flat.slope.abs() < 1.0, "{}", flat.slope);
    }

    #[test]
    fn one_high_sample_in_the_beginning_is_flat() {
        let flat = judge(
            &an_hour(|t| sound(t) + if t == 100.0 { 50.0 } else { 0.0 }),
            MEMORY,
        );
        assert!(flat.wrong.is_none(), "{:?}", flat.wrong);
    }

    #[test]
    fn a_leak_is_found() {
        let flat = judge(&an_hour(|t| sound(t) + 8.0 * t / 3600.0), MEMORY);
        assert!(flat.wrong.unwrap().contains("grows"));
        assert!((6.0..10.0).contains(&flat.slope), "{}", flat.slope);
    }

    #[test]
    fn a_step_is_found() {
        let flat = judge(
            &an_hour(|t| sound(t) + if t > 3_000.0 { 15.0 } else { 0.0 }),
            MEMORY,
        );
        assert!(flat.wrong.is_some());
    }

    #[test]
    fn a_descriptor_lost_every_ten_minutes_is_found() {
        let bound = Bound {
            share: 0.0,
            least: 4.0,
        };
        let lost = |t: f64| 45.0 + (t / 600.0).floor() + (t * 3.1).sin().round();
        assert!(judge(&an_hour(lost), bound).wrong.is_some());
        let sound = |t: f64| 45.0 + (t * 3.1).sin().round();
        assert!(judge(&an_hour(sound), bound).wrong.is_none());
    }

    #[test]
    fn too_few_samples_say_nothing() {
        assert!(judge(&[(0.0, 1.0); 5], MEMORY).wrong.is_some());
    }
}
