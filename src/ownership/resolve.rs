//! What becomes of a tail: rows whose commit was never answered. Pure.
//!
//! | tail rows are            | and the note says            | then                             |
//! |--------------------------|------------------------------|----------------------------------|
//! | below the committed offset | we are the owner           | eligible: the answer was lost    |
//! |                          | our commits ended at e       | eligible below e, dropped above  |
//! |                          | nothing of us                | dropped: another instance has them |
//! |                          | nothing that can be trusted  | held for a person                |
//! | at or above it           | (assigned) Kafka has them    | dropped, and read again          |
//! |                          | (assigned) Kafka lost some, or has others in their place | claimed: committed first of all |
//! |                          | (not assigned)               | they wait                        |

use super::note::Note;

/// The last commit of a partition, as the coordinator tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The offset.
    pub offset: i64,
    /// Leader epoch of the last record below it, if it was told.
    pub epoch: Option<i32>,
    /// Its note; `None` if the metadata is not a note.
    pub note: Option<Note>,
}

/// What is known when a tail is resolved.
pub struct Facts<'a> {
    /// Our installation id.
    pub me: &'a str,
    /// The last commit; `None` if there is none.
    pub committed: Option<&'a Committed>,
    /// Lowest offset that Kafka still has, if the partition is assigned to us now.
    pub low: Option<i64>,
    /// From here on Kafka's log has other records than those that were read, if it was cut.
    pub parted: Option<i64>,
}

/// The outcome for one tail `[eligible, next)`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Resolution {
    /// Rows below become eligible.
    pub eligible: i64,
    /// Rows in it are dropped.
    pub drop: std::ops::Range<i64>,
    /// Rows left up to here may be the only copy: commit this offset before anything is read, and
    /// only its acknowledgement makes them eligible.
    pub claim: Option<i64>,
    /// What stays must wait for a person; why.
    pub hold: Option<String>,
}

/// Resolves the tail `[eligible, next)`.
pub fn resolve(eligible: i64, next: i64, facts: &Facts<'_>) -> Resolution {
    let committed = facts.committed.map_or(i64::MIN, |c| c.offset);
    let below_end = next.min(committed);
    let mut out = Resolution {
        eligible,
        drop: below_end..below_end,
        claim: None,
        hold: None,
    };
    if below_end > eligible {
        match end_of_ours(facts, below_end) {
            Ok(end) => {
                out.eligible = end.clamp(eligible, below_end);
                out.drop = out.eligible..below_end;
            }
            Err(why) => {
                out.drop = below_end..below_end;
                out.hold = Some(format!("offsets {eligible}..{below_end}: {why}"));
            }
        }
    }
    let above = eligible.max(committed);
    if next > above {
        let is_parted = facts.parted.is_some_and(|at| at < next);
        let is_foreign = facts.committed.is_some_and(|c| c.note.is_none());
        match facts.low {
            None => {}
            // Offsets were lowered where the log was cut: only a note tells whether they were already.
            Some(low) if low <= above && is_parted && is_foreign => {
                out.hold = Some(format!(
                    "offsets {above}..{next}: Kafka's log was cut since, and the last commit carries no \
                     note of this program"
                ));
            }
            Some(low) if low > above || is_parted => out.claim = Some(next),
            // `drop` ends where this begins, or is empty.
            Some(_) => {
                let start = if out.drop.is_empty() {
                    above
                } else {
                    out.drop.start
                };
                out.drop = start..next;
            }
        }
    }
    out
}

/// Below which offset the rows are covered by commits of ours.
fn end_of_ours(facts: &Facts<'_>, below_end: i64) -> Result<i64, String> {
    let Some(note) = facts.committed.and_then(|c| c.note.as_ref()) else {
        return Err(
            "the commit above them carries no note of this program: an operator reset the \
             offset, or another program commits in this group"
                .to_owned(),
        );
    };
    if note.owner == facts.me {
        return Ok(below_end);
    }
    match note.former.get(facts.me) {
        Some(end) => Ok(*end),
        None if note.cut => Err(
            "the commit above them does not list all former owners, so whether ours was applied \
             cannot be known"
                .to_owned(),
        ),
        None => Ok(i64::MIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(offset: i64, owner: &str, former: &[(&str, i64)], cut: bool) -> Committed {
        Committed {
            offset,
            epoch: None,
            note: Some(Note {
                owner: owner.into(),
                topic_id: None,
                former: former.iter().map(|(id, e)| (id.to_string(), *e)).collect(),
                runs: Default::default(),
                cut,
            }),
        }
    }

    fn run(tail: (i64, i64), c: Option<&Committed>, low: Option<i64>) -> Resolution {
        resolve(
            tail.0,
            tail.1,
            &Facts {
                me: "me",
                committed: c,
                low,
                parted: None,
            },
        )
    }

    #[test]
    fn our_own_commit_was_applied_and_its_answer_lost() {
        let c = committed(20, "me", &[], false);
        let r = run((10, 20), Some(&c), Some(0));
        assert_eq!((r.eligible, r.drop.is_empty(), r.hold), (20, true, None));
    }

    #[test]
    fn a_former_owner_keeps_what_it_committed_and_drops_what_others_read() {
        let c = committed(50, "other", &[("me", 15)], false);
        let r = run((10, 30), Some(&c), Some(0));
        assert_eq!((r.eligible, r.drop), (15, 15..30));
    }

    #[test]
    fn nothing_of_ours_was_committed_so_others_have_the_rows() {
        let c = committed(50, "other", &[("third", 15)], false);
        let r = run((10, 30), Some(&c), None);
        assert_eq!((r.eligible, r.drop), (10, 10..30));
    }

    #[test]
    fn rows_are_held_where_the_note_cannot_tell() {
        for c in [
            Committed {
                offset: 50,
                epoch: None,
                note: None,
            },
            committed(50, "other", &[], true),
        ] {
            let r = run((10, 30), Some(&c), Some(0));
            assert!(r.hold.is_some());
            assert_eq!((r.eligible, r.drop.is_empty()), (10, true));
        }
    }

    #[test]
    fn rows_above_the_commit_are_read_again_while_kafka_has_them() {
        let c = committed(20, "me", &[], false);
        let r = run((10, 30), Some(&c), Some(20));
        assert_eq!((r.eligible, r.drop, r.claim), (20, 20..30, None));
    }

    #[test]
    fn rows_above_the_commit_are_claimed_once_kafka_lost_them() {
        let c = committed(20, "other", &[], false);
        let r = run((10, 30), Some(&c), Some(25));
        assert_eq!((r.eligible, r.drop, r.claim), (10, 10..20, Some(30)));
    }

    #[test]
    fn without_an_assignment_rows_above_the_commit_wait() {
        let c = committed(20, "me", &[], false);
        let r = run((10, 30), Some(&c), None);
        assert_eq!((r.eligible, r.drop.is_empty(), r.claim), (20, true, None));
    }

    #[test]
    fn no_commit_at_all_means_all_is_read_again() {
        let r = run((10, 30), None, Some(0));
        assert_eq!((r.eligible, r.drop), (10, 10..30));
    }
}
