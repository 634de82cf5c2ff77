//! Out of the queue: batches sealed, read as bodies, acknowledged.

pub mod batches;
pub mod body;
mod dropped;
pub mod headers;
pub mod kept;
pub mod plan;
pub mod read_ahead;
pub mod row_times;
