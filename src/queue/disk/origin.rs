//! Is this data dir still the one in which the queue was made, or a copy of it?
//!
//! Two processes with one installation id would send the same rows under different tokens, and each
//! would take the other's commits for its own. So the queue records, when it is made, which file it
//! lies in: the **inode and birth time of sled's `db` file**, which sled makes once and never
//! replaces. A reboot, a container made anew on the same volume, `mv` of the data dir within its
//! file system, and a disk moved to another machine keep both. `cp`, `rsync`, `tar` and a restore
//! from a backup make a new file, whose birth time nobody can set: that is recognised.
//!
//! Not evidence: the device number (changes with a reboot) and the machine id (changes with a
//! container, stays with a cloned machine). The machine id is recorded for the message only.
//!
//! Not recognised: a block-level snapshot or clone of the whole file system, a restore that writes
//! **into** the existing file, and a copy on a file system without birth times that happens to get
//! the same inode. There `adopt` must be called by hand.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::queue::disk::installation::new_installation_id;
use crate::queue::format::json::{get_json, put_json};
use crate::queue::format::lane::Lane;
use crate::queue::{DataDir, LaneState, Queue, QueueError, Trees};
use crate::runtime::clock::now_ms;

/// Name under which the queue keeps it.
const ORIGIN: &str = "origin";

/// The file that the queue was made in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::queue) struct Origin {
    inode: u64,
    /// Birth time, Unix nanoseconds as text; `None` where the file system keeps none.
    born_ns: Option<String>,
    machine: Option<String>,
}

impl Origin {
    fn of(queue_dir: &Path) -> Result<Origin, QueueError> {
        let file = queue_dir.join("db");
        let meta = fs::metadata(&file).map_err(|e| QueueError::io("cannot look at", &file, e))?;
        let born = meta.created().ok();
        let born = born.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let machine = fs::read_to_string("/etc/machine-id").ok();
        Ok(Origin {
            inode: meta.ino(),
            born_ns: born.map(|d| d.as_nanos().to_string()),
            machine: machine.map(|id| id.trim().to_owned()),
        })
    }

    fn is_same_file(&self, now: &Origin) -> bool {
        let born = match (&self.born_ns, &now.born_ns) {
            (Some(then), Some(now)) => then == now,
            // Mounted by a kernel that cannot tell: the inode alone has to do.
            _ => true,
        };
        self.inode == now.inode && born
    }
}

/// Makes the queue in `fresh` the heir of the one that `old` was read from: its file takes the place
/// of the other, unless that was a copy that nobody adopted. `queue_dir` is where `old` lies.
pub(in crate::queue) fn inherit(
    old: &Trees,
    queue_dir: &Path,
    new: &Trees,
    fresh: &Path,
) -> Result<(), QueueError> {
    let recorded = get_json::<Origin>(&old.meta, ORIGIN.as_bytes());
    if let Ok(Some(then)) = recorded
        && !then.is_same_file(&Origin::of(queue_dir)?)
    {
        return Ok(());
    }
    put_json(&new.meta, ORIGIN.as_bytes(), &Origin::of(fresh)?)
}

/// [`Queue::refuse_copy`] of a queue that may be damaged.
///
/// # Errors
/// [`QueueError::Copied`], or that it cannot be told.
pub fn refuse_copy(trees: &Trees, dir: &DataDir) -> Result<(), QueueError> {
    let now = Origin::of(&dir.queue_path())?;
    match get_json::<Origin>(&trees.meta, ORIGIN.as_bytes())? {
        Some(then) if !then.is_same_file(&now) => Err(QueueError::Copied {
            path: dir.path().to_owned(),
            elsewhere: if then.machine == now.machine {
                "on this machine"
            } else {
                "on another machine"
            },
        }),
        _ => Ok(()),
    }
}

/// What adopting did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Adopted {
    /// The installation id before.
    pub old: String,
    /// The new one.
    pub new: String,
    /// Rows that are held now, for a person to decide.
    pub held_rows: u64,
}

impl Queue {
    /// Records the file that the queue lies in, if that was never done.
    pub(in crate::queue) fn note_origin(&self) -> Result<(), QueueError> {
        if self.load::<Origin>(ORIGIN)?.is_none() {
            self.save(ORIGIN, &Origin::of(&self.dir().queue_path())?)?;
        }
        Ok(())
    }

    /// Refuses a queue that lies in another file than it was made in. To be asked by whatever sends
    /// rows or commits; those who only look need not.
    ///
    /// # Errors
    /// [`QueueError::Copied`].
    pub fn refuse_copy(&self) -> Result<(), QueueError> {
        refuse_copy(&*self.trees()?, self.dir())
    }

    /// Makes a copied data dir an installation of its own. Sealed batches keep their tokens, and
    /// count as perhaps stored: the original may have sent them.
    ///
    /// Rows that are not sealed may also be in the original, which sends them under tokens of its
    /// own. Unless the caller knows that it is gone (`original_is_gone`), all of them are held. Rows
    /// whose commit was not acknowledged are held in any case: under the new id the committed
    /// offset's note says nothing of us, so they would be dropped, though the original's commit may
    /// have been applied and Kafka may not have them any more. The counts go on if the original is
    /// gone, and begin anew with what is queued if not, since the original has them.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written; to be called again then.
    pub fn adopt(&self, original_is_gone: bool) -> Result<Adopted, QueueError> {
        let lanes: Vec<Lane> = self.state().lanes.values().cloned().collect();
        let mut held_rows = 0;
        for mut lane in lanes {
            if !original_is_gone {
                lane.eligible = lane.sealed;
            }
            if !lane.has_tail() {
                continue;
            }
            let why = format!(
                "this data dir was copied from installation {}, which may have these rows, too",
                self.installation()
            );
            held_rows += self.tail_rows(&lane)?;
            self.update_lane(lane.id, |l| {
                l.eligible = lane.eligible;
                l.state = LaneState::Held(why);
            })?;
        }
        for mut batch in self.summary()?.batches {
            if !batch.is_delivered() {
                batch.may_be_stored = true;
                if batch.ambiguous_ms == 0 {
                    batch.ambiguous_ms = batch.sealed_ms;
                }
                self.update_batch(&batch)?;
            }
        }
        if !original_is_gone {
            self.recount(now_ms())?;
        }
        let new = new_installation_id();
        self.sync()?;
        // Last: what is above may be done twice, but not half with the copy accepted.
        self.save("installation", &new)?;
        self.save(ORIGIN, &Origin::of(&self.dir().queue_path())?)?;
        self.sync()?;
        Ok(Adopted {
            old: self.installation().to_owned(),
            new,
            held_rows,
        })
    }
}
