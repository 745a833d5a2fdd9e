//! Fuzz targets: whatever comes over a socket or out of a file, as functions that panic when a promise is broken.
//!
//! `cargo xtask fuzz` runs them (`docs/reliability.md`), with the inputs under `corpus/` to begin with. Each promises more
//! than that nothing panics; what, stands at the function. The programs under `fuzz_targets/` are what cargo-fuzz
//! expects; an input that once broke something is in the corpus, and its regression test is where the fault was.

pub mod agreement;
pub mod capture;
pub mod checkpoint;
pub mod fields;
pub mod otlp;
pub mod streams;
pub mod text;
#[cfg(feature = "fuzzer")]
mod worlds;
