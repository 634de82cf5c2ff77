//! Two things about a connection that ureq 3.5 does not do by itself.
//!
//! Both hang on `ureq::unversioned`, which may change in a minor version: a build error then, here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};
use ureq::{Error, Timeout};

/// The last link of the connector: it is only called with a transport when TCP and TLS stand, so
/// what fails while it is unset never reached the proxy as a request.
#[derive(Debug, Default, Clone)]
pub(in crate::clickhouse) struct Reached(Arc<AtomicBool>);

impl Reached {
    pub(in crate::clickhouse) fn get(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl<In: Transport> Connector<In> for Reached {
    type Out = EarlyAnswer<In>;

    fn connect(
        &self,
        _: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(|inner| {
            self.0.store(true, Ordering::SeqCst);
            EarlyAnswer {
                inner,
                awaiting_100: false,
            }
        }))
    }
}

/// Hands over an answer that came instead of `100 Continue`.
///
/// ureq 3.5.2 leaves such an answer in the buffer and then waits for more input before it looks at
/// it again: until the other side closes (5 s with nginx), or into the timeout if it does not. A
/// refusal that is free must not cost that, nor be taken for a timeout.
#[derive(Debug)]
pub(in crate::clickhouse) struct EarlyAnswer<In> {
    inner: In,
    awaiting_100: bool,
}

impl<In: Transport> Transport for EarlyAnswer<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let awaiting = timeout.reason == Timeout::Await100;
        let awaited = std::mem::replace(&mut self.awaiting_100, awaiting);
        // Once, on leaving that phase: if it is no whole answer, the next call waits for the rest.
        if awaited && !awaiting && !self.inner.buffers().input().is_empty() {
            return Ok(true);
        }
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}
