//! The enforcement drivers against their peers: an ADS client in this process, a folder, a real Envoy. One binary, as
//! each links all of Envoy's messages.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod delta;
mod doors;
mod envoy;
mod mesh;
mod quarantines;
mod server;
mod state_of_the_world;
mod yaml;
