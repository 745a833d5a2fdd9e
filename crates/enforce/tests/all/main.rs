//! The enforcement drivers against their peers: an ADS client in this process, a folder. One binary, as it links all
//! of Envoy's messages. A real Envoy is asked in `tests/real_envoy`.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[allow(dead_code, reason = "other test binaries use the rest")]
#[path = "../child/mod.rs"]
mod child;
mod delta;
mod doors;
mod enforcer;
#[allow(dead_code, reason = "other test binaries use the rest")]
mod mesh;
#[allow(dead_code, reason = "other test binaries use the rest")]
mod quarantines;
mod server;
mod state_of_the_world;
mod yaml;
