//! Requests shaped like those of a mesh's sidecars, encoded once and re-stamped for every send.
//!
//! A request carries the spans, access-log records or metric points of a few workloads, both sides of every call. Ids, times
//! and counts are patched in place, so that a send costs the generator a copy and never an encode, and no two requests
//! share an id.

mod logs;
mod mesh;
mod metrics;
mod spans;

use clap::ValueEnum;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use self::mesh::Random;
pub(crate) use self::mesh::text;
pub(crate) use self::metrics::BUSY_BUCKET;
use crate::wire::{self, Places};

/// What a request carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Signal {
    /// Spans of Istio's sidecars.
    #[default]
    Traces,
    /// Records of Envoy's OTLP access logger.
    Logs,
    /// Points of Envoy's OTLP stats sink.
    Metrics,
}

/// How large the mesh and its requests are.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// What a request carries.
    pub signal: Signal,
    /// Spans, log records or points in one request.
    pub records: usize,
    /// Workloads that report in one request; a trace passes through all of them.
    pub hops: usize,
    /// Workloads in the mesh.
    pub workloads: usize,
    /// How many other workloads each one calls: with 50 workloads, 4 gives 200 edges.
    pub fan_out: usize,
    /// Different request bodies, sent in turn.
    pub bodies: usize,
    /// Seed of all choices.
    pub seed: u64,
}

impl Default for Shape {
    fn default() -> Self {
        let signal = Signal::Traces;
        Self { signal, records: 100, hops: 4, workloads: 50, fan_out: 4, bodies: 64, seed: 42 }
    }
}

/// Time that templates are built with; stamping shifts it.
const BASE_UNIX_NANO: u64 = 1_700_000_000_000_000_000;
/// Records of one request start within this time, as when sidecars flush once a second.
const SPREAD_NANOS: u64 = 1_000_000_000;
/// What a counter grows by from one number of a request to the next.
const COUNTED_PER_SEND: u64 = 3;

/// One encoded request and the places in it that differ from send to send.
pub struct Template {
    bytes: Vec<u8>,
    records: usize,
    places: Places,
}

impl Template {
    /// Spans, log records or points in the request.
    #[must_use]
    pub fn records(&self) -> usize {
        self.records
    }

    /// Encoded length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True for a request without a byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// A copy with ids of its own for send number `sequence`, whose records ended within the second before `now`.
    #[must_use]
    pub fn stamp(&self, sequence: u64, now_unix_nano: u64) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let salt = Random(sequence).next();
        for &at in &self.places.ids {
            change_u64(&mut bytes, at, |id| id ^ salt);
        }
        let shift = now_unix_nano.wrapping_sub(BASE_UNIX_NANO + SPREAD_NANOS);
        for &at in &self.places.times {
            change_u64(&mut bytes, at, |time| time.wrapping_add(shift));
        }
        for &(at, digits) in &self.places.hex {
            salt_hex(&mut bytes[at..at + digits], salt);
        }
        for &at in &self.places.counts {
            change_u64(&mut bytes, at, |count| count.wrapping_add(sequence * COUNTED_PER_SEND));
        }
        bytes
    }
}

fn change_u64(bytes: &mut [u8], at: usize, change: impl Fn(u64) -> u64) {
    let place: &mut [u8; 8] = (&mut bytes[at..at + 8]).try_into().expect("the range is eight bytes long");
    *place = change(u64::from_le_bytes(*place)).to_le_bytes();
}

/// What [`change_u64`] does to the first bytes of an id, done to the digits that they are written as.
fn salt_hex(digits: &mut [u8], salt: u64) {
    for (pair, byte) in digits.chunks_exact_mut(2).zip(salt.to_le_bytes()) {
        pair[0] = hex_digit(hex_value(pair[0]) ^ (byte >> 4));
        pair[1] = hex_digit(hex_value(pair[1]) ^ (byte & 15));
    }
}

fn hex_value(digit: u8) -> u8 {
    if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 }
}

fn hex_digit(value: u8) -> u8 {
    b"0123456789abcdef"[usize::from(value)]
}

/// The request bodies of a run.
#[must_use]
pub fn templates(shape: &Shape) -> Vec<Template> {
    let mut random = Random(shape.seed);
    (0..shape.bodies)
        .map(|_| {
            let bytes = match shape.signal {
                Signal::Traces => spans::request(shape, &mut random).encode_to_vec(),
                Signal::Logs => logs::request(shape, &mut random).encode_to_vec(),
                Signal::Metrics => metrics::request(shape, &mut random).encode_to_vec(),
            };
            let places = wire::places(shape.signal, &bytes);
            Template { records: shape.records, bytes, places }
        })
        .collect()
}

/// How many records the answer to a request says were rejected: in all three `Export…ServiceResponse` the first field of
/// the first field.
///
/// # Errors
/// When it is no such answer.
pub(crate) fn rejected_records(answer: &[u8]) -> anyhow::Result<u64> {
    let answer = ExportTraceServiceResponse::decode(answer)?;
    Ok(u64::try_from(answer.partial_success.map_or(0, |partial| partial.rejected_spans))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_salted_id_and_its_digits_stay_the_same_id() {
        let id = [0xaa_u8, 0xa8, 0x44, 0xe1, 0x69, 0x40, 0xc0, 0xdc];
        let written = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (mut bytes, mut digits) = (id, written(&id).into_bytes());
        let salt = 0x0123_4567_89ab_cdef;
        change_u64(&mut bytes, 0, |id| id ^ salt);
        salt_hex(&mut digits, salt);
        assert_ne!(bytes, id);
        assert_eq!(digits, written(&bytes).into_bytes());
    }
}
