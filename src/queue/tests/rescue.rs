//! Verify and export against damage of every kind.

use super::*;
use crate::queue::rescue::repair::copy_dir;
use crate::row::Format;

/// When all rows were, in seconds of Unix time.
const TIME: u32 = 1_700_000_000;

/// `rows` rows of RowBinary whose URL tells their offset.
fn rows_from(first: i64, rows: u32) -> Vec<u8> {
    let mut out = Vec::new();
    for offset in first..first + i64::from(rows) {
        out.extend_from_slice(&TIME.to_le_bytes());
        out.extend_from_slice(&[7; 26]);
        for text in ["HIT", "GET", "1.2.3.X", &format!("/{offset}")] {
            out.push(text.len() as u8);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

fn append(f: &Fixture, lane: LaneId, first: i64) {
    let raw = rows_from(first, ROWS);
    let block = PackedBlock {
        minutes: [TIME; ROWS as usize].into_iter().collect(),
        appended_ms: 1000 + first as u64,
        ..block_of(first, ROWS, &raw)
    };
    assert!(f.q().append(lane, &block).unwrap());
}

/// Two partitions of five blocks; of the first, two blocks are sealed and one more is eligible.
fn filled() -> (Fixture, [LaneId; 2]) {
    let f = Fixture::new();
    let lanes = [0, 1].map(|p| f.open(p));
    for lane in lanes {
        (0..5).for_each(|i| append(&f, lane, i * i64::from(ROWS)));
    }
    f.q().acknowledge(lanes[0], 20).unwrap();
    assert_eq!(f.seal_all().unwrap().rows, 20);
    f.q().acknowledge(lanes[0], 30).unwrap();
    f.q().sync().unwrap();
    (f, lanes)
}

fn complaints(f: &Fixture) -> String {
    let found = f.verified();
    let each: Vec<String> = found.damage.iter().map(|d| d.what.clone()).collect();
    each.join("; ")
}

#[test]
fn a_whole_queue_is_found_whole() {
    let (f, _) = filled();
    let found = f.verified();
    assert_eq!(found.damage, []);
    assert_eq!((found.blocks, found.rows), (10, 100));
    assert_eq!((found.lanes, found.batches), (2, 1));
}

#[test]
fn a_bit_flipped_in_any_block_is_named_with_its_offsets_and_the_rest_is_whole() {
    let (f, lanes) = filled();
    for (lane, first) in lanes
        .iter()
        .flat_map(|l| [0, 10, 20, 30, 40].map(|o| (*l, o)))
    {
        let key = block::key(lane, first);
        let value = f.block(key);
        for at in [0, 5, 17, value.len() - 1] {
            let mut bad = value.clone();
            bad[at] ^= 4;
            f.put_block(key, bad);
            let found = f.verified();
            assert_eq!(found.blocks, 9);
            let lost = found.damage[0].lost.clone().unwrap();
            assert_eq!(
                (lost.from, lost.to),
                (first, first + 10),
                "{:?}",
                found.damage
            );
        }
        f.put_block(key, value);
    }
    assert_eq!(f.verified().damage, []);
}

#[test]
fn a_block_that_is_missing_is_missed() {
    let (f, lanes) = filled();
    f.q()
        .trees()
        .unwrap()
        .blocks
        .remove(block::key(lanes[0], 10))
        .unwrap();
    let words = complaints(&f);
    assert!(words.contains("40 rows"), "{words}");
    assert!(words.contains("batch 1: 10 rows"), "{words}");
}

#[test]
fn a_block_with_other_rows_under_a_right_checksum_is_found() {
    let (f, lanes) = filled();
    let key = block::key(lanes[0], 10);
    let value = f.block(key);
    let (mut header, _) = block::read_block(&key, &value).unwrap();
    let minutes = block::read_minutes(&header, &value).unwrap();
    let raw = rows_from(11, ROWS);
    let frame = zstd::bulk::compress(&raw, 1).unwrap();
    header.frame_len = frame.len() as u32;
    f.put_block(key, block::write_block(&header, &minutes, &frame));
    let words = complaints(&f);
    assert!(
        words.contains("not those of its token") || words.contains("were sealed"),
        "{words}"
    );
    header.rows += 1;
    f.put_block(key, block::write_block(&header, &minutes, &frame));
    assert!(complaints(&f).contains("10 rows, the header says 11"));
}

#[test]
fn records_that_are_no_records_are_named() {
    let (f, lanes) = filled();
    f.q()
        .trees()
        .unwrap()
        .lanes
        .insert(block::lane_key(lanes[0]), b"{")
        .unwrap();
    f.q()
        .trees()
        .unwrap()
        .batches
        .insert(block::seq_key(1), b"[]")
        .unwrap();
    f.q()
        .trees()
        .unwrap()
        .meta
        .insert(b"attempt", b"\xff")
        .unwrap();
    f.q()
        .trees()
        .unwrap()
        .quarantine
        .insert(block::key(lanes[1], 3), b"x")
        .unwrap();
    let found = f.verified();
    let parts: BTreeSet<&str> = found.damage.iter().map(|d| d.part.as_str()).collect();
    for part in ["lane", "batch", "record", "quarantine", "block"] {
        assert!(parts.contains(part), "{part}: {:?}", found.damage);
    }
    assert_eq!(found.rows, 100, "the blocks themselves are whole");
}

#[test]
fn an_export_writes_each_row_once_and_names_what_it_leaves_out() {
    let (f, lanes) = filled();
    let written = |what, batch| {
        let selection = Selection {
            what,
            batch,
            held: None,
            format: Format::Rowbinary,
        };
        let mut out = Vec::new();
        let done = export(&f.q().trees().unwrap(), selection, false, &mut out, &|_| {
            false
        })
        .unwrap();
        (out, done)
    };
    let whole: Vec<u8> = [rows_from(0, 50), rows_from(0, 50)].concat();
    assert_eq!(written(What::Queue, None).0, whole);
    assert_eq!(written(What::Batches, None).0, rows_from(0, 20));
    assert_eq!(written(What::All, Some(1)).0, rows_from(0, 20));
    f.q().deliver(&f.q().sealed_batch().unwrap(), 5).unwrap();
    assert_eq!(written(What::Queue, None).1.rows, 80);
    assert_eq!(written(What::All, None).1.rows, 100);
    assert_eq!(f.verified().damage, []);
    f.put_block(block::key(lanes[1], 10), b"no block");
    let (_, done) = written(What::Queue, None);
    assert_eq!((done.rows, done.damaged.len()), (70, 1));
}

#[test]
fn a_delivered_batch_is_kept_apart_from_the_queue_until_it_expires() {
    let (mut f, lanes) = filled();
    let batch = f.q().sealed_batch().unwrap();
    f.q().deliver(&batch, 5_000).unwrap();
    f.reopen();
    let summary = f.q().summary().unwrap();
    assert_eq!((summary.rows, summary.delivered_rows), (80, 20));
    assert_eq!(summary.oldest_ms, Some(1000), "of the other partition");
    assert_eq!(f.q().sealed_batch(), None);
    let keep = std::time::Duration::from_secs(10);
    f.q().release_delivered(keep, 14_999).unwrap();
    assert_eq!(f.q().summary().unwrap().delivered_rows, 20);
    f.q().release_delivered(keep, 15_000).unwrap();
    assert_eq!(f.q().summary().unwrap().delivered_rows, 0);
    assert_eq!(f.q().blocks().count(), 8);
    assert_eq!(f.q().lane(lanes[0]).unwrap().rows, 30);
}

#[test]
fn a_rejected_batch_is_put_back_under_its_token() {
    let (mut f, _) = filled();
    let mut batch = f.q().sealed_batch().unwrap();
    assert!(f.q().retry_batch(1).is_err());
    batch.state = BatchState::Rejected {
        code: 117,
        words: "no".into(),
    };
    f.q().update_batch(&batch).unwrap();
    assert_eq!(f.q().sealed_batch(), None);
    f.q().retry_batch(1).unwrap();
    f.reopen();
    let again = f.q().sealed_batch().unwrap();
    assert_eq!((again.token, again.retried), (batch.token, true));
    assert!(f.q().retry_batch(9).is_err());
}

/// Repairs the fixture's queue and opens what came of it.
pub(super) fn repaired(f: &mut Fixture) -> repair::Repaired {
    f.q().sync().unwrap();
    let dir = f.close();
    let done = repair::repair(&dir, 1_000, &|_, _, _| ()).unwrap();
    assert!(done.copy.join("db").is_file());
    drop(dir);
    f.reopen();
    assert_eq!(f.verified().damage, [], "what was saved is whole");
    f.q().refuse_copy().unwrap();
    done
}

#[test]
fn a_repair_saves_every_whole_block_and_names_the_offsets_of_the_others() {
    let (mut f, lanes) = filled();
    let token = f.q().sealed_batch().unwrap().token;
    let id = f.q().installation().to_owned();
    f.put_block(block::key(lanes[0], 10), b"x");
    f.q()
        .trees()
        .unwrap()
        .blocks
        .remove(block::key(lanes[1], 20))
        .unwrap();
    let done = repaired(&mut f);
    assert_eq!((done.blocks, done.rows), (8, 80));
    let lost: Vec<_> = done
        .lost
        .iter()
        .map(|l| (l.partition, l.from, l.to))
        .collect();
    assert!(
        lost.contains(&(0, 10, 20)) && lost.contains(&(1, 20, 30)),
        "{lost:?}"
    );
    let batch = f.q().sealed_batch().unwrap();
    assert_eq!((batch.rows, batch.cut, &batch.token), (10, true, &token));
    assert_eq!(f.frames(&batch).len(), 1);
    assert_eq!(f.q().installation(), id);
    assert_eq!(f.q().summary().unwrap().rows, 80);
    assert_eq!(f.seal_all().unwrap().rows, 10, "what was eligible still is");
}

#[test]
fn a_repair_keeps_blocks_whose_lane_or_batch_is_lost_but_does_not_send_them() {
    let (mut f, lanes) = filled();
    f.q()
        .trees()
        .unwrap()
        .batches
        .insert(block::seq_key(1), b"?")
        .unwrap();
    f.q()
        .trees()
        .unwrap()
        .lanes
        .insert(block::lane_key(lanes[1]), b"?")
        .unwrap();
    f.q().trees().unwrap().meta.remove(b"next_batch").unwrap();
    let done = repaired(&mut f);
    assert_eq!(done.blocks, 10);
    assert_eq!(f.q().sealed_batch(), None);
    let held = f.q().lane(lanes[1]).unwrap();
    assert!(matches!(held.state, LaneState::Held(_)));
    let batches = f.q().summary().unwrap().batches;
    assert!(matches!(batches[0].state, BatchState::Rejected { .. }));
    assert_eq!((batches[0].seq, batches[0].rows), (2, 20));
    assert_eq!(f.seal_all().unwrap().rows, 10);
}

#[test]
fn a_copy_is_refused_until_it_is_adopted_and_then_sends_only_what_is_sealed() {
    let (mut f, lanes) = filled();
    f.q().refuse_copy().unwrap();
    let (id, token) = (
        f.q().installation().to_owned(),
        f.q().sealed_batch().unwrap().token,
    );
    f.queue = None;
    let (old, new) = (f.dir.path().join("queue"), f.dir.path().join("moved"));
    std::fs::rename(&old, &new).unwrap();
    std::fs::rename(&new, &old).unwrap();
    f.reopen();
    f.q().refuse_copy().unwrap();
    f.queue = None;
    copy_dir(&old, &new, &|_| ()).unwrap();
    std::fs::remove_dir_all(&old).unwrap();
    std::fs::rename(&new, &old).unwrap();
    f.reopen();
    assert!(matches!(
        f.q().refuse_copy(),
        Err(QueueError::Copied { .. })
    ));
    let done = f.q().adopt(false).unwrap();
    assert_eq!((&done.old, done.held_rows), (&id, 80));
    f.reopen();
    f.q().refuse_copy().unwrap();
    assert_eq!(f.q().installation(), done.new);
    assert_ne!(done.new, id);
    let batch = f.q().sealed_batch().unwrap();
    assert_eq!((batch.token, batch.may_be_stored), (token, true));
    assert_eq!(f.seal_all(), None);
    assert!(matches!(
        f.q().lane(lanes[0]).unwrap().state,
        LaneState::Held(_)
    ));
    assert_eq!(f.q().include_tails().unwrap(), 80);
    assert_eq!(f.seal_all().unwrap().rows, 80);
    assert_eq!(f.verified().damage, []);
}

#[test]
fn adopting_while_the_original_is_gone_holds_only_what_kafka_did_not_acknowledge() {
    let (mut f, _) = filled();
    assert_eq!(f.q().adopt(true).unwrap().held_rows, 70);
    f.reopen();
    assert_eq!(f.seal_all().unwrap().rows, 10);
}

#[test]
fn what_was_sealed_beside_a_second_owner_and_never_sent_is_held_as_well() {
    let (f, _) = filled();
    let sealed = f.q().sealed_batch().unwrap();
    f.q().keep_second_owner("seen").unwrap();
    assert_eq!(f.q().adopt(false).unwrap().held_rows, 80 + sealed.rows);
    assert_eq!(f.q().sealed_batch(), None);
    assert_eq!(f.seal_all(), None);
}

#[test]
fn an_export_has_its_name_once_it_is_whole() {
    let f = Fixture::new();
    f.lane(0, 4, 4);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows");
    let selection = Selection {
        what: What::All,
        batch: None,
        held: None,
        format: Format::Rowbinary,
    };
    let looked = std::cell::Cell::new(0);
    let look = |_| {
        looked.set(looked.get() + 1);
        assert!(!path.exists() && dir.path().join("rows.partial").exists());
        // The last block is never written.
        looked.get() == 4
    };
    let trees = f.q().trees().unwrap();
    let ended = export_to_file(&trees, selection, None, &path, &look);
    assert!(matches!(ended, Err(CommandError::Stopped)), "{ended:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    export_to_file(&trees, selection, None, &path, &|_| false).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let again = export_to_file(&trees, selection, None, &path, &|_| false);
    assert!(describe(&again.unwrap_err()).contains("File exists"));
}

#[test]
fn what_a_killed_export_left_is_named_with_the_remedy_and_in_the_data_dir_removed() {
    let mut f = Fixture::new();
    f.lane(0, 4, 4);
    let path = f.dir.path().join("rows");
    let partial = f.dir.path().join("rows.partial");
    std::fs::write(&partial, "half").unwrap();
    let selection = Selection {
        what: What::All,
        batch: None,
        held: None,
        format: Format::Rowbinary,
    };
    let export = |f: &Fixture| {
        let trees = f.q().trees().unwrap();
        export_to_file(&trees, selection, None, &path, &|_| false)
    };
    let words = describe(&export(&f).unwrap_err());
    let remedy = format!("{} is there", partial.display());
    assert!(
        words.contains(&remedy) && words.contains("remove that file"),
        "{words}"
    );
    // It may be somebody else's.
    assert_eq!(std::fs::read(&partial).unwrap(), b"half");
    std::fs::remove_file(&partial).unwrap();
    export(&f).unwrap();

    // On the way to stdout: nobody has named it, and nobody can be writing it.
    let passing = passing_file(f.dir.path(), 77);
    let left = [passing.clone(), passing.with_extension("tmp.partial")];
    let others =
        ["export.csv.tmp", "export.1.tmp.gz", "export.1"].map(|name| f.dir.path().join(name));
    for file in left.iter().chain(&others) {
        std::fs::write(file, "half").unwrap();
    }
    f.reopen();
    assert!(left.iter().all(|file| !file.exists()));
    assert!(others.iter().all(|file| file.exists()) && path.exists());
}
