//! By which policies rows were masked, and since when: a change holds for what is read from then on, so a
//! table has rows of several. What no instance masks itself, as a message in quarantine that is retried, is
//! masked by the newest one, which no command has to be told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::privacy::Policy;
use crate::queue::{Queue, QueueError};

/// Name under which the queue keeps them.
const POLICIES: &str = "policies";

/// How many are kept, the newest.
const MOST: usize = 100;

/// A policy, and since when rows are masked by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicySince {
    /// Unix ms; 0 where it is only known that it was before.
    pub since_ms: u64,
    /// What is taken away.
    #[serde(flatten)]
    pub policy: Policy,
}

impl Queue {
    /// All that are known, the oldest first.
    ///
    /// # Errors
    /// [`QueueError`] if they cannot be read: nobody may guess how much is to be taken away.
    pub fn policies(&self) -> Result<Vec<PolicySince>, QueueError> {
        Ok(self.load(POLICIES)?.unwrap_or_default())
    }

    /// The newest one.
    ///
    /// # Errors
    /// As [`Queue::policies`].
    pub fn policy(&self) -> Result<Policy, QueueError> {
        let newest = self.policies()?.pop();
        Ok(newest.map(|newest| newest.policy).unwrap_or_default())
    }

    /// Records the policy by which rows are masked from now on; the one before, if it was another. Written
    /// before them, it is durable once one of them is.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be read or written.
    pub fn note_policy(&self, policy: &Policy, now_ms: u64) -> Result<Option<Policy>, QueueError> {
        let mut all = self.policies()?;
        // Before there was a choice.
        if all.is_empty() && self.state().next_lane > 1 {
            all.push(PolicySince {
                since_ms: 0,
                policy: Policy::default(),
            });
        }
        let before = all.last().map(|last| last.policy.clone());
        if before.as_ref() == Some(policy) {
            return Ok(None);
        }
        all.push(PolicySince {
            since_ms: now_ms,
            policy: policy.clone(),
        });
        all.drain(..all.len().saturating_sub(MOST));
        self.save(POLICIES, &all)?;
        Ok(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::policy::tests::all;
    use crate::queue::fixture::Fixture;

    fn since(f: &Fixture) -> Vec<(u64, Policy)> {
        let all = f.q().policies().unwrap().into_iter();
        all.map(|p| (p.since_ms, p.policy)).collect()
    }

    #[test]
    fn a_change_is_recorded_once_and_the_newest_holds() {
        let mut f = Fixture::new();
        let (first, other) = (Policy::default(), all().last().unwrap());
        assert_eq!(f.q().policy().unwrap(), first);
        for (now_ms, policy, before) in [
            (1, &first, None),
            (2, &first, None),
            (3, &other, Some(&first)),
            (4, &other, None),
            (5, &first, Some(&other)),
        ] {
            let told = f.q().note_policy(policy, now_ms).unwrap();
            assert_eq!(told.as_ref(), before, "{now_ms}");
            f.q().sync().unwrap();
            f.reopen();
        }
        let want = [(1, first.clone()), (3, other), (5, first.clone())];
        assert_eq!(since(&f), want);
        assert_eq!(f.q().policy().unwrap(), first);
    }

    #[test]
    fn a_queue_from_before_policies_was_masked_by_the_default() {
        let f = Fixture::new();
        f.q().open_lane("t@1", 0, 0).unwrap();
        let other = all().last().unwrap();
        let before = f.q().note_policy(&other, 7).unwrap();
        assert_eq!(before, Some(Policy::default()));
        assert_eq!(since(&f), [(0, Policy::default()), (7, other)]);
    }

    #[test]
    fn only_so_many_are_kept() {
        let f = Fixture::new();
        for (now_ms, policy) in (1..).zip(all().cycle().take(MOST + 5)) {
            f.q().note_policy(&policy, now_ms).unwrap();
        }
        let kept = since(&f);
        assert_eq!((kept.len(), kept[0].0), (MOST, 6));
    }
}
