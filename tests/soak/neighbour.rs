//! The second instance of the group, to which everything happens; the first one only feels it: partitions come
//! and go, the proxy's slots are shared or not, and clocks that are set.

use rustix::process::Signal;

use crate::instance::{Handle, Instance};
use crate::notes::{Deck, Notes};
use crate::support::chance::Chance;
use crate::support::wall_clock::DAY_MS;
use crate::way::Way;

#[derive(Clone, Copy)]
enum Fault {
    Killed,
    KilledUnderAnInsert,
    /// For longer than the group waits for it.
    KilledForLong,
    Restarted,
    StoppedForLong,
    Frozen,
    DiskLow,
    DiskFull,
    ClockSet,
}

const FAULTS: &[Fault] = &[
    Fault::Killed,
    Fault::Killed,
    Fault::KilledUnderAnInsert,
    Fault::KilledForLong,
    Fault::Restarted,
    Fault::StoppedForLong,
    Fault::Frozen,
    Fault::DiskLow,
    Fault::DiskFull,
    Fault::ClockSet,
    Fault::ClockSet,
];

/// Below the 64 MiB that stay free in any case.
const LOW: u64 = 24 << 20;
const A_TURN: u64 = 100;

pub struct Neighbour<'a> {
    pub instance: &'a mut Instance,
    /// All whose clocks are set.
    pub clocks: &'a [Handle],
    pub way: &'a Way<'a>,
}

impl Neighbour<'_> {
    /// Faults from `chance` until the end.
    pub fn disturb(&mut self, mut chance: Chance, notes: &Notes) {
        let mut faults = Deck::of(FAULTS);
        loop {
            self.live(10 + chance.below(80), notes);
            if notes.is_over() {
                break;
            }
            let fault = faults.draw(&mut chance);
            notes.attempt(|| self.suffer(fault, &mut chance, notes));
        }
        self.instance.tend(notes);
        if !self.instance.is_running() {
            self.instance.start();
        }
    }

    /// Goes on for so many seconds, and is started again if it ends.
    fn live(&mut self, seconds: u64, notes: &Notes) {
        for _ in 0..seconds {
            self.instance.tend(notes);
            notes.wait(1);
        }
    }

    fn suffer(&mut self, fault: Fault, chance: &mut Chance, notes: &Notes) {
        let long = 25 + chance.below(40);
        match fault {
            Fault::Killed => {
                self.instance.kill();
                notes.fault("instance: SIGKILL", "");
                notes.wait(chance.below(5));
                self.instance.start();
            }
            Fault::KilledUnderAnInsert => {
                let met = notes.wait_until(A_TURN, || self.way.is_asked());
                self.instance.kill();
                let what = if met { "while ClickHouse is asked" } else { "" };
                notes.fault("instance: SIGKILL", what);
                self.instance.start();
            }
            Fault::KilledForLong => {
                self.instance.kill();
                notes.fault("instance: SIGKILL, partitions move", &format!("{long} s"));
                notes.wait(long);
                self.instance.start();
            }
            Fault::Restarted => {
                self.instance.stop(notes);
                notes.fault("instance: restarted", "");
                self.instance.start();
            }
            Fault::StoppedForLong => {
                self.instance.stop(notes);
                notes.fault("instance: stopped, partitions move", &format!("{long} s"));
                notes.wait(long);
                self.instance.start();
            }
            Fault::Frozen => {
                self.instance.handle.signal(Signal::STOP);
                notes.fault("instance: frozen, partitions move", &format!("{long} s"));
                notes.wait(long);
                self.instance.handle.signal(Signal::CONT);
            }
            Fault::DiskLow | Fault::DiskFull => {
                let Some(disk) = &self.instance.disk else {
                    return;
                };
                let (kind, ballast) = match fault {
                    Fault::DiskLow => ("disk: 24 MiB left", disk.leave(LOW)),
                    _ => ("disk: full", disk.fill()),
                };
                notes.fault(kind, &format!("{long} s"));
                notes.wait(long);
                std::fs::remove_file(ballast).unwrap();
            }
            Fault::ClockSet => {
                let at = chance.below(self.clocks.len() as u64) as usize;
                let of = &self.clocks[at];
                let steps = [0, 1_500, 90_000, DAY_MS / 48, DAY_MS];
                let step = chance.pick(&steps) * if chance.one_in(2) { 1 } else { -1 };
                of.clock.set(step);
                notes.fault("clock set", &format!("{}, {step} ms off", of.name));
            }
        }
    }
}
