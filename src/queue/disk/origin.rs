//! Does this data dir lie where it last lay? A hint whether it is a copy.
//!
//! Two processes with one installation id would send the same rows under different tokens, and each
//! would take the other's commits for its own. Which data dir is the one, Kafka's notes tell
//! (`ownership/fence.rs`). Where they cannot be asked, or say nothing, there is what the queue records of
//! the file it lies in: the **inode and birth time of sled's `db` file**, which sled makes once and never
//! replaces. A reboot, a container made anew on the same volume, `mv` of the data dir within its
//! file system, and a disk moved to another machine keep both. `cp`, `rsync`, `tar` and a restore
//! from a backup make a new file, whose birth time nobody can set. But so do some mounts of FUSE and
//! overlays, and a snapshot or clone of the whole file system keeps both.
//!
//! So the device number and the kernel's boot id are recorded, too: a clone that is mounted beside its
//! original has another device number or another kernel. They change with each reboot, and mean no more
//! than that the first rows wait until Kafka was asked. The machine id is recorded for the message only.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::queue::disk::installation::new_installation_id;
use crate::queue::disk::runs::{Runs, refuse_second_owner};
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
    #[serde(default)]
    device: Option<u64>,
    #[serde(default)]
    boot: Option<String>,
}

/// How the place of a data dir differs from where it last lay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// The queue is in another file: a copy, or a file system that gives files new numbers.
    pub file: bool,
    /// It is on another device number, or of another boot.
    pub device: bool,
}

impl Origin {
    fn of(queue_dir: &Path) -> Result<Origin, QueueError> {
        let file = queue_dir.join("db");
        let meta = fs::metadata(&file).map_err(|e| QueueError::io("cannot look at", &file, e))?;
        let born = meta.created().ok();
        let born = born.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let read = |path: &str| Some(fs::read_to_string(path).ok()?.trim().to_owned());
        Ok(Origin {
            inode: meta.ino(),
            born_ns: born.map(|d| d.as_nanos().to_string()),
            machine: read("/etc/machine-id"),
            device: Some(meta.dev()),
            boot: read("/proc/sys/kernel/random/boot_id"),
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
/// [`QueueError::Copied`], [`QueueError::SecondOwner`], or that it cannot be told.
pub fn refuse_copy(trees: &Trees, dir: &DataDir) -> Result<(), QueueError> {
    refuse_second_owner(trees, dir.path())?;
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

    /// How its place differs from where it last lay.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be told.
    pub fn moved(&self) -> Result<Moved, QueueError> {
        let now = Origin::of(&self.dir().queue_path())?;
        let Some(then) = self.load::<Origin>(ORIGIN)? else {
            return Ok(Moved::default());
        };
        Ok(Moved {
            file: !then.is_same_file(&now),
            // An earlier release recorded none.
            device: then.device.is_some() && (&then.device, &then.boot) != (&now.device, &now.boot),
        })
    }

    /// Takes the place where it lies for its own. Durable after [`Queue::sync`].
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written.
    pub fn accept_place(&self) -> Result<(), QueueError> {
        let now = Origin::of(&self.dir().queue_path())?;
        if self.load::<Origin>(ORIGIN)?.as_ref() != Some(&now) {
            self.save(ORIGIN, &now)?;
        }
        Ok(())
    }

    /// Refuses a queue that lies in another file than it last lay in, or whose id has a second owner. To
    /// be asked by whatever sends rows without Kafka; those who only look need not.
    ///
    /// # Errors
    /// [`QueueError::Copied`], [`QueueError::SecondOwner`].
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
        let held_rows = self.hold_what_others_may_have(original_is_gone)?;
        if !original_is_gone {
            self.recount(now_ms())?;
        }
        let new = new_installation_id();
        self.keep_runs(&Runs::default())?;
        // Last: what is above may be done twice, but not half with the copy accepted.
        self.save("installation", &new)?;
        self.decided()?;
        Ok(Adopted {
            old: self.installation().to_owned(),
            new,
            held_rows,
        })
    }

    /// Makes this data dir the one of its installation id, which another has, too, or had: all that Kafka
    /// knows of the id at the next start counts as its own. What is held is what [`Queue::adopt`] holds.
    ///
    /// # Errors
    /// [`QueueError`] if it cannot be written; to be called again then.
    pub fn declare_the_one(&self, other_is_gone: bool) -> Result<Adopted, QueueError> {
        let held_rows = self.hold_what_others_may_have(other_is_gone)?;
        let runs = Runs {
            declared: true,
            ..self.runs()?
        };
        self.keep_runs(&runs)?;
        self.decided()?;
        Ok(Adopted {
            old: self.installation().to_owned(),
            new: self.installation().to_owned(),
            held_rows,
        })
    }

    fn decided(&self) -> Result<(), QueueError> {
        self.forget_second_owner()?;
        self.accept_place()?;
        self.sync()
    }

    fn hold_what_others_may_have(&self, others_are_gone: bool) -> Result<u64, QueueError> {
        if matches!(self.refuse_copy(), Err(QueueError::SecondOwner { .. })) {
            // What was sealed beside the other and never sent: it has the rows under tokens of its own.
            for batch in self.summary()?.batches.iter().rev() {
                self.unseal(batch)?;
            }
        }
        let lanes: Vec<Lane> = self.state().lanes.values().cloned().collect();
        let mut held_rows = 0;
        for mut lane in lanes {
            if !others_are_gone {
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
        Ok(held_rows)
    }
}
