//! Fuzz targets: whatever comes over a socket or out of a file, as functions that panic when a promise is broken.
//!
//! `cargo xtask fuzz` runs them (`docs/reliability.md`), with the inputs under `corpus/` to begin with. Each promises more
//! than that nothing panics; what, stands at the function. They share one program, since each of its own would link the query
//! engine once more: fifteen filled a disk. An input that once broke something is in the corpus, and its regression test is
//! where the fault was.

pub mod agreement;
pub mod capture;
pub mod checkpoint;
pub mod fields;
pub mod otlp;
pub mod streams;
pub mod text;
#[cfg(feature = "fuzzer")]
mod worlds;

/// What is run on an input.
#[cfg(feature = "fuzzer")]
pub type Target = fn(&[u8]);

/// The targets, each named as the folder of its inputs below `corpus/`.
#[cfg(feature = "fuzzer")]
pub const TARGETS: [(&str, Target); 15] = [
    ("agreement", agreement::requests),
    ("captures", capture::captures),
    ("checkpoints", checkpoint::checkpoints),
    ("config", text::config),
    ("fields", fields::records),
    ("journals", capture::journals),
    ("json", otlp::json),
    ("logs", otlp::logs),
    ("metrics", otlp::metrics),
    ("pipeline", streams::pipeline),
    ("policies", text::policies),
    ("rules", text::rules),
    ("sql", text::sql),
    ("traces", otlp::traces),
    ("xds", streams::xds),
];
