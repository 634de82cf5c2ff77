//! What goes wrong at this moment, since when and why. Counters tell how often something happened; these
//! tell whether it still does.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::clock::now_ms;

/// A fault that lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Trouble {
    /// What kind it is: a stable word.
    pub kind: String,
    /// In words. No address and no password is in it.
    pub words: String,
    /// Since when, Unix ms.
    pub since_ms: u64,
    /// How often in a row it was met.
    pub times: u64,
}

impl Trouble {
    /// One that begins now.
    pub fn new(kind: &str, words: &str) -> Trouble {
        Trouble {
            kind: kind.to_owned(),
            words: words.to_owned(),
            since_ms: now_ms(),
            times: 1,
        }
    }

    /// It was met, for the first time or again: the time of the first is kept.
    pub fn met(place: &mut Option<Trouble>, kind: &str, words: &str) {
        match place {
            Some(trouble) => {
                trouble.times += 1;
                kind.clone_into(&mut trouble.kind);
                words.clone_into(&mut trouble.words);
            }
            None => *place = Some(Trouble::new(kind, words)),
        }
    }
}

/// A place where one fault at most is told.
#[derive(Debug, Default)]
pub struct Condition(Mutex<Option<Trouble>>);

impl Condition {
    /// See [`Trouble::met`].
    pub fn met(&self, kind: &str, words: &str) {
        Trouble::met(&mut self.lock(), kind, words);
    }

    /// It is over. Returns what it was.
    pub fn over(&self) -> Option<Trouble> {
        self.lock().take()
    }

    /// What it is now.
    pub fn get(&self) -> Option<Trouble> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_keeps_its_beginning_and_its_last_words() {
        let condition = Condition::default();
        condition.met("a", "first");
        let first = condition.get().unwrap();
        condition.met("b", "second");
        let second = condition.get().unwrap();
        assert_eq!(second.since_ms, first.since_ms);
        assert_eq!(
            (second.kind.as_str(), second.words.as_str(), second.times),
            ("b", "second", 2)
        );
        assert_eq!(condition.over(), Some(second));
        assert_eq!(condition.get(), None);
    }
}
