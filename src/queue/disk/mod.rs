//! The data dir and sled's trees in it: opened, locked, and told from copies of it.

pub mod columns;
pub mod dir;
pub mod evict;
pub mod files;
pub mod installation;
pub mod last_sync;
pub mod origin;
pub mod panics;
pub mod parts;
pub mod policies;
pub mod runs;
pub mod trees;
pub mod writer;
