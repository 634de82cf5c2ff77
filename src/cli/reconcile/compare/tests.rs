use super::*;

const RANGE: Range<u64> = 0..1 << 33;
/// A minute at noon.
const NOON: u32 = 1000 * DAY + 720;

fn counted(span: Span, consumed: i64, stored: i64, in_flight: i64) -> Counted {
    Counted {
        start: span.start,
        seconds: span.seconds,
        consumed,
        stored,
        queued: consumed - stored,
        in_flight,
        ..Counted::default()
    }
}

fn counts(spans: &[Counted]) -> Counts {
    Counts {
        format: 1,
        installation: "a".into(),
        since_ms: 0,
        taken_ms: 0,
        from: 0,
        to: RANGE.end,
        spans: spans.to_vec(),
        partitions: Vec::new(),
        quarantine_dropped: 0,
    }
}

fn still(spans: &[Counted]) -> Instance {
    Instance {
        before: counts(spans),
        after: Some(counts(spans)),
    }
}

/// The start in minutes and the cause of each difference.
fn differ(instances: &[Instance], found: &[(Span, u64)]) -> Vec<(u32, &'static str)> {
    let done = compare(instances, &query(RANGE, instances), found);
    let of = |d: &Difference| (d.span.first_minute(), d.likely);
    done.differences.iter().map(of).collect()
}

#[test]
fn the_stored_rows_of_all_instances_are_expected_and_no_queued_one() {
    let m = Span::minute(NOON);
    let both = [still(&[counted(m, 5, 3, 0)]), still(&[counted(m, 4, 4, 0)])];
    assert_eq!(differ(&both, &[(m, 7)]), []);
    assert_eq!(differ(&both, &[(m, 6)]), [(NOON, FEWER)]);
    assert_eq!(differ(&both, &[(m, 8)]), [(NOON, MORE)]);
    assert_eq!(differ(&both, &[]), [(NOON, GONE)]);
    let done = compare(&both, &query(RANGE, &both), &[(m, 6)]);
    assert_eq!((done.differences[0].queued, done.minutes), (2, 1));
}

#[test]
fn a_minute_in_flight_may_have_its_rows_or_not() {
    let m = Span::minute(NOON);
    let one = [still(&[counted(m, 5, 2, 3)])];
    for found in 2..=5 {
        assert_eq!(differ(&one, &[(m, found)]), [], "{found}");
    }
    assert_eq!(differ(&one, &[(m, 6)]), [(NOON, MORE)]);
    let done = compare(&one, &query(RANGE, &one), &[(m, 5)]);
    assert_eq!(done.in_flight, 1);
}

#[test]
fn rows_that_a_person_dropped_may_be_there_only_if_an_insert_may_have_stored_them() {
    let m = Span::minute(NOON);
    let dropped = |lost_or_stored| Counted {
        queued: 0,
        lost: 3,
        lost_or_stored,
        ..counted(m, 5, 2, 0)
    };
    for (perhaps, most) in [(0, 2), (3, 5)] {
        let spans = [dropped(perhaps)];
        let file = [Instance {
            before: counts(&spans),
            after: None,
        }];
        for (one, more) in [([still(&spans)], MORE), (file, SINCE_FILE)] {
            for found in 2..=most {
                assert_eq!(differ(&one, &[(m, found)]), [], "{found}");
            }
            assert_eq!(differ(&one, &[(m, 1)]), [(NOON, FEWER)]);
            assert_eq!(differ(&one, &[(m, most + 1)]), [(NOON, more)]);
        }
    }
}

#[test]
fn what_is_stored_while_the_question_is_asked_may_be_there_or_not() {
    let m = Span::minute(NOON);
    let moving = [Instance {
        before: counts(&[counted(m, 5, 2, 0)]),
        after: Some(counts(&[
            counted(m, 9, 6, 1),
            counted(Span::minute(NOON + 1), 1, 1, 0),
        ])),
    }];
    for found in 2..=7 {
        assert_eq!(differ(&moving, &[(m, found)]), [], "{found}");
    }
    assert_eq!(differ(&moving, &[(m, 1)]), [(NOON, FEWER)]);
    assert_eq!(differ(&moving, &[(m, 8)]), [(NOON, MORE)]);
}

#[test]
fn an_instance_known_from_a_file_may_have_sent_all_that_it_had() {
    let m = Span::minute(NOON);
    let file = [Instance {
        before: counts(&[counted(m, 5, 2, 0)]),
        after: None,
    }];
    assert_eq!(differ(&file, &[(m, 5)]), []);
    assert_eq!(differ(&file, &[(m, 6)]), [(NOON, SINCE_FILE)]);
    assert_eq!(differ(&file, &[(m, 1)]), [(NOON, FEWER)]);
}

#[test]
fn a_day_that_one_instance_counts_as_such_is_compared_as_one() {
    let (m, day) = (Span::minute(NOON), Span::day_of(NOON));
    let next = Span::minute(NOON + DAY);
    let both = [
        still(&[counted(m, 5, 5, 0), counted(next, 1, 1, 0)]),
        still(&[counted(day, 4, 4, 0)]),
    ];
    let asked = query(RANGE, &both);
    assert_eq!(asked.fine, u64::from(day.start)..day.end() + 86_400);
    let other = Span::minute(NOON + 9);
    assert_eq!(differ(&both, &[(m, 5), (other, 4), (next, 1)]), []);
    assert_eq!(
        differ(&both, &[(m, 5), (other, 3)]),
        [(day.first_minute(), FEWER), (NOON + DAY, GONE)]
    );
}

#[test]
fn rows_from_before_the_counts_are_no_difference_but_missing_ones_are() {
    let m = Span::minute(NOON);
    let mut one = [still(&[counted(m, 5, 5, 0)])];
    one[0].before.since_ms = (m.end() + 60) * 1000;
    let asked = query(RANGE, &one);
    let done = compare(&one, &asked, &[(m, 8), (Span::minute(NOON + 1), 2)]);
    assert_eq!((done.differences.len(), done.uncounted_before), (0, 5));
    assert_eq!(differ(&one, &[(m, 4)]), [(NOON, FEWER)]);
    assert_eq!(
        differ(&one, &[(m, 5), (Span::minute(NOON + 2), 1)]),
        [(NOON + 2, MORE)]
    );
}

#[test]
fn a_day_of_which_the_range_has_a_part_is_left_out() {
    let m = Span::minute(NOON);
    let one = [still(&[counted(m, 5, 5, 0)])];
    let range = u64::from(m.start)..m.end();
    let asked = query(range.clone(), &one);
    let far = (Span::day_of(0), 1);
    let done = compare(&one, &asked, &[(m, 5), far]);
    assert_eq!((done.minutes, done.days, done.differences.len()), (1, 0, 0));
}

#[test]
fn counts_of_a_clock_that_ran_wild_do_not_ask_for_more_than_an_answer_holds() {
    let (early, late) = (Span::minute(NOON), Span::minute(NOON + 20_000 * DAY));
    let one = [still(&[counted(early, 5, 5, 0), counted(late, 1, 1, 0)])];
    let asked = query(RANGE, &one);
    assert_eq!(asked.fine.end - asked.fine.start, MOST_DAYS * 86_400);
    assert_eq!(differ(&one, &[(Span::day_of(NOON), 5), (late, 1)]), []);
}
