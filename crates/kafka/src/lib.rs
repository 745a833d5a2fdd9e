//! Kafka, in and out: topics are read as the OTLP receivers take requests, and alerts are written to a topic.
//!
//! Alone owns `rdkafka`. Hands batches over through `receive`'s entrance (admission, journal, engine) and commits an offset
//! only when its message is taken over; is one of `act`'s sinks, whose queue and retries it does not repeat. Never looks
//! inside a message, never drops one in silence: what cannot be understood is in `<topic>.dlq`, with the reason.
//! Depends on `model`, `receive` and `act`. Start reading at `reading.rs`, then `partitions.rs`.

mod client;
mod config;
mod context;
mod dead_letters;
mod member;
mod offsets;
mod partitions;
mod publisher;
mod reader;
mod reading;
mod recent;
mod remembered;
mod section;

pub use client::OpenError;
pub use config::{ConfigError, Connection, InitialOffset, ReceiverConfig, Sasl, SinkConfig, Subject, Tls};
pub use reader::{ReadError, TopicReader};
pub use remembered::Remembered;
pub use section::{
    AuthSection, AutocommitSection, ReceiverSection, SaslSection, SignalSection, SinkSection, TlsSection,
};
