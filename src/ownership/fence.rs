//! Which of several data dirs with one installation id is the one. Pure.
//!
//! A copy of a data dir (`cp`, a snapshot, a cloned disk, a restored backup) has the id of its original and
//! rows that the original sends under tokens of its own. So each start is a [`Run`](crate::queue::Run) with an epoch, raised and
//! synced before anything is sent or committed, and each commit carries in its note a [`Stamp`]: the run, and
//! how many batches were sealed under the id. Kafka keeps the last of each owner. It is looked at
//! - before the group is joined: without an answer a data dir waits that may lie elsewhere than it last lay
//!   (`queue/disk/origin.rs`),
//! - at each assignment, before anything is resolved or read,
//! - once a minute, in the notes of all partitions,
//! - before a batch is sent for the first time, **after** its number was put into a commit: of two that seal
//!   rows of before the copy at least one sees the other's number.
//!
//! A commit follows the sync of what it covers, and a stamp that of the seal. So whatever Kafka has of a run
//! is in the data dir of that run, after a crash at any point, too; if it is not, the data dir is not the one:
//!
//! | Kafka's note of our id is by | and covers                  | then                                      |
//! |------------------------------|-----------------------------|-------------------------------------------|
//! | nobody: none, or expired     |                             | the hint decides: another file is refused |
//! | a release without runs       |                             | the same                                  |
//! | this run, or one before it   | no more than is here, or was at this start | ours: goes on, wherever the file lies |
//! |                              | offsets that are not here   | [`Verdict::Behind`]                       |
//! |                              | batches that are not here   | [`Verdict::Behind`]                       |
//! | a run that was not here: a higher epoch, the same with another nonce, a lower one that is not remembered | | [`Verdict::Another`] |
//!
//! What follows for
//! - **a copy beside its original**: the original read or sealed since: the copy stops before it joins. It
//!   did neither: the copy goes on, commits as the next run, and the original stops as soon as it looks. Where
//!   it still holds a partition it leaves an [`OBJECTION`] there, by which the copy stops, too.
//! - **a copy after its original stopped**: takes over if the original sent and read nothing since; is
//!   `Behind` if it did.
//! - **the original started again afterwards**: sees the copy's run, and stops.
//! - **a backup after its original was lost**: `Behind`, or `Another` if the original was started since. A
//!   person declares it (`adopt`): a new id, and what the lost one may have sent is held.
//! - **a moved volume, a remount with other inodes**: all notes are of runs that were here.
//! - **a crash between raising the epoch and the first commit**: the note is of a run before this one.
//! - **partitions whose notes are of different runs**: each is of one that was here.
//!
//! Not seen is what leaves no trace in Kafka: a copy started while its original cannot reach Kafka and sends
//! what both have; rows sent by an original that held no partition and was copied before; `replay`.

use crate::queue::{Runs, Stamp};

/// The stamp of an owner that has seen another: no data dir has so many batches.
pub const OBJECTION: u64 = i64::MAX as u64;

/// What Kafka has under our id.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told<'a> {
    /// The last run that committed.
    pub stamp: Option<&'a Stamp>,
    /// Up to where a commit of ours covers the log, if it is the log that we know.
    pub covered: Option<i64>,
}

/// What is here.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// The runs on this data dir.
    pub runs: &'a Runs,
    /// The number that the next batch will have.
    pub next_batch: u64,
    /// The number that this run's first batch had, or will have.
    pub first_batch: u64,
    /// Up to where the log was ever read or taken over here.
    pub reached: Option<i64>,
}

/// What a note says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Untold,
    /// All of it happened on this data dir.
    Ours,
    /// A run of ours did what this data dir knows nothing of.
    Behind(What),
    /// Another run has our id.
    Another,
}

/// What is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Offsets.
    Rows,
    /// Batches.
    Batches,
}

