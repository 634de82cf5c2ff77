//! Instances behind a limiter, in simulated time.

mod world;

use world::{Fleet, SLOT, Way, World};

/// What shares are measured over.
const SLOTS: usize = 30;

fn fleet(n: usize) -> Fleet {
    Fleet::of(n)
}

/// The one that got a slot is back half a second after the next one opens; the others come at times of their
/// own, ever more rarely.
#[test]
fn who_only_keeps_the_interval_starves_the_others() {
    for n in [2, 3, 10, 30] {
        let worlds = (0..20).map(|seed| World::run(&fleet(n).way(Way::Interval), 3600, seed));
        let starved = worlds.map(|w| w.shares(n, 0, SLOTS).iter().filter(|s| **s == 0).count());
        let starved: usize = starved.sum();
        assert!(
            starved * 10 >= 20 * n * 3,
            "{n}: {starved} of {} got no slot of 30",
            20 * n
        );
    }
}

#[test]
fn instances_get_as_many_slots_and_use_nearly_all() {
    for (n, from) in [(2, 6), (3, 9), (5, 15), (10, 60), (30, 240)] {
        for seed in 0..20 {
            let world = World::run(&fleet(n), 12 * 3600, seed);
            for from in [from, from + 50] {
                let slots = SLOTS.max(n * 6);
                let shares = world.shares(n, from, slots);
                let fair = slots as f64 / n as f64;
                for share in &shares {
                    let off = (*share as f64 - fair).abs() / fair;
                    assert!(
                        off <= 0.30,
                        "{n} instances, seed {seed}, from {from}: {shares:?}"
                    );
                }
                let used = world.used(from, slots);
                assert!(
                    used >= 0.85,
                    "{n} instances, seed {seed}, from {from}: {used}"
                );
            }
        }
    }
}

/// The first slots are no exception for few: nobody waits for hours to be let in.
#[test]
fn everybody_is_let_in_soon() {
    for n in [2, 3, 5] {
        for seed in 0..20 {
            let world = World::run(&fleet(n), 3600, seed);
            for i in 0..n {
                let first = world.first(i, 0);
                assert!(first <= 63_000 * 12, "{n}, seed {seed}: {i} at {first}");
            }
            assert!(
                world.used(0, SLOTS) >= 0.85,
                "{n}, seed {seed}: {}",
                world.used(0, SLOTS)
            );
        }
    }
}

#[test]
fn who_is_alone_loses_less_than_a_hundredth() {
    for seed in 0..10 {
        let world = World::run(&fleet(1), 86_400, seed);
        let mean = world.spacing(0, usize::MAX);
        assert!(mean <= 63_000.0 * 1.01, "{mean}");
        assert_eq!(world.requests(0, 0, i64::MAX), world.slots.len());
        // From the start it is no different: the second one comes after an interval, as it always did.
        let second = world.slots[1].0 - world.slots[0].0;
        assert!((63_000..63_500).contains(&second), "{second}");
    }
}

/// Fewer than instances that only keep the interval, and for each at most two in a frame, whatever happens.
#[test]
fn there_are_no_more_requests_than_before() {
    for n in [2, 3, 5, 10, 30] {
        let (mut now, mut before) = (0, 0);
        for seed in 0..8 {
            let after = World::run(&fleet(n), 6 * 3600, seed);
            now += after.all_requests();
            before += World::run(&fleet(n).way(Way::Interval), 6 * 3600, seed).all_requests();
            for i in 0..n {
                for from in (0..6 * 3600).step_by(600) {
                    let (from, to) = (from * 1000, (from + 600) * 1000);
                    let requests = after.requests(i, from, to);
                    assert!(requests <= 20, "{n}: {requests} in ten minutes");
                }
            }
        }
        assert!(
            now <= before,
            "{n} instances: {now} requests, {before} before"
        );
    }
}

#[test]
fn who_comes_later_gets_his_share() {
    for seed in 0..20 {
        let world = World::run(&fleet(3).starts(&[0, 3000, 3000]), 3 * 3600, seed);
        for i in [1, 2] {
            let waited = world.first(i, 0) - 3_000_000;
            assert!(waited <= 600_000, "seed {seed}: {waited} ms");
        }
        let from = world.index(4_000_000);
        let shares = world.shares(3, from, SLOTS);
        assert!(
            shares.iter().all(|s| (7..=13).contains(s)),
            "seed {seed}: {shares:?}"
        );
    }
}

