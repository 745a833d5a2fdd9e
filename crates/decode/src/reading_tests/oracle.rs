//! What `opentelemetry-proto` decodes from valid requests is what our readers hand on, in both encodings.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message;
use selvedge_model::SignalKind;

use super::generate::{config, logs, metrics, traces};
use super::seen::{Notes, read};
use super::write_json::Style;
use crate::decoder::Encoding;

fn style() -> impl Strategy<Value = Style> {
    let liberties = (any::<bool>(), any::<bool>());
    liberties.prop_map(|(bare_integers, upper_case)| Style { bare_integers, upper_case })
}

/// What our reader hands on of a body that is valid.
fn ours(signal: SignalKind, encoding: Encoding, body: &[u8]) -> Vec<String> {
    read(signal, encoding, body).expect("valid").0
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn spans_read_as_opentelemetry_proto_reads_them(request in traces(), style in style()) {
        let body = request.encode_to_vec();
        let theirs = Notes::traces(&ExportTraceServiceRequest::decode(&body[..]).expect("valid"));
        prop_assert_eq!(&ours(SignalKind::Traces, Encoding::Protobuf, &body), &theirs);
        prop_assert_eq!(&ours(SignalKind::Traces, Encoding::Json, style.traces(&request).as_bytes()), &theirs);
    }

    #[test]
    fn log_records_read_as_opentelemetry_proto_reads_them(request in logs(), style in style()) {
        let body = request.encode_to_vec();
        let theirs = Notes::logs(&ExportLogsServiceRequest::decode(&body[..]).expect("valid"));
        prop_assert_eq!(&ours(SignalKind::Logs, Encoding::Protobuf, &body), &theirs);
        prop_assert_eq!(&ours(SignalKind::Logs, Encoding::Json, style.logs(&request).as_bytes()), &theirs);
    }

    #[test]
    fn points_read_as_opentelemetry_proto_reads_them(request in metrics(), style in style()) {
        let body = request.encode_to_vec();
        let theirs = Notes::metrics(&ExportMetricsServiceRequest::decode(&body[..]).expect("valid"));
        prop_assert_eq!(&ours(SignalKind::Metrics, Encoding::Protobuf, &body), &theirs);
        prop_assert_eq!(&ours(SignalKind::Metrics, Encoding::Json, style.metrics(&request).as_bytes()), &theirs);
    }

    /// Anything that `opentelemetry-proto` takes whole, we take whole: being lazy never makes us stricter.
    #[test]
    fn what_opentelemetry_proto_accepts_is_accepted(
        request in traces(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut body = request.encode_to_vec();
        if body.is_empty() {
            return Ok(());
        }
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Ok(theirs) = ExportTraceServiceRequest::decode(&body[..]) {
            let (ours, _) = read(SignalKind::Traces, Encoding::Protobuf, &body).expect("accepted");
            prop_assert_eq!(ours.len(), Notes::traces(&theirs).len());
            prop_assert!(!ours.iter().any(|note| note.starts_with("rejected")), "{:?}", ours);
        }
    }
}
