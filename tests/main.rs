//! The integration tests, one binary. Each module asks one question.

/// Does `capacity` take sizes from ClickHouse without stealing a slot?
mod capacity;
/// Does a clock that is set break a slot or lose a row?
mod clock;
/// Does a hostile message cost more than an honest one?
mod cost;
/// Does every record arrive exactly once, whatever the server answers and whenever we are killed?
mod delivery;
/// What does a disk that is full, fails or is read-only do?
mod disk;
/// Do messages of other encoders become the right rows?
mod golden;
/// What does it cost when nothing arrives?
mod idle;
/// Does a backlog go out in full bodies, once each, whatever happens between two attempts?
mod packed;
/// Are messages that cannot become rows kept, bounded, and given back?
mod quarantine;
/// Does reconcile find every minute that differs, and no other?
mod reconcile;
/// Do the commands that look at, save and send what is stored work, with and without a live instance?
mod rescue;
/// Can the program be built without the capnp compiler?
mod schema_request;
/// What does each answer of ClickHouse or its proxy mean?
mod sink;
/// What they share.
mod support;
