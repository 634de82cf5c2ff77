//! Which columns the stored rows have: an insert of rows with other columns would store them wrong.

use crate::queue::LaneId;
use crate::queue::QueueError;
use crate::queue::format::block::{self, is_no_fence};
use crate::queue::format::json::{get_json, put_json};
use crate::row::columns::described;

/// Name in `meta`.
const COLUMNS: &[u8] = b"columns";

/// Those of a queue that does not say: it is of before they were noted.
const FIRST: &str = "timestamp DateTime, resource_id UInt64, bytes_sent UInt64, \
                     request_time_milli UInt64, response_status UInt16, cache_status String, \
                     method String, remote_addr String, url String";

/// Refuses a queue that holds rows of other columns than this program's. A note that is damaged refuses
/// nothing: who looks at damage has to see the rest.
///
/// # Errors
/// [`QueueError::Columns`], or sled cannot be read.
pub(in crate::queue) fn refuse_others(
    meta: &sled::Tree,
    blocks: &sled::Tree,
) -> Result<(), QueueError> {
    match get_json::<String>(meta, COLUMNS) {
        Err(QueueError::Damaged { .. }) => Ok(()),
        noted => refuse(noted?, blocks),
    }
}

fn refuse(noted: Option<String>, blocks: &sled::Tree) -> Result<(), QueueError> {
    let stored = noted.unwrap_or_else(|| FIRST.to_owned());
    if stored == described() || !has_rows(blocks)? {
        return Ok(());
    }
    Err(QueueError::Columns {
        stored,
        known: described(),
    })
}

/// [`refuse_others`], a damaged note too, and notes that all rows from now on are of this program's.
///
/// # Errors
/// As there, or it cannot be written.
pub(in crate::queue) fn note(meta: &sled::Tree, blocks: &sled::Tree) -> Result<(), QueueError> {
    refuse(get_json(meta, COLUMNS)?, blocks)?;
    put_json(meta, COLUMNS, &described())
}

fn has_rows(blocks: &sled::Tree) -> Result<bool, QueueError> {
    let first = blocks.range(block::key(LaneId(0), 0)..).find(is_no_fence);
    first
        .transpose()
        .map(|found| found.is_some())
        .map_err(QueueError::store("read"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::fixture::{Fixture, block};
    use crate::queue::format::block::{BLOCK_VERSION, FORMAT};
    use crate::queue::{DataDir, Queue, Trees};
    use crate::row::columns::fingerprint;

    /// Whoever changes the columns finds this: rows that wait on disks have the old ones. Raise
    /// `BLOCK_VERSION`, so that an older program refuses the new ones, too, and pin it here.
    #[test]
    fn the_columns_are_pinned_with_the_version_of_the_block_format() {
        let pinned = (FORMAT, BLOCK_VERSION, fingerprint());
        assert_eq!(pinned, (3, 2, 0x6f92_375c_114f_e9ff), "{:x}", fingerprint());
    }

    #[test]
    fn a_queue_that_does_not_say_has_the_first_columns() {
        assert_eq!(FIRST, described());
    }

    fn stored_by_another(rows: bool) -> (Fixture, DataDir) {
        let mut f = Fixture::new();
        if rows {
            let lane = f.open(0);
            assert!(f.q().append(lane, &block(0, 3)).unwrap());
        }
        let other = format!("{FIRST}, country String");
        put_json(&f.q().trees().unwrap().meta, COLUMNS, &other).unwrap();
        f.q().sync().unwrap();
        let dir = f.close();
        (f, dir)
    }

    #[test]
    fn rows_of_other_columns_are_refused_by_every_command_and_left_as_they_are() {
        let (mut f, dir) = stored_by_another(true);
        let refused = |e: QueueError| {
            assert!(
                matches!(e, QueueError::Columns { .. }) && !e.is_damage(),
                "{e}"
            );
            let words = e.to_string();
            assert!(
                words.contains("country String") && words.contains("wrote them"),
                "{words}"
            );
        };
        refused(Trees::open(&dir).err().unwrap());
        refused(Queue::open(dir).err().unwrap());
        // The program that wrote them finds all of them.
        let trees = Trees::open_at(&f.dir.path().join(crate::queue::QUEUE_DIR)).unwrap();
        put_json(&trees.meta, COLUMNS, &FIRST).unwrap();
        trees.db.flush().unwrap();
        drop(trees);
        f.reopen();
        assert_eq!(f.q().blocks().count(), 1);
    }

    #[test]
    fn a_damaged_note_of_the_columns_keeps_no_rescue_out() {
        let mut f = Fixture::new();
        let lane = f.open(0);
        assert!(f.q().append(lane, &block(0, 3)).unwrap());
        f.q()
            .trees()
            .unwrap()
            .meta
            .insert(COLUMNS, b"\xff")
            .unwrap();
        f.q().sync().unwrap();
        let dir = f.close();
        let trees = Trees::open(&dir).unwrap();
        assert_eq!(trees.blocks.iter().filter(is_no_fence).count(), 1);
        drop(trees);
        assert!(Queue::open(dir).err().unwrap().is_damage());
    }

    #[test]
    fn without_rows_a_queue_takes_those_of_any_columns() {
        let (mut f, dir) = stored_by_another(false);
        drop(dir);
        f.reopen();
        let trees = f.q().trees().unwrap();
        assert_eq!(get_json(&trees.meta, COLUMNS).unwrap(), Some(described()));
    }
}
