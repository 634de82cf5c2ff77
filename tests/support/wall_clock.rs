//! The wall clock of one program, set by a library that is preloaded; the machine's stays as it is.

use std::path::PathBuf;
use std::process::Command;

use super::program::Setup;

pub const DAY_MS: i64 = 86_400_000;

pub struct WallClock {
    file: PathBuf,
}

impl WallClock {
    /// For a program that is not started yet.
    pub fn of(setup: &mut Setup) -> WallClock {
        let file = setup.data_dir().with_file_name("clock");
        let library = file.with_extension("so");
        let done = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg("tests/support/wall_clock.c")
            .status()
            .unwrap();
        assert!(done.success(), "cc: {done}");
        setup.env("LD_PRELOAD", &library.display().to_string());
        setup.env("WALL_CLOCK", &file.display().to_string());
        WallClock { file }
    }

    /// To the right time and so much more, at once.
    pub fn set(&self, add_ms: i64) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, add_ms.to_string()).unwrap();
        std::fs::rename(&new, &self.file).unwrap();
    }
}