/// See the table of the module.
pub fn judge(told: Told<'_>, here: Here<'_>) -> Verdict {
    let Some(stamp) = told.stamp else {
        return Verdict::Untold;
    };
    let Here { runs, .. } = here;
    let run = &stamp.run;
    let is_forgotten = run.epoch < runs.now.epoch && !runs.remembers(run.epoch);
    if *run != runs.now && !runs.before.contains(run) && !is_forgotten {
        return Verdict::Another;
    }
    // What a run before this one sealed was here when this one began.
    let most = match *run == runs.now {
        true => here.next_batch,
        false => here.first_batch,
    };
    if stamp.sealed > most && !runs.accepted.contains(stamp) {
        return Verdict::Behind(What::Batches);
    }
    if told
        .covered
        .is_some_and(|to| here.reached.is_none_or(|at| at < to))
    {
        return Verdict::Behind(What::Rows);
    }
    Verdict::Ours
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Run;

    fn run(epoch: u64, nonce: &str) -> Run {
        Run {
            epoch,
            nonce: nonce.into(),
        }
    }

    /// The third run, which has read up to 100 and sealed six batches.
    fn judged(told: Run, sealed: u64, covered: Option<i64>) -> Verdict {
        let runs = Runs {
            now: run(3, "c"),
            before: vec![run(1, "a"), run(2, "b")],
            ..Runs::default()
        };
        let here = Here {
            runs: &runs,
            next_batch: 7,
            first_batch: 5,
            reached: Some(100),
        };
        let stamp = Stamp { run: told, sealed };
        let stamp = Some(&stamp);
        judge(Told { stamp, covered }, here)
    }

    #[test]
    fn the_table_of_the_module() {
        use Verdict::{Another, Behind, Ours};
        let runs = [
            (run(3, "c"), true),
            (run(2, "b"), true),
            (run(1, "a"), true),
            (run(4, "d"), false),
            (run(3, "d"), false),
            (run(2, "d"), false),
            (run(1, "b"), false),
        ];
        for (run, ours) in runs {
            for sealed in [1, 5, 6, 7, 8, OBJECTION] {
                for covered in [None, Some(0), Some(100), Some(101)] {
                    let most = if run.epoch == 3 { 7 } else { 5 };
                    let want = match (ours, sealed > most, covered > Some(100)) {
                        (false, ..) => Another,
                        (_, true, _) => Behind(What::Batches),
                        (_, _, true) => Behind(What::Rows),
                        _ => Ours,
                    };
                    let found = judged(run.clone(), sealed, covered);
                    assert_eq!(found, want, "{run:?} {sealed} {covered:?}");
                }
            }
        }
    }

    #[test]
    fn what_a_person_declared_ours_is_ours_and_nothing_more() {
        let mut runs = Runs {
            now: run(3, "c"),
            ..Runs::default()
        };
        let known = |sealed| Stamp {
            run: run(9, "x"),
            sealed,
        };
        runs.accept([known(OBJECTION)]);
        assert_eq!(runs.now, run(10, "c"));
        let judged = |runs: &Runs, sealed| {
            let here = Here {
                runs,
                next_batch: 7,
                first_batch: 7,
                reached: None,
            };
            let stamp = Some(&known(sealed));
            let covered = None;
            judge(Told { stamp, covered }, here)
        };
        assert_eq!(judged(&runs, OBJECTION), Verdict::Ours);
        assert_eq!(judged(&runs, 8), Verdict::Behind(What::Batches));
    }

    #[test]
    fn without_a_stamp_nothing_is_told() {
        let runs = Runs::default();
        let here = Here {
            runs: &runs,
            next_batch: 1,
            first_batch: 1,
            reached: None,
        };
        for covered in [None, Some(5)] {
            let told = Told {
                stamp: None,
                covered,
            };
            assert_eq!(judge(told, here), Verdict::Untold);
        }
    }

    #[test]
    fn runs_that_are_not_remembered_any_more_are_no_others() {
        let mut runs = Runs::default();
        for n in 0..400 {
            runs.begin(n.to_string());
        }
        let here = Here {
            runs: &runs,
            next_batch: 1,
            first_batch: 1,
            reached: Some(0),
        };
        let told = |epoch| {
            let stamp = Stamp {
                run: run(epoch, "?"),
                sealed: 1,
            };
            let told = Told {
                stamp: Some(&stamp),
                covered: None,
            };
            judge(told, here)
        };
        assert_eq!(
            (told(2), told(399), told(401)),
            (Verdict::Ours, Verdict::Another, Verdict::Another)
        );
    }
}
