//! Two data dirs with one installation id: a clone beside its original, an original behind its clone, and a
//! volume that only moved.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::fake_clickhouse::Fault;
use crate::support::mounts::Mounted;
use crate::support::program::{Program, Setup};
use crate::support::small_disk::SmallDisk;
use crate::support::world::World;

fn copied(from: &Path, to: &Path) {
    let cp = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(cp.unwrap().success());
}

/// A data dir on a file system of its own, or beside the settings where none can be mounted.
fn place(w: &World, name: &str) -> (PathBuf, Option<SmallDisk>) {
    let base = w.setup.data_dir().with_file_name(name);
    let image = base.with_extension("image");
    let disk = SmallDisk::mount(&image, &base, 256);
    (base.join("data"), disk)
}

/// The same file system once more: files of the same numbers and times.
fn cloned(
    w: &World,
    of: &Path,
    disk: Option<&SmallDisk>,
    name: &str,
) -> (PathBuf, Option<SmallDisk>) {
    let base = w.setup.data_dir().with_file_name(name);
    let image = base.with_extension("image");
    match disk {
        Some(disk) => {
            disk.copy(&image);
            let clone = SmallDisk::of(&image, &base).expect("the first one was mounted, too");
            (base.join("data"), Some(clone))
        }
        None => {
            fs::create_dir_all(&base).unwrap();
            copied(of, &base.join("data"));
            (base.join("data"), None)
        }
    }
}

fn on(w: &World, data: &Path) -> Setup {
    let mut setup = w.another();
    setup.set("--data-dir", data.to_str().unwrap());
    setup.set("--flush-interval", "15s");
    setup
}

/// A running original and its clone.
struct Cloned {
    w: World,
    setup: Setup,
    program: Program,
    clone: Setup,
    _disks: [Option<SmallDisk>; 2],
}

/// A disk, and its clone of a moment at which the rows of the first one were read and not yet sealed. They wait for
/// the slot behind that of the check; `None` if the machine was so slow that it came before.
fn unsealed(slot: &str) -> Option<Cloned> {
    let mut w = World::of(3);
    let (data, disk) = place(&w, "original");
    let mut setup = on(&w, &data);
    setup.set("--flush-interval", slot);
    w.kafka.produce(1, 300);
    let program = setup.run();
    setup.wait_status(|s| s["queue"]["rows"] == 300 || s["flush"]["stored"].is_object());
    let (copy, copy_disk) = cloned(&w, &data, disk.as_ref(), "clone");
    let clone = on(&w, &copy);
    let is_sealed = w
        .clickhouse
        .state()
        .requests
        .iter()
        .any(|r| r.token.is_some());
    if is_sealed {
        program.stop();
        return None;
    }
    Some(Cloned {
        w,
        setup,
        program,
        clone,
        _disks: [disk, copy_disk],
    })
}

/// Waits until it has ended, and returns what it said.
fn stopped(setup: &Setup) -> String {
    let mut program = setup.run();
    let status = program.wait();
    assert_eq!(status.code(), Some(1), "{}", program.log());
    program.log()
}

#[test]
fn a_clone_of_a_disk_beside_its_original_doubles_nothing_and_lets_it_run() {
    let unsealed = ["15s", "30s"].into_iter().find_map(unsealed);
    let Cloned {
        mut w,
        setup,
        program,
        clone,
        _disks,
    } = unsealed.expect("a machine that clones within a slot");
    w.wait_all_stored();
    let said = stopped(&clone);
    assert!(
        said.contains("another owner of this installation"),
        "{said}"
    );
    // From now on without asking anybody.
    let said = stopped(&clone);
    assert!(said.contains("adopt --keep-id"), "{said}");
    assert!(clone.status()["copy"].is_string());
    w.stores(2, 300);
    w.finish_as(&setup, program);
}

#[test]
fn a_moved_volume_starts_and_an_original_behind_its_copy_does_not() {
    let mut w = World::of(1).with("--flush-interval", "1h");
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    w.wait_queued(300);
    program.stop();
    let data = w.setup.data_dir();
    let moved = data.with_file_name("moved");
    copied(&data, &moved);
    // Other inodes, as on another volume, and the same rows.
    let mut setup = on(&w, &moved);
    setup.set("--flush-interval", "1s");
    let program = setup.run();
    program.wait_log("taken for a volume that was moved");
    w.stores(2, 100);
    assert!(setup.wait_status(|s| s["queue"]["rows"] == 0)["copy"].is_null());
    w.setup.set("--flush-interval", "1s");
    let said = stopped(&w.setup);
    assert!(
        said.contains("another owner of this installation"),
        "{said}"
    );
    w.stores(3, 100);
    w.finish_as(&setup, program);
    // A person decides, and what both have stays where it is.
    let said = w.said(&["adopt"]);
    assert!(said.contains("300 rows are HELD"), "{said}");
    w.ok(&["replay"]);
    w.assert_exactly_once();
    // The place is known by now.
    let program = setup.run();
    w.stores(4, 100);
    assert!(
        !program.log().contains("taken for a volume"),
        "{}",
        program.log()
    );
    w.finish_as(&setup, program);
}

/// Killed and mounted anew with rows in the queue, and again with a batch that ClickHouse may have.
fn goes_on_when_mounted_anew(mount: impl FnOnce(&Path) -> Option<Mounted>) {
    let mut w = World::of(2);
    let Some(mounted) = mount(&w.setup.data_dir().with_file_name("base")) else {
        return;
    };
    let data = mounted.at().join("data");
    let mut setup = on(&w, &data);
    w.kafka.produce(1, 300);
    let program = setup.run();
    setup.wait_status(|s| s["queue"]["rows"] == 300 || s["flush"]["stored"].is_object());
    program.kill();
    mounted.again();
    setup.set("--flush-interval", "1s");
    w.clickhouse.fail(Fault::ApplyThenDrop);
    let program = setup.run();
    w.wait_all_stored();
    program.kill();
    mounted.again();
    let program = setup.run();
    w.stores(2, 300);
    assert!(setup.status()["copy"].is_null());
    w.finish_as(&setup, program);
}

#[test]
fn a_data_dir_on_overlayfs_goes_on_when_mounted_anew() {
    goes_on_when_mounted_anew(Mounted::overlay);
}

#[test]
fn a_data_dir_on_fuse_goes_on_when_mounted_anew() {
    goes_on_when_mounted_anew(Mounted::fuse);
}

#[test]
fn a_data_dir_in_memory_goes_on_when_mounted_anew() {
    goes_on_when_mounted_anew(Mounted::tmpfs);
}

#[test]
fn the_one_that_a_person_declares_goes_on() {
    let mut w = World::of(1);
    w.kafka.produce(1, 300);
    let program = w.setup.run();
    w.wait_all_stored();
    w.setup.wait_status(|s| s["queue"]["rows"] == 0);
    program.stop();
    let data = w.setup.data_dir();
    let backup = data.with_file_name("backup");
    copied(&data, &backup);
    let program = w.setup.run();
    w.stores(2, 100);
    w.finish(program);
    // The original is lost, and the backup knows nothing of its last run.
    let setup = on(&w, &backup);
    let said = stopped(&setup);
    assert!(
        said.contains("another owner of this installation"),
        "{said}"
    );
    let words = setup
        .command("adopt")
        .args(["--keep-id", "--original-is-gone"])
        .output()
        .unwrap();
    assert!(words.status.success(), "{words:?}");
    let program = setup.run();
    w.stores(3, 100);
    w.finish_as(&setup, program);
}
