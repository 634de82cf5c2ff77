//! A ClickHouse behind an nginx, as far as a forwarder can tell: HTTP on 127.0.0.1, no dependency.
//!
//! It is strict where the real one is silent: a body without Content-Length, a missing setting or a
//! token used for other rows is a *violation*. It deduplicates by token, keeps the rows as a multiset,
//! records every request, and fails on demand ([`Fault`]). Nothing here sleeps: tests wait on states.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses its own part"
)]

mod answers;
mod exchange;
mod fault;
mod inserts;
mod questions;
mod state;
mod tables;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use fault::Fault;
pub use inserts::{parse_rows, row};
pub use state::{Outcome, Seen, State};

/// Rows with how often each is stored.
pub type Multiset = HashMap<Vec<u8>, u64>;

type Shared = Arc<(Mutex<State>, Condvar)>;

/// The server. Stops when dropped.
pub struct FakeClickHouse {
    address: SocketAddr,
    shared: Shared,
    acceptor: Option<JoinHandle<()>>,
}

impl FakeClickHouse {
    /// Listens on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        let shared = Shared::default();
        let ours = shared.clone();
        let acceptor = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if lock(&ours).stopping {
                    return;
                }
                let shared = ours.clone();
                thread::spawn(move || exchange::serve_and_close(stream, &shared));
            }
        });
        Self {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The state, locked.
    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared)
    }

    /// Adds a fault for a coming request.
    pub fn fail(&self, fault: Fault) {
        self.state().faults.push_back(fault);
    }

    /// From now on a longer Content-Length gets nginx's 413; `None` lifts the limit.
    pub fn limit_body(&self, limit: Option<u64>) {
        self.state().body_limit = limit;
    }

    /// Lets every request go on that hangs now.
    pub fn release(&self) {
        self.state().released += 1;
        self.shared.1.notify_all();
    }

    /// How many rows are stored.
    pub fn rows(&self) -> u64 {
        self.state().row_count()
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.state().requests.clone()
    }

    /// Waits until `what` holds. Panics with the requests when it does not in time.
    pub fn wait_until(&self, what: impl Fn(&State) -> bool, timeout: Duration) {
        let state = self.state();
        let (state, waited) = self
            .shared
            .1
            .wait_timeout_while(state, timeout, |state| !what(state))
            .expect("lock");
        assert!(
            !waited.timed_out(),
            "not reached in {timeout:?}; requests: {:#?}",
            state.requests
        );
    }

    /// Panics unless these rows, each as often as it is there, are all that is stored, and the client
    /// did nothing that a correct one never does.
    pub fn assert_holds_once(&self, expected: &Multiset) {
        assert!(
            self.state().rows == *expected,
            "stored {} rows, expected {}",
            self.rows(),
            expected.values().sum::<u64>()
        );
        self.assert_no_violation();
    }

    /// Panics if the client did what a correct one never does.
    pub fn assert_no_violation(&self) {
        assert_eq!(self.state().violations, Vec::<String>::new());
    }
}

impl Drop for FakeClickHouse {
    fn drop(&mut self) {
        self.state().stopping = true;
        self.shared.1.notify_all();
        // One more connection wakes the acceptor.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared
        .0
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn finish(shared: &Shared, index: usize, status: u16, outcome: Outcome) {
    let mut state = lock(shared);
    state.requests[index].status = status;
    state.requests[index].outcome = outcome;
    shared.1.notify_all();
}
