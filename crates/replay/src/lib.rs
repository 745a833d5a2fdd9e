//! Captures in, transcripts out: the engine again, by a virtual clock.
//!
//! Owns reading and writing of captures, the order in which they are played, and the files of a replay.
//! Never reads a clock: pacing and progress are given by the caller.
//! Depends on `engine` and on the documents of `act`. Start reading at `player.rs`.

pub mod capture;
mod expect;
mod output;
mod player;
mod transcript;

pub use expect::{ExpectError, Expectations};
pub use output::{Usage, write_outputs};
pub use player::{Pace, Played, ReplayError, TornCapture, judge, play, teach};
pub use transcript::Transcript;
