//! A batch as it travels: what captures hold and engines take.

use selvedge_model::{ObservedTime, SignalKind};
use selvedge_simulate::otlp::Frame;

use crate::wire::split;

/// One protobuf `Export*ServiceRequest` with its signal and the time of its receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// Which of the three signals.
    pub signal: SignalKind,
    /// When it was received.
    pub observed: ObservedTime,
    /// The request's bytes.
    pub payload: Vec<u8>,
}

impl From<Frame> for RawFrame {
    fn from(frame: Frame) -> Self {
        Self { signal: frame.signal, observed: frame.observed, payload: frame.payload }
    }
}

impl RawFrame {
    /// The bytes of its records (spans, metrics, log records), in order.
    #[must_use]
    pub fn records(&self) -> Vec<&[u8]> {
        // request.1 -> resource_x.2 -> scope_x.2 is the record, in all three signals.
        [1, 2, 2].iter().fold(vec![&self.payload[..]], |messages, number| {
            messages.into_iter().flat_map(|message| children(message, *number)).collect()
        })
    }
}

fn children(message: &[u8], number: u64) -> Vec<&[u8]> {
    let fields = split(message).unwrap_or_default();
    fields.into_iter().filter(|field| field.number == number).filter_map(|field| field.content).collect()
}
