//! What becomes of a batch that may be stored: ClickHouse is asked for its rows before it is sent again.
//!
//! An answer is lost most often because ClickHouse or the way to it went away, and what comes back may be
//! another release, which does not know the token, or another table. So the slot after it is a question:
//! the rows, the totals, the server and its tables in one SELECT. If all is there the batch is
//! acknowledged without a resend; if nothing is, it is sent as for the first time, or divided if it was too
//! much for its way. Only in between the token decides, where it can be relied on ([`distrust`]); where it
//! cannot, a person has to.
//!
//! Rows that are there may all be twins, where a topic carries everything twice. So what seems to be there is
//! sent once more where its token is certain to tell: by a server that has run ever since, since one that
//! was started again may have lost its list of tokens with the power. If that has no answer either, the rows
//! decide: each attempt may be too much for its way, and none would end it.

use std::time::{Duration, Instant};

use super::horizon::distrust;
use super::known::Known;
use super::sample::{Sample, Share};
use super::{Flusher, Hold};
use crate::clickhouse::{Evidence, Found, SinkError};
use crate::queue::{Batch, Doubt, QueueError, is_same_start};
use crate::runtime::clock::{now_ms, rfc3339};

/// A batch that so many attempts in a row did not get through may be too much for its way.
pub(super) const TRIES: u32 = 3;

/// What ClickHouse said of a batch is asked anew after so many slots: if it decided nothing, and if the batch
/// could not go out since.
const AGAIN: u32 = 10;

/// What is to be done with the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// ClickHouse has it, totals and all.
    Stored,
    /// ClickHouse has nothing of it.
    Absent,
    /// An attempt still runs there.
    Running,
    /// The token decides: send it again under it.
    Resend,
    /// Nobody can tell; why.
    Unclear(String),
}

/// Decides by what was found. `elsewhere` says that another server may have what this one has not;
/// `distrust` why the token cannot be relied on; `certain` that it is more certain than the rows.
fn verdict(
    share: Option<Share>,
    found: &Evidence,
    elsewhere: bool,
    distrust: Option<String>,
    certain: bool,
) -> Verdict {
    if found.running {
        return Verdict::Running;
    }
    let agree = found.disagree.is_empty();
    match share {
        Some(Share::Whole) if agree && !(certain && distrust.is_none()) => return Verdict::Stored,
        Some(Share::Nothing) if agree && !elsewhere => return Verdict::Absent,
        _ => {}
    }
    let Some(distrust) = distrust else {
        return Verdict::Resend;
    };
    let seen = match share {
        Some(Share::Whole | Share::Nothing) if !agree => format!(
            "the totals do not agree with the raw rows ({})",
            found.disagree.join(", ")
        ),
        Some(Share::Whole | Share::Unclear) => {
            "rows like its own are there, and may be those of another batch".to_owned()
        }
        Some(Share::Part) => "a part of its rows is there".to_owned(),
        Some(Share::Nothing) => "this server does not have it, another may".to_owned(),
        None => "its rows could not be asked for".to_owned(),
    };
    Verdict::Unclear(format!("{seen}; {distrust}"))
}

/// Whether the token tells more surely than rows do, which may be twins: no list of tokens was lost with the
/// power since the first attempt, and it was not tried yet.
fn is_certain(doubt: &Doubt, known: &Known) -> bool {
    let outlives = |found: &Found| found.window.is_none() || found.is_replicated();
    !doubt.resent
        && (is_same_start(doubt.started, known.started) || known.tables.values().all(outlives))
}

