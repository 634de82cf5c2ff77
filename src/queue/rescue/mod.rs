//! For queues that are damaged, or whose rows are wanted elsewhere.

pub mod export;
pub mod repair;
mod salvage;
pub mod verify;
