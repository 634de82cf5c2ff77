//! The ground: no stage of the program is known here.

pub mod clock;
pub mod conditions;
pub mod logging;
pub mod room;
pub mod shutdown;
pub mod span;
pub mod stats;
pub mod wrap;
