//! More than it can take, and for longer than anybody watches: what the program promises about both, by real processes.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[allow(dead_code, reason = "shared with the tests of the journal, which need more of it")]
#[path = "../journal/live.rs"]
mod live;
mod load;
mod saturation;
mod soak;
