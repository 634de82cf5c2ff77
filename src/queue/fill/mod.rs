//! Into the queue: blocks appended to their lanes, lanes begun, ended and let go.

pub mod append;
pub mod fences;
pub mod held;
pub mod lanes;
