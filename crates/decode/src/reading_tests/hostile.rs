//! Hostile bodies: an error value or rejected records, never a panic, never an endless loop, never memory beyond
//! a multiple of the body.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;
use selvedge_model::SignalKind;

use super::generate::{config, logs, metrics, traces};
use super::seen::read;
use super::write_json::Style;
use crate::decoder::Encoding;
use crate::fault::FaultKind;

/// A length-delimited field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

/// A request whose one scope holds these bytes as its records.
fn request(records: &[u8]) -> Vec<u8> {
    field(1, &field(2, records))
}

fn fault(body: &[u8]) -> FaultKind {
    read(SignalKind::Traces, Encoding::Protobuf, body).expect_err("must be refused").kind
}

fn notes(body: &[u8]) -> Vec<String> {
    read(SignalKind::Traces, Encoding::Protobuf, body).expect("must be taken").0
}

#[test]
fn a_malformed_record_costs_only_itself() {
    let good = field(2, &field(5, b"good"));
    let bad: [&[u8]; 7] = [
        &[0x0a],                   // truncated
        &[0x0a, 0x05, 0x00],       // length past the record's end
        &[0x28, 0x01],             // name as a varint
        &[0x39, 0x01],             // half a fixed64
        &[0x4a, 0x02, 0x0a, 0x09], // an attribute whose key runs past it
        &[0x00],                   // field number 0
        &[0x0b, 0x0b, 0x0c],       // a group that does not close
    ];
    for bad in bad {
        let notes = notes(&request(&[good.clone(), field(2, bad), good.clone()].concat()));
        assert_eq!(notes[2], "rejected malformed", "{bad:?}");
        assert!(notes.len() == 4 && notes[1] == notes[3] && notes[1].contains("good"), "{bad:?}");
    }
}

#[test]
fn a_broken_frame_costs_the_body() {
    assert_eq!(
        fault(&[0x0a, 0x80, 0xad, 0xe2, 0x04]),
        FaultKind::LengthPastEnd,
        "10 million declared, none sent"
    );
    assert_eq!(
        fault(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        FaultKind::LengthPastEnd
    );
    assert_eq!(fault(&[0x0a, 0xff]), FaultKind::Truncated);
    assert_eq!(fault(&[0xff; 11]), FaultKind::VarintOverlong);
    assert_eq!(fault(&[0x08, 0x01]), FaultKind::WireType, "resource_spans as a varint");
    assert_eq!(fault(&field(1, &[0x10, 0x01])), FaultKind::WireType, "scope_spans as a varint");
    assert_eq!(fault(&field(1, &[0x0a, 0x01, 0x80])), FaultKind::Truncated, "a resource that is no message");
    assert_eq!(fault(b"{\"resourceSpans\":[]}"), FaultKind::LengthPastEnd, "json sent as protobuf");
}

#[test]
fn deep_values_are_stepped_over_without_recursion() {
    let mut value = field(1, b"x");
    for level in 0..20_000 {
        value = field(if level % 2 == 0 { 5 } else { 6 }, &field(1, &value));
        if value.len() > 4 << 20 {
            break;
        }
    }
    for key in [&b"service.name"[..], b"unknown"] {
        let attribute = [field(1, key), field(2, &value)].concat();
        let notes = notes(&request(&field(2, &field(9, &attribute))));
        assert!(notes[1].starts_with("span"), "{key:?}");
    }
}

#[test]
fn bodies_made_of_groups_are_bounded() {
    assert_eq!(fault(&vec![0x13; 4 << 20]), FaultKind::Group);
    let closed = [[0x13, 0x14]; 100_000].concat();
    assert!(notes(&closed).is_empty());
}

#[test]
fn many_empty_records_are_only_counted() {
    let notes = notes(&request(&[0x12, 0x00].repeat(100_000)));
    assert_eq!(notes.len(), 100_001);
}

#[test]
fn histograms_that_do_not_fit_are_rejected() {
    let counts = field(6, &7_u64.to_le_bytes());
    let bounds = field(7, &[1.0_f64.to_le_bytes(), 2.0_f64.to_le_bytes()].concat());
    let read_points = |points: &[u8]| {
        let metric = [field(1, b"m"), field(9, points)].concat();
        read(SignalKind::Metrics, Encoding::Protobuf, &request(&field(2, &metric))).expect("taken").0
    };
    let bare = [field(1, &counts), field(1, &[])].concat();
    let notes = read_points(&[field(1, &[counts, bounds].concat()), bare].concat());
    assert_eq!(notes[1], "rejected bad_histogram");
    assert!(notes[2].contains("explicit 0 NaN [] [7]"), "{notes:?}");
    assert!(notes[3].contains("explicit 0 NaN [] [0]"), "no buckets is one bucket over everything");
}

/// Overwrites, cuts and repeats bytes.
fn damage(
    mut body: Vec<u8>,
    changes: &[(Index, u8)],
    cut: Option<Index>,
    copy: Option<(Index, Index)>,
) -> Vec<u8> {
    if body.is_empty() {
        return body;
    }
    for (at, byte) in changes {
        let at = at.index(body.len());
        body[at] = *byte;
    }
    if let Some((from, to)) = copy {
        let piece = body[from.index(body.len())..].to_vec();
        let at = to.index(body.len());
        body.splice(at..at, piece);
    }
    if let Some(cut) = cut {
        body.truncate(cut.index(body.len()));
    }
    body
}

fn read_all_ways(body: &[u8]) {
    for signal in SignalKind::ALL {
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            if let Ok((notes, _)) = read(signal, encoding, body) {
                assert!(notes.len() <= body.len(), "every note costs at least a byte");
            }
        }
    }
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn damaged_bodies_never_panic(
        traces in traces(),
        logs in logs(),
        metrics in metrics(),
        changes in vec((any::<Index>(), any::<u8>()), 0..6),
        cut in proptest::option::of(any::<Index>()),
        copy in proptest::option::of((any::<Index>(), any::<Index>())),
    ) {
        let style = Style { bare_integers: true, upper_case: false };
        let bodies = [
            traces.encode_to_vec(), logs.encode_to_vec(), metrics.encode_to_vec(),
            style.traces(&traces).into_bytes(), style.logs(&logs).into_bytes(), style.metrics(&metrics).into_bytes(),
        ];
        for body in bodies {
            read_all_ways(&damage(body, &changes, cut, copy));
        }
    }

    /// JSON that is valid but not OTLP: types swapped at random.
    #[test]
    fn json_of_wrong_types_never_panics(traces in traces(), metrics in metrics(), from in 0..6_usize, to in 0..6_usize) {
        let style = Style { bare_integers: false, upper_case: true };
        let shapes = ["null", "[]", "{}", "\"\"", "0", "true"];
        for body in [style.traces(&traces), style.metrics(&metrics)] {
            read_all_ways(body.replace(shapes[from], shapes[to]).as_bytes());
        }
    }

    #[test]
    fn random_bytes_never_panic(body in vec(any::<u8>(), 0..200)) {
        read_all_ways(&body);
    }

    #[test]
    fn random_pieces_of_wire_format_never_panic(
        pieces in vec((1..16_u8, 0..6_u8, vec(any::<u8>(), 0..12)), 0..12)
    ) {
        let mut body = Vec::new();
        for (number, wire, content) in pieces {
            body.extend(if wire == 2 { field(number, &content) } else { [vec![number << 3 | wire], content].concat() });
            body = if body.len() % 3 == 0 { field(1, &field(2, &field(2, &body))) } else { body };
        }
        read_all_ways(&body);
    }
}
