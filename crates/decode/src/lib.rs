//! OTLP bytes into observations and metric points.
//!
//! Owns the knowledge of wire shapes (protobuf, OTLP/JSON) and of every proxy's dialect.
//! Never does I/O, never panics on hostile bytes, never allocates beyond the size of its input.
//! Depends on `model`. Start reading at `decoder.rs`.

mod field;
mod record;
