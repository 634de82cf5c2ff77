//! One row as bytes: RowBinary as it is stored, and what is made of it.

pub mod block;
pub mod columns;
mod content;
pub mod encode;
pub mod filter;
pub mod minutes;
pub mod native;
mod of_message;
pub mod read;
pub mod tap;
mod text;
pub mod varint;

pub use block::{BLOCK_BYTES, PackedRows, RowBlock, ZSTD_LEVEL};
pub use content::{CONTENT_HASH_SQL, content_hash};
pub use of_message::{RowError, row};
pub use text::{Format, write_row};
