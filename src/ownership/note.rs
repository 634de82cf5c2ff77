//! The note that every commit carries as its metadata: whose commit it is, and where each former
//! owner's commits ended.
//!
//! The broker checks the member and the generation of a commit, not who owns the partition, and it
//! forgets who committed. The note is how an instance that lost the answer to its last commit
//! learns later whether that commit was applied.
//!
//! It also carries the last run of each owner, by which an owner tells itself from a copy (`fence.rs`). A run
//! is written as if it were one more former owner, `ownerRnonceXepoch=sealed`: releases that know nothing of
//! runs read it as an owner that nobody is, and carry it on.

use std::collections::BTreeMap;

use crate::queue::{Run, Stamp};

/// Kafka's `offset.metadata.max.bytes`, default.
const MAX_BYTES: usize = 4096;
const VERSION: &str = "anonymizer1";

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Installation id of the committing instance.
    pub owner: String,
    /// Kafka's id of the topic that the commit is for, if it was known: a topic that was deleted and
    /// created again has the same name and another id. Behind `#` the number of cuts, see
    /// [`Cut`](super::Cut).
    pub topic_id: Option<String>,
    /// For each former owner, the committed offset at which another instance took over from it.
    pub former: BTreeMap<String, i64>,
    /// Of owners the last run that committed.
    pub runs: BTreeMap<String, Stamp>,
    /// Former owners may be missing: there were too many, or a commit without a note came between.
    pub cut: bool,
}

impl Note {
    /// The note of an instance's commits after it was assigned a partition whose last commit was
    /// at `committed` with the note `last` (`None`: no note that we can read).
    pub fn succeed(me: &str, committed: Option<i64>, last: Option<&Note>) -> Note {
        let Some(last) = last else {
            return Note {
                owner: me.to_owned(),
                topic_id: None,
                former: BTreeMap::new(),
                runs: BTreeMap::new(),
                // Without any commit there was no owner; a commit without a note hides one.
                cut: committed.is_some(),
            };
        };
        let mut former = last.former.clone();
        if let Some(offset) = committed.filter(|_| last.owner != me) {
            former.insert(last.owner.clone(), offset);
        }
        former.remove(me);
        let mut note = Note {
            owner: me.to_owned(),
            topic_id: last.topic_id.clone(),
            former,
            runs: last.runs.clone(),
            cut: last.cut,
        };
        note.fit();
        note
    }

    /// The same note by this run.
    pub fn stamped(&self, stamp: &Stamp) -> Note {
        let mut note = self.clone();
        note.runs.insert(note.owner.clone(), stamp.clone());
        note.fit();
        note
    }

    /// Leaves out what is too much for Kafka.
    fn fit(&mut self) {
        let note = self;
        while note.text().len() > MAX_BYTES {
            let run = note.runs.iter().filter(|(id, _)| **id != note.owner);
            if let Some(oldest) = run
                .min_by_key(|(_, stamp)| stamp.sealed)
                .map(|(id, _)| id.clone())
            {
                note.runs.remove(&oldest);
                continue;
            }
            // The lowest end is the oldest owner, the least likely to come back with a tail.
            let oldest = note
                .former
                .iter()
                .min_by_key(|(_, end)| **end)
                .map(|(id, _)| id.clone());
            match oldest {
                Some(id) => note.former.remove(&id),
                None => break,
            };
            note.cut = true;
        }
    }

    /// As commit metadata.
    pub fn text(&self) -> String {
        let mut text = format!("{VERSION};{}", self.owner);
        if let Some(id) = &self.topic_id {
            text.push_str(&format!(";@{id}"));
        }
        for (id, end) in &self.former {
            text.push_str(&format!(";{id}={end}"));
        }
        for (id, Stamp { run, sealed }) in &self.runs {
            text.push_str(&format!(";{id}R{}X{}={sealed}", run.nonce, run.epoch));
        }
        if self.cut {
            text.push_str(";cut");
        }
        text
    }

