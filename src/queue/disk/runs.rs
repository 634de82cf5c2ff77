//! How often the program was started on a data dir, and which starts those were: what tells it from a copy
//! of itself (`ownership/fence.rs`).

use serde::{Deserialize, Serialize};

use crate::queue::format::json::{get_json, json};
use crate::queue::{Queue, QueueError, Trees};
use crate::runtime::clock::now_ms;

/// Names under which the queue keeps them.
const RUNS: &str = "runs";
const SECOND_OWNER: &str = "second_owner";

/// So many starts are remembered. Of older ones it is not known whether they were ours.
const REMEMBERED: usize = 256;

/// One run of the program on a data dir.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Which start it is, from 1.
    pub epoch: u64,
    /// Random, 8 hex digits: a copy that is started has the same epoch and another nonce.
    pub nonce: String,
}

/// What a run tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The run.
    pub run: Run,
    /// The number that the next batch has, of all that were sealed and synced.
    pub sealed: u64,
}

/// The runs on a data dir.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runs {
    /// The one now, or the last one.
    pub now: Run,
    /// Those before, the last ones.
    pub before: Vec<Run>,
    /// A person said that this data dir is the one: what Kafka knows of its id by then is its own.
    pub declared: bool,
    /// What Kafka knew then.
    #[serde(default)]
    pub accepted: Vec<Stamp>,
}

impl Runs {
    /// Begins another run.
    pub fn begin(&mut self, nonce: String) {
        let now = Run {
            epoch: self.now.epoch + 1,
            nonce,
        };
        let last = std::mem::replace(&mut self.now, now);
        if last.epoch > 0 {
            self.remember(last);
        }
    }

    /// Takes a run for one of ours.
    pub fn remember(&mut self, run: Run) {
        if self.before.contains(&run) {
            return;
        }
        self.before.push(run);
        let over = self.before.len().saturating_sub(REMEMBERED);
        self.before.drain(..over);
    }

    /// Takes what Kafka knows of the id for our own, as a person has said.
    pub fn accept(&mut self, known: impl IntoIterator<Item = Stamp>) {
        for stamp in known {
            self.now.epoch = self.now.epoch.max(stamp.run.epoch + 1);
            self.remember(stamp.run.clone());
            self.accepted.push(stamp);
        }
        self.declared = false;
    }

    /// Whether all runs of this epoch are remembered.
    pub fn remembers(&self, epoch: u64) -> bool {
        self.before.len() < REMEMBERED || self.before.iter().any(|run| run.epoch <= epoch)
    }
}

/// Another owner of the installation id was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SecondOwner {
    /// What was seen.
    words: String,
    /// When, Unix ms.
    at_ms: u64,
}

/// Refuses a queue whose id has a second owner, until a person has decided.
pub(in crate::queue) fn refuse_second_owner(
    trees: &Trees,
    path: &std::path::Path,
) -> Result<(), QueueError> {
    match get_json::<SecondOwner>(&trees.meta, SECOND_OWNER.as_bytes())? {
        Some(seen) => Err(QueueError::SecondOwner {
            path: path.to_owned(),
            words: seen.words,
        }),
        None => Ok(()),
    }
}

/// What was repaired may have lost the offsets that its own commits cover.
pub(in crate::queue) fn declare(trees: &Trees) -> Result<(), QueueError> {
    let mut runs: Runs = get_json(&trees.meta, RUNS.as_bytes())
        .ok()
        .flatten()
        .unwrap_or_default();
    runs.declared = true;
    let put = trees.meta.insert(RUNS.as_bytes(), json(&runs));
    put.map(drop).map_err(QueueError::store("write to"))
}

impl Queue {
    /// Begins another run, durably: before anything is sent or committed.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be read or written, or [`QueueError::SecondOwner`].
    pub fn begin_run(&self) -> Result<(), QueueError> {
        refuse_second_owner(&*self.trees()?, self.dir().path())?;
        let mut runs = self.runs()?;
        let nonce = getrandom::u32().expect("the kernel's random source works");
        runs.begin(format!("{nonce:08x}"));
        self.keep_runs(&runs)
    }

    /// The runs on this data dir.
    ///
    /// # Errors
    /// [`QueueError`] if they cannot be read.
    pub fn runs(&self) -> Result<Runs, QueueError> {
        Ok(self.load(RUNS)?.unwrap_or_default())
    }

    /// Keeps them, durably.
    ///
    /// # Errors
    /// [`QueueError`] if they cannot be written.
    pub fn keep_runs(&self, runs: &Runs) -> Result<(), QueueError> {
        self.save(RUNS, runs)?;
        self.sync()
    }

    /// Keeps that the installation id has another owner, durably: from now on nothing is sent or committed.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written.
    pub fn keep_second_owner(&self, words: &str) -> Result<(), QueueError> {
        let seen = SecondOwner {
            words: words.to_owned(),
            at_ms: now_ms(),
        };
        self.save(SECOND_OWNER, &seen)?;
        self.sync()
    }

    /// A person has decided.
    pub(in crate::queue) fn forget_second_owner(&self) -> Result<(), QueueError> {
        let trees = self.trees()?;
        let gone = trees.meta.remove(SECOND_OWNER);
        self.guard(gone.map(drop).map_err(QueueError::store("write to")))
    }

    /// The number that the next batch will have.
    pub fn next_batch(&self) -> u64 {
        self.state().next_batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::fixture::Fixture;

    #[test]
    fn each_run_has_the_next_epoch_also_after_a_crash() {
        let mut f = Fixture::new();
        for epoch in 1..4 {
            f.q().begin_run().unwrap();
            let runs = f.q().runs().unwrap();
            assert_eq!(
                (runs.now.epoch, runs.before.len() as u64),
                (epoch, epoch - 1)
            );
            assert!(!runs.before.contains(&runs.now));
            f.reopen();
        }
    }

    #[test]
    fn only_the_last_runs_are_remembered() {
        let mut runs = Runs::default();
        for n in 0..REMEMBERED + 3 {
            runs.begin(n.to_string());
        }
        assert_eq!(runs.before.len(), REMEMBERED);
        assert!(!runs.remembers(2) && runs.remembers(3));
    }

    #[test]
    fn a_second_owner_stays_known_until_a_person_has_decided() {
        let mut f = Fixture::new();
        f.q().begin_run().unwrap();
        f.q().keep_second_owner("seen").unwrap();
        f.reopen();
        for refused in [f.q().begin_run(), f.q().refuse_copy()] {
            let words = refused.unwrap_err().to_string();
            assert!(words.contains("seen"), "{words}");
        }
        f.q().adopt(false).unwrap();
        f.reopen();
        f.q().refuse_copy().unwrap();
        f.q().begin_run().unwrap();
        assert_eq!(f.q().runs().unwrap().now.epoch, 1, "of the new id");
    }
}
