//! Reading and writing against librdkafka's mock cluster: a broker in this process, on loopback and a free port.

#![expect(clippy::unwrap_used, reason = "test helpers fail the test, as tests themselves may")]

mod backlog;
mod bench;
mod reading;
mod sharing;
mod writing;
