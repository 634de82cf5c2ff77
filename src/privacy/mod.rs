//! All that touches a plaintext address. A record becomes [`anonymize::Anonymized`], a message that
//! cannot become a row becomes [`Quarantined`] with [`Masked`] bytes or none; nothing else leaves.

pub mod address;
pub mod anonymize;
mod form;
pub mod message;
mod parse;
mod plain;
pub mod policy;
mod traces;
mod url;

pub use message::{Masked, NotKept, Quarantined, mask};
pub use policy::Policy;
