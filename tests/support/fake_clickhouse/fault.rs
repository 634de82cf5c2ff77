//! What goes wrong on demand.

use std::time::Duration;

/// What happens to one of the next requests. Each is used once, in the order given.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This status from the proxy after it took the body; nothing is stored.
    Status(u16),
    /// The same, with this `Retry-After`.
    StatusRetryAfter(u16, &'static str),
    /// The limiter's answer before the body, with this `Retry-After`.
    Limited503(Option<&'static str>),
    /// A proxy's refusal before the body, whatever its status.
    Refused {
        /// The status.
        status: u16,
        /// `Retry-After`.
        retry_after: Option<&'static str>,
    },
    /// The status and code of ClickHouse after the body; nothing is stored.
    ExceptionHeader {
        /// The HTTP status, which may be 200.
        http: u16,
        /// `X-ClickHouse-Exception-Code`.
        code: u32,
    },
    /// 200, the beginning of a result, and an exception behind it.
    LateException(u32),
    /// A reset when the head has come.
    ResetBeforeBody,
    /// A reset in the middle of the body.
    ResetMidBody,
    /// A reset when the whole body has come; nothing is stored.
    ResetAfterBody,
    /// The rows are stored and the connection closes without an answer.
    ApplyThenDrop,
    /// The rows are stored, and a filter of the proxy answers this status instead of ClickHouse.
    ApplyThenStatus(u16),
    /// 200 with an empty body and no header of ClickHouse, before the body: a maintenance page.
    EmptyPage,
    /// The same after the body; nothing is stored.
    EmptyPageAfterBody,
    /// Something on the way passes on no body, and says that it is empty.
    BodyDropped,
    /// A proxy gives the query an id of its own, as chproxy does.
    OtherQuery,
    /// Something on the way passes on only the first of the body's frames.
    FirstFrameOnly,
    /// Takes the body, waits for [`FakeClickHouse::release`] or this long, then stores and answers,
    /// whether the client is still there or not: so does a real server.
    Hang(Duration),
    /// Stores, then answers one byte at a time with this pause.
    SlowDrip(Duration),
}
