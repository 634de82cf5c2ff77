//! What an operator sees of an instance, and asks of it: the socket of the commands, the HTTP port,
//! the report. None of it changes what is promised.

pub mod control;
mod exchange;
pub mod forecast;
mod gauges;
pub mod history;
pub mod http;
pub mod human;
pub mod judge;
pub mod offline;
mod page;
pub mod quarantine;
pub mod report;
pub mod status;
pub mod tap;
pub mod verdict;
pub mod word;
