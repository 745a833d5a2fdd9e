//! The journal from outside: a real process that is killed, senders that remember what was acknowledged.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod alerts;
mod baseline;
mod kills;
mod live;
mod settings;