#[test]
fn when_others_leave_the_rate_returns() {
    for (n, stay, within) in [(2, 1, 12), (3, 1, 14), (5, 2, 14), (30, 1, 60)] {
        for seed in 0..20 {
            let stops: Vec<i64> = (0..n)
                .map(|i| if i < stay { i64::MAX } else { 18_000 })
                .collect();
            let world = World::run(&fleet(n).stops(&stops), 12 * 3600, seed);
            let from = world.index(18_000_000 + within * SLOT);
            let used = world.used(from, 20);
            assert!(used >= 0.85, "{n} to {stay}, seed {seed}: {used}");
            let from = world.index(18_000_000 + (within + 60) * SLOT);
            if stay == 1 {
                let mean = world.spacing(from, 100);
                assert!(mean <= 63_000.0 * 1.01, "{n} to 1, seed {seed}: {mean}");
            }
        }
    }
}

#[test]
fn who_has_nothing_to_send_leaves_his_slots_and_finds_them_again() {
    for seed in 0..20 {
        // Every 20 minutes the second has something to send for 5.
        let fleet = fleet(2).sends(|i, s| i == 0 || s % 1200 < 300);
        let world = World::run(&fleet, 10 * 3600, seed);
        assert!(
            world.used(5, 400) >= 0.85,
            "seed {seed}: {}",
            world.used(5, 400)
        );
        let mut waits = Vec::new();
        for start in (3600..9 * 3600).step_by(1200) {
            waits.push(world.first(1, start * 1000) - start * 1000);
        }
        waits.sort_unstable();
        assert!(waits[waits.len() / 2] <= 2 * SLOT, "seed {seed}: {waits:?}");
        // One in 24 may find no slot before it is over.
        assert!(waits[waits.len() - 2] <= 300_000, "seed {seed}: {waits:?}");
    }
}

#[test]
fn clocks_that_differ_are_put_right_by_the_proxys() {
    for n in [2, 3, 5] {
        for (apart, proxy) in [
            (300, None),
            (1000, Some(0)),
            (30_000, Some(0)),
            (30_000, Some(3_700)),
        ] {
            for seed in 0..10 {
                let world = World::run(&fleet(n).clocks(apart, proxy), 4 * 3600, seed);
                let shares = world.shares(n, 40, SLOTS);
                let fair = (SLOTS / n) as i64;
                let off = shares
                    .iter()
                    .map(|s| (*s as i64 - fair).abs())
                    .max()
                    .unwrap();
                assert!(
                    off * 10 <= fair * 3,
                    "{n}, {apart} ms, {proxy:?}, {seed}: {shares:?}"
                );
                assert!(world.used(40, SLOTS) >= 0.85);
            }
        }
    }
}

/// Without a common clock it is not fair, but nobody is shut out.
#[test]
fn clocks_that_differ_shut_nobody_out() {
    for n in [2, 3, 5] {
        for seed in 0..10 {
            let world = World::run(&fleet(n).clocks(30_000, None), 12 * 3600, seed);
            let shares = world.shares(n, 0, usize::MAX);
            let all: usize = shares.iter().sum();
            let least = *shares.iter().min().unwrap();
            assert!(least * n * 40 >= all, "{n}, seed {seed}: {shares:?}");
        }
    }
}

/// A limit that passes fewer than the interval says: no slot is lost to frames that do not fit it.
#[test]
fn slots_longer_than_the_interval_are_used() {
    for slot in [63_000, 64_000, 66_000, 120_000] {
        let used = |way| World::run(&fleet(1).way(way).slot(slot), 12 * 3600, 1).used(5, 100);
        let (now, before) = (used(Way::Turns), used(Way::Interval));
        assert!(now >= 0.95 * before, "{slot}: {now}, {before} before");
        let world = World::run(&fleet(3).slot(slot), 12 * 3600, 1);
        let shares = world.shares(3, 30, SLOTS);
        assert!(
            shares.iter().all(|s| (7..=13).contains(s)),
            "{slot}: {shares:?}"
        );
    }
}

/// HAProxy's `http_req_rate(60s)`: what it refuses counts as well.
#[test]
fn a_limiter_that_counts_what_it_refuses_is_waited_out() {
    for n in [1, 2, 3] {
        for seed in 0..5 {
            let world = World::run(&fleet(n).counting(60_000), 12 * 3600, seed);
            let shares = world.shares(n, 0, usize::MAX);
            assert!(
                shares.iter().all(|s| *s >= 60 / n),
                "{n}, seed {seed}: {shares:?}"
            );
        }
    }
}
