//! The receivers as a sender sees them: real sockets on loopback, free ports, a fake engine behind.

#![expect(clippy::unwrap_used, reason = "test helpers fail the test, as tests themselves may")]

mod floods;
mod grpc;
mod harness;
mod http;
mod journal;
mod lifecycle;
mod tls;
