//! What is wrong with the bytes, and where: small and `Copy`, because the hot path returns it everywhere.

use std::fmt;

use selvedge_model::SignalKind;

use crate::decoder::Encoding;

/// The body as a whole is not a request of its signal; nothing of it was kept. Not retryable: the same bytes
/// will never do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an otlp {} request in {}: {fault}", .signal.name(), .encoding.name())]
pub struct DecodeError {
    /// Which request it should have been.
    pub signal: SignalKind,
    /// How it should have been written.
    pub encoding: Encoding,
    fault: Fault,
}

impl DecodeError {
    pub(crate) fn new(signal: SignalKind, encoding: Encoding, fault: Fault) -> Self {
        Self { signal, encoding, fault }
    }

    /// Where in the body the first wrong byte is.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.fault.offset
    }
}

/// One thing that is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// From the start of the body.
    pub(crate) offset: usize,
    pub(crate) kind: FaultKind,
    /// The length, field number or byte that the kind speaks of.
    pub(crate) detail: u64,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Protobuf: the message ends inside a value.
    Truncated,
    /// Protobuf: a varint of more than 64 bits.
    VarintOverlong,
    /// Protobuf: a length-delimited value is longer than its message.
    LengthPastEnd,
    /// Protobuf: a field number that cannot be.
    FieldNumber,
    /// Protobuf: a known field with the wrong wire type, or any field with one that does not exist.
    WireType,
    /// Protobuf: groups that nest too deeply, do not close, or close without having opened.
    Group,
    /// Protobuf: a packed field whose length is not a whole number of values.
    PackedLength,
    /// JSON: the text ends inside a value.
    JsonEnd,
    /// JSON: a byte that cannot stand here.
    JsonByte,
    /// JSON: a value of another type than the field has.
    JsonExpected(&'static str),
    /// The bounds and counts of a histogram do not belong together.
    Histogram,
}

impl Fault {
    #[cold]
    pub(crate) fn new(kind: FaultKind, offset: usize, detail: u64) -> Self {
        Self { offset, kind, detail }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, kind, detail } = self;
        match kind {
            FaultKind::Truncated => write!(f, "the message ends inside a value"),
            FaultKind::VarintOverlong => write!(f, "varint of more than 64 bits"),
            FaultKind::LengthPastEnd => write!(f, "length {detail} runs past the end of its message"),
            FaultKind::FieldNumber => write!(f, "field key {detail} holds no valid field number"),
            FaultKind::WireType => write!(f, "field {detail} has the wrong wire type"),
            FaultKind::Group => write!(f, "group {detail} nests too deeply or does not match"),
            FaultKind::PackedLength => write!(f, "packed length {detail} is no multiple of 8"),
            FaultKind::JsonEnd => write!(f, "unexpected end of text"),
            FaultKind::JsonByte => write!(f, "unexpected byte 0x{detail:02x}"),
            FaultKind::JsonExpected(what) => write!(f, "expected {what}"),
            FaultKind::Histogram => write!(f, "histogram bounds and its {detail} counts do not fit"),
        }?;
        write!(f, " at byte {offset}")
    }
}