    /// From commit metadata; `None` if it is empty, foreign, of another version, or cut off.
    pub fn parse(text: &str) -> Option<Note> {
        let mut fields = text.split(';');
        if fields.next()? != VERSION {
            return None;
        }
        let owner = fields.next().filter(|id| is_id(id))?.to_owned();
        let mut note = Note {
            owner,
            topic_id: None,
            former: BTreeMap::new(),
            runs: BTreeMap::new(),
            cut: false,
        };
        for field in fields {
            if note.cut {
                return None;
            }
            if let Some(id) = field.strip_prefix('@') {
                note.topic_id = Some(id.to_owned());
                continue;
            }
            match field.split_once('=') {
                Some((id, sealed)) if is_id(id) && id.contains('R') => {
                    let (owner, stamp) = parse_run(id, sealed)?;
                    note.runs.insert(owner, stamp);
                }
                Some((id, end)) if is_id(id) => {
                    note.former.insert(id.to_owned(), end.parse().ok()?);
                }
                None if field == "cut" => note.cut = true,
                _ => return None,
            }
        }
        Some(note)
    }
}

fn parse_run(id: &str, sealed: &str) -> Option<(String, Stamp)> {
    let (owner, run) = id.split_once('R')?;
    let (nonce, epoch) = run.split_once('X')?;
    let run = Run {
        epoch: epoch.parse().ok()?,
        nonce: nonce.to_owned(),
    };
    let sealed = sealed.parse().ok()?;
    Some((owner.to_owned(), Stamp { run, sealed }))
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::super::fence::OBJECTION;
    use super::*;

    #[test]
    fn the_first_commit_after_a_takeover_records_where_the_last_owner_ended() {
        let x = Note::succeed("x", None, None);
        assert_eq!((x.cut, x.former.len()), (false, 0));
        let y = Note::succeed("y", Some(100), Some(&x));
        assert_eq!(y.former, [("x".to_owned(), 100)].into());
        let x_again = Note::succeed("x", Some(150), Some(&y));
        assert_eq!(x_again.former, [("y".to_owned(), 150)].into());
        let still_x = Note::succeed("x", Some(170), Some(&x_again));
        assert_eq!(still_x, x_again);
    }

    #[test]
    fn a_commit_without_a_note_leaves_a_mark() {
        assert!(Note::succeed("x", Some(5), None).cut);
    }

    #[test]
    fn a_note_reads_as_it_was_written() {
        let mut note = Note::succeed("x", Some(1), None);
        note.former.insert("y".into(), 77);
        note.topic_id = Some("Wq3_-x".into());
        assert_eq!(Note::parse(&note.text()), Some(note));
        for bad in [
            "",
            "other",
            "anonymizer2;x",
            "anonymizer1",
            "anonymizer1;x;y",
            "anonymizer1;x;y=z",
        ] {
            assert_eq!(Note::parse(bad), None, "{bad:?}");
        }
    }

    fn stamp(epoch: u64, sealed: u64) -> Stamp {
        let nonce = format!("{epoch:08x}");
        Stamp {
            run: Run { epoch, nonce },
            sealed,
        }
    }

    #[test]
    fn a_note_tells_the_last_run_of_each_owner_to_releases_before_runs_as_well() {
        let x = Note::succeed("x", None, None).stamped(&stamp(5, 7));
        assert_eq!(x.text(), "anonymizer1;x;xR00000005X5=7");
        let y = Note::succeed("y", Some(100), Some(&x)).stamped(&stamp(1, 1));
        assert_eq!(Note::parse(&y.text()), Some(y.clone()));
        assert_eq!(y.runs["x"], stamp(5, 7));
        // As a former release reads it: a former owner more, whose name is nobody's.
        let read = y.text().split(';').skip(2).all(|field| {
            field
                .split_once('=')
                .is_some_and(|(id, end)| is_id(id) && end.parse::<i64>().is_ok())
        });
        assert!(read, "{}", y.text());
        assert!(
            stamp(1, OBJECTION)
                .sealed
                .to_string()
                .parse::<i64>()
                .is_ok()
        );
    }

    #[test]
    fn runs_of_others_go_before_former_owners_do() {
        let mut last = Note::succeed("0", None, None);
        for i in 1..120 {
            let me = format!("{i:016x}");
            last = Note::succeed(&me, Some(i), Some(&last)).stamped(&stamp(3, i as u64));
            assert!(last.text().len() <= MAX_BYTES);
            assert_eq!(last.runs[&me], stamp(3, i as u64));
        }
        assert_eq!((last.cut, last.former.len()), (false, 119));
    }

    #[test]
    fn a_note_never_exceeds_what_the_broker_takes() {
        let mut last = Note::succeed("0", None, None);
        for i in 1..400 {
            let me = format!("{i:016x}");
            last = Note::succeed(&me, Some(i), Some(&last));
            assert!(last.text().len() <= MAX_BYTES);
        }
        assert!(last.cut);
        assert!(
            last.former.values().min() > Some(&100),
            "the oldest go first"
        );
    }
}
