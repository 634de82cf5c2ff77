//! The integration tests, one binary. Each module asks one question.

/// Do alerts and dashboards ask for what the program exports, and does a real Prometheus agree?
mod alerts;
/// Does anything but ClickHouse's own word count as stored?
mod answers;
/// Does `capacity` take sizes from ClickHouse without stealing a slot?
mod capacity;
/// Does `check` say what is wrong, and change nothing?
mod check;
/// Does a clock that is set break a slot or lose a row?
mod clock;
/// Does a copy of a data dir double nothing, and does a moved one start?
mod copies;
/// Does a hostile message cost more than an honest one?
mod cost;
/// Does every record arrive exactly once, whatever the server answers and whenever we are killed?
mod delivery;
/// What does a disk that is full, fails or is read-only do?
mod disk;
/// Is it told up to when all can be seen in ClickHouse?
mod freshness;
/// Do messages of other encoders become the right rows?
mod golden;
/// Is the command line what its help, its errors and the README say?
mod help;
/// What does it cost when nothing arrives?
mod idle;
/// Does `--json` print one object, and is a bar drawn on terminals alone?
mod json;
/// Does a log that nobody reads stop anything, and does any level of it show a secret?
mod log;
/// Does the program go on, and stop in time, whatever clients do to its metrics port?
mod metrics_port;
/// Does every setting exist that a message names?
mod names;
/// Does a backlog go out in full bodies, once each, whatever happens between two attempts?
mod packed;
/// Is what a person sees at the HTTP port true, whole, and safe to look at?
mod page;

/// Are the pages, over a network, for those who know the password only?
mod page_access;
/// Is a change of what is masked told, and are rows of both right?
mod policy;
/// Are messages that cannot become rows kept, bounded, and given back?
mod quarantine;
/// Is every partition read that is held, whatever happened to it before?
mod reading;
/// Do the commands of the README work as they are written?
mod readme;
/// Does reconcile find every minute that differs, and no other?
mod reconcile;
/// Is a queue that another release wrote opened, and all of it sent once?
mod releases;
/// Do the commands that look at, save and send what is stored work, with and without a live instance?
mod rescue;
/// Does what the runbook says to type end what its alert is about?
mod runbook;
/// Can the program be built without the capnp compiler?
mod schema_request;
/// What does a second signal do?
mod signals;
/// What does each answer of ClickHouse or its proxy mean?
mod sink;
/// Does one look say whether data is safe, since when, what comes next, and what to do?
mod situations;
/// What they share.
#[path = "../support/mod.rs"]
mod support;
/// Is anything inserted where rows would be stored wrong, or a resend twice?
mod tables;
/// Does a tap show what passes, masked, and does the stream never wait for it?
mod tap;
/// Does `top` show what is, with and without a terminal, and leave the terminal as it was?
mod top;
