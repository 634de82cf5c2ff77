//! What the tests share.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod allocations;
pub mod alone;
pub mod chance;
pub mod fake_clickhouse;
pub mod held_ports;
pub mod kafka;
pub mod mounts;
pub mod nginx;
pub mod program;
pub mod prometheus;
pub mod relay;
pub mod small_disk;
pub mod spellings;
pub mod stack;
pub mod tls;
pub mod wait;
pub mod wall_clock;
pub mod world;