impl Flusher<'_> {
    /// Asks for a batch that may be stored, unless it was asked for and may go out. Returns whether a
    /// request was made; `None` if the batch is to be sent.
    pub(super) fn settle(&mut self, batch: &Batch) -> Result<Option<bool>, QueueError> {
        if batch.doubt.there {
            log::warn!(
                "batch {} of {} rows is in ClickHouse, as a person says: it is not sent again",
                batch.seq,
                batch.rows
            );
            self.unsettled = None;
            self.acknowledge(batch)?;
            return Ok(Some(true));
        }
        if !batch.may_be_stored || batch.doubt.vouched || self.was_asked(batch) {
            return Ok(None);
        }
        // What nobody could tell stays said until it is asked anew and answered.
        let unclear = self.unsettled.is_some_and(|(seq, _)| seq == batch.seq);
        if batch.doubt.unanswered >= TRIES && !unclear {
            let why = format!(
                "batch {} of {} rows got no answer in {} attempts; ClickHouse is asked whether it has it",
                batch.seq, batch.rows, batch.doubt.unanswered
            );
            self.hold(Hold::Unanswered, &why);
        }
        if self.is_recent(self.unsettled, batch) {
            return Ok(Some(false));
        }
        // A question that is not answered may be too much itself: then the rows are left out in turn.
        let unanswered = self.unanswered_questions;
        let sample = match unanswered >= TRIES && unanswered % 2 == 1 {
            true => None,
            false => Sample::of(self.queue, batch)?,
        };
        let Some(found) = self.question(batch, sample.as_ref())? else {
            return Ok(Some(true));
        };
        let since = Duration::from_millis(now_ms().saturating_sub(batch.ambiguous_ms));
        let known = self.tables.known();
        let distrust = distrust(&batch.doubt, known, since);
        let elsewhere = self.tables.is_replicated() || known.elsewhere(&batch.doubt).is_some();
        let by_the_hour = self.tables.keeps_hours_whole();
        let share = sample.map(|s| s.share(&found, by_the_hour));
        let certain = is_certain(&batch.doubt, known);
        let verdict = verdict(share, &found, elsewhere, distrust, certain);
        self.unanswered_questions = match verdict {
            // Ask for the rows next time.
            Verdict::Unclear(_) if unanswered > 0 => unanswered + 1,
            _ => 0,
        };
        self.carry_out(batch.clone(), verdict)?;
        Ok(Some(true))
    }

    /// One request for the server, its tables and the rows of the sample. `None` if it was not answered.
    fn question(
        &mut self,
        batch: &Batch,
        sample: Option<&Sample>,
    ) -> Result<Option<Evidence>, QueueError> {
        let (database, table) = (&self.options.database, &self.options.table);
        let parts = sample.map(|s| s.query(database, table, &batch.token).parts());
        let table = table.clone();
        self.begin("ask for a batch")?;
        let answer = self.tables.ask(&self.sink, &parts.unwrap_or_default())?;
        let found = answer.and_then(|(_, text)| match sample {
            None => Ok(Evidence::default()),
            Some(_) => Evidence::parse(&text, &table).ok_or_else(|| SinkError::Hold {
                code: None,
                words: "cannot read the answer to the question for a batch".into(),
                ambiguous: false,
            }),
        });
        match found {
            Ok(found) => {
                self.stats.flush.answered();
                self.answered("answered")?;
                Ok(Some(found))
            }
            Err(e) => {
                self.unanswered_questions += u32::from(e.used_slot());
                if matches!(e, SinkError::Missing { .. }) {
                    self.tables.forget()?;
                }
                self.query_failed(&e).map(|()| None)
            }
        }
    }

    /// Whether ClickHouse said a moment ago that the batch may go out. Its words are not kept over a
    /// restart, nor for long: a window may be filled and a server upgraded while the way is closed.
    fn was_asked(&self, batch: &Batch) -> bool {
        self.is_recent(self.vouched, batch)
    }

    fn is_recent(&self, answer: Option<(u64, Instant)>, batch: &Batch) -> bool {
        let for_so_long = self.options.interval * AGAIN;
        answer.is_some_and(|(seq, at)| seq == batch.seq && at.elapsed() < for_so_long)
    }

    fn carry_out(&mut self, mut batch: Batch, verdict: Verdict) -> Result<(), QueueError> {
        let seq = batch.seq;
        self.unsettled = None;
        if verdict != Verdict::Absent {
            self.absent = None;
        }
        match verdict {
            Verdict::Stored => {
                log::info!("ClickHouse has batch {seq}: it is not sent again");
                self.acknowledge(&batch)
            }
            Verdict::Absent => {
                let tries = batch.doubt.unanswered;
                // Nothing of it is there, and no attempt runs: as if it had never been sent.
                batch.doubt = Doubt {
                    unanswered: tries,
                    ..Doubt::default()
                };
                if tries >= TRIES {
                    // Its rows and what runs are not looked at in one moment: an insert that ended in between
                    // is in neither, and smaller batches have other tokens. So twice.
                    if self.absent.replace(seq) != Some(seq) {
                        return Ok(());
                    }
                    if self.divide(&mut batch)? {
                        return Ok(());
                    }
                }
                log::info!("ClickHouse has nothing of batch {seq}: it is sent again");
                self.vouched = Some((seq, Instant::now()));
                self.queue.update_batch(&batch)
            }
            Verdict::Resend => {
                self.vouched = Some((seq, Instant::now()));
                log::info!("batch {seq} is sent again: its token tells whether it is there");
                Ok(())
            }
            Verdict::Running => {
                log::info!("an insert of batch {seq} still runs in ClickHouse");
                Ok(())
            }
            Verdict::Unclear(why) => {
                if self.unanswered_questions == 0 {
                    self.unsettled = Some((seq, Instant::now()));
                }
                let why = format!(
                    "batch {seq} of {} rows may have been stored at {}, and ClickHouse cannot tell: {why}. \
                     Look whether its rows are there (batches export): if they are, `batches stored {seq} \
                     --yes`, if none is, `batches retry {seq}`",
                    batch.rows,
                    rfc3339(batch.ambiguous_ms),
                );
                self.hold(Hold::Unclear, &why);
                Ok(())
            }
        }
    }

    /// Gives a batch of which nothing is there back, to be sealed in smaller ones under new tokens.
    /// Returns whether it could be divided.
    fn divide(&mut self, batch: &mut Batch) -> Result<bool, QueueError> {
        let single = batch.ranges.iter().map(|r| r.blocks).sum::<u32>() == 1;
        // One that came with a copied data dir may be sent by the original, too.
        let ours = batch.token.starts_with(self.queue.installation());
        if single || !ours || batch.cut {
            return Ok(false);
        }
        let mut free = batch.clone();
        (free.may_be_stored, free.doubt) = (false, Doubt::default());
        self.queue.update_batch(&free)?;
        if !self.queue.unseal(&free)? {
            return Ok(false);
        }
        self.too_much(batch)?;
        log::warn!(
            "ClickHouse has nothing of batch {} of {} rows after {} attempts: it is divided; next at \
             most {} bytes",
            batch.seq,
            batch.rows,
            batch.doubt.unanswered,
            self.body_limit.limit()
        );
        self.queue.sync()?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_decides_and_the_token_only_in_between() {
        let calm = Evidence::default();
        let differ = Evidence {
            disagree: vec!["t_1m".into()],
            ..Evidence::default()
        };
        let runs = Evidence {
            running: true,
            ..Evidence::default()
        };
        let unclear = |v: &Verdict| matches!(v, Verdict::Unclear(_));
        let shares = [
            Some(Share::Whole),
            Some(Share::Unclear),
            Some(Share::Part),
            Some(Share::Nothing),
            None,
        ];
        for share in shares {
            for distrust in [None, Some("why".to_owned())] {
                let f =
                    |found, elsewhere| verdict(share, found, elsewhere, distrust.clone(), false);
                assert_eq!(f(&runs, false), Verdict::Running);
                let in_between = |v: Verdict| match distrust {
                    None => assert_eq!(v, Verdict::Resend, "{share:?}"),
                    Some(_) => assert!(unclear(&v), "{share:?}"),
                };
                match share {
                    Some(Share::Whole) => assert_eq!(f(&calm, false), Verdict::Stored),
                    Some(Share::Nothing) => {
                        assert_eq!(f(&calm, false), Verdict::Absent);
                        in_between(f(&calm, true));
                    }
                    _ => in_between(f(&calm, false)),
                }
                // Raw rows without their totals are never taken for stored.
                in_between(f(&differ, false));
            }
        }
    }
    #[test]
    fn rows_that_may_be_twins_do_not_decide_where_the_token_does() {
        let calm = Evidence::default();
        let f = |distrust: Option<&str>, certain| {
            let distrust = distrust.map(str::to_owned);
            verdict(Some(Share::Whole), &calm, false, distrust, certain)
        };
        assert_eq!(f(None, true), Verdict::Resend);
        assert_eq!(f(None, false), Verdict::Stored);
        assert_eq!(f(Some("why"), true), Verdict::Stored);
    }

    #[test]
    fn a_token_is_certain_once_and_while_the_server_runs() {
        let window = crate::clickhouse::Window {
            entries: 10,
            age: None,
        };
        let found = Found {
            engine: "MergeTree".into(),
            window: Some(window),
            ..Found::default()
        };
        let mut known = Known {
            started: 1000,
            tables: [("t".to_owned(), found)].into(),
            ..Known::default()
        };
        let doubt = |started, resent| Doubt {
            started,
            resent,
            ..Doubt::default()
        };
        assert!(is_certain(&doubt(1001, false), &known));
        assert!(!is_certain(&doubt(1001, true), &known), "tried in vain");
        assert!(!is_certain(&doubt(900, false), &known), "started again");
        assert!(!is_certain(&doubt(0, false), &known), "nobody knows");
        known.tables.get_mut("t").unwrap().engine = "ReplicatedMergeTree".into();
        assert!(is_certain(&doubt(900, false), &known), "Keeper keeps it");
    }
}
