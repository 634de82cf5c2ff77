//! The ground: no stage of the program is known here.

pub mod clock;
pub mod conditions;
pub mod core_dump;
pub mod http_client;
pub mod logging;
pub mod room;
pub mod secret;
pub mod shutdown;
pub mod span;
pub mod stats;
pub mod wrap;
