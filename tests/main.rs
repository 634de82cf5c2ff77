//! The integration tests, one binary. Each module asks one question.

/// Do messages of other encoders become the right rows?
mod golden;
/// Can the program be built without the capnp compiler?
mod schema_request;
