//! What every long-running program needs and no stage of this one is about.

pub mod clock;
pub mod config;
pub mod control;
pub mod disk;
pub mod http;
pub mod report;
pub mod shutdown;
pub mod stats;
