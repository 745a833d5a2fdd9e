//! Checkpoints: what an engine knows, as files that survive it.
//!
//! Turns named sections of bytes into one file and back: checksummed, compressed, versioned, replaced as a whole.
//! Owns the file format ([`mod@format`]) and the folder ([`Folder`]): which file a restart begins with, which are kept.
//! Never knows what a section means: that is the engine's, and so is the version of each.
//! Depends on no other crate of the workspace. Start reading at `format.rs`, then `folder.rs`.

mod folder;
pub mod format;
mod stats;

pub use folder::{Examined, Folder, Found};
pub use format::{Checkpoint, Head, ReadError, Section};
pub use stats::CheckpointStats;
