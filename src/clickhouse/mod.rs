//! ClickHouse over HTTP: the only part that speaks with it.
//!
//! One request is one new connection: the proxy lets one a minute pass, and a connection kept that
//! long is a connection the other side has closed. Every insert says `Expect: 100-continue`, so a
//! limiter's 503 and a 413 come before a body byte is sent, and then nothing can be stored. Every
//! body has a `Content-Length`: a chunked body that is too long uses the slot, and a cut one cannot
//! be told from a whole one.
//!
//! - [`SinkError`] is the decision on an answer; `http/codes.rs` holds the table of codes behind it.
//! - [`BodyLimit`] learns how long a body the proxy takes.
//! - [`Schema`] is the DDL this program needs, and the check that it is there.

mod body_limit;
mod cluster;
mod count;
mod ddl;
mod duplicates;
mod error;
mod http;
mod insert;
mod key;
mod minutes;
mod options;
mod presence;
mod profile;
mod reach;
mod retention;
mod schema;
mod sink;
mod sql;
mod versions;
mod words;

pub use self::body_limit::BodyLimit;
pub use self::cluster::on_cluster;
pub use self::count::CountQuery;
pub use self::duplicates::AllowedDuplicates;
pub use self::error::SinkError;
pub use self::http::Heard;
pub use self::insert::{InsertDone, InsertRequest, insert_settings};
pub use self::key::Reread;
pub use self::minutes::MinutesQuery;
pub use self::options::{SinkOptions, SinkOptionsError, TlsFiles};
pub use self::presence::{Evidence, PresenceQuery};
pub use self::reach::reach;
pub use self::retention::Retention;
pub use self::schema::{
    Found, OLDEST, ObjectKind, Problem, Schema, SchemaError, SchemaObject, SchemaState, Version,
    Window,
};
pub use self::sink::Sink;
pub use self::versions::{Scheme, Server};
