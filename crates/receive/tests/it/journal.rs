//! The journal behind real receivers: an acknowledged request is on disk, a refused one is refused as the
//! specification says.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use prost::Message;
use selvedge_model::SignalKind;
use selvedge_receive::journal::{Journal, JournalConfig, JournalStats, Position, Recovered, Unstored};
use selvedge_receive::{Encoding, Submission, Transport};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic_types::StatusExt;

use crate::harness::*;

const RETRY_AFTER: Duration = Duration::from_secs(3);

fn config(folder: &std::path::Path) -> JournalConfig {
    JournalConfig {
        folder: folder.to_owned(),
        bytes_max: 2 << 10,
        segment_bytes: 1 << 10,
        segment_age: Duration::from_secs(60),
        commit_interval: Duration::ZERO,
        retry_after: RETRY_AFTER,
    }
}

/// Receivers, a journal of two kibibytes, and an engine that accepts everything it gets.
async fn start(folder: &std::path::Path) -> (Running, Arc<JournalStats>) {
    let (running, inbox) = start_raw(json!({}), 64).await;
    let journal = Journal::open(config(folder)).unwrap();
    let stats = journal.stats();
    let (outlet, mut engine) = mpsc::channel::<Submission>(64);
    let ended = CancellationToken::new();
    journal.start(inbox, outlet, Arc::new(FixedClock), ended.drop_guard()).unwrap();
    running.tasks.spawn(async move {
        while let Some(submission) = engine.recv().await {
            assert!(submission.position.is_some());
            submission.reply.send(accepted()).ok();
        }
    });
    (running, stats)
}

fn request(schema_bytes: usize) -> ExportTraceServiceRequest {
    let resource = ResourceSpans { schema_url: "x".repeat(schema_bytes), ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }
}

/// Guarantees: as soon as the sender has its answer, another process finds the request as it was sent, protobuf and
/// JSON alike.
#[tokio::test]
async fn an_answered_request_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (running, _) = start(folder.path()).await;
    let mut client = TraceServiceClient::connect(format!("http://{}", running.grpc())).await.unwrap();
    client.export(request(10)).await.unwrap();
    let text = r#"{"resourceLogs":[]}"#;
    let json = send(running.http(), post("/v1/logs", &[JSON], text)).await;
    assert_eq!(json.status, 200);
    // The files as they are now, for the journal in use is locked.
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let frames: Vec<Recovered> = Journal::open(config(copy.path()))
        .unwrap()
        .recovery(Position(0))
        .map(|frame| frame.unwrap())
        .collect();
    let frame = |position, signal, encoding, body| Recovered {
        position: Position(position),
        signal,
        encoding,
        observed: NOW,
        body,
    };
    let expected = [
        frame(0, SignalKind::Traces, Encoding::Protobuf, request(10).encode_to_vec()),
        frame(1, SignalKind::Logs, Encoding::Json, text.as_bytes().to_vec()),
    ];
    assert_eq!(frames, expected);
}

/// Guarantees: UNAVAILABLE with RetryInfo, 503 with Retry-After, and both are counted.
#[tokio::test]
async fn a_full_journal_asks_senders_to_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let (running, stats) = start(folder.path()).await;
    let mut client = TraceServiceClient::connect(format!("http://{}", running.grpc())).await.unwrap();
    for _ in 0..2 {
        client.export(request(900)).await.unwrap();
    }
    let status = client.export(request(900)).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "the journal is full; retry later"));
    assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(RETRY_AFTER));
    let http = send(running.http(), post("/v1/traces", &[PROTOBUF], request(900).encode_to_vec())).await;
    assert_eq!((http.status.as_u16(), http.header("retry-after")), (503, "3"));
    assert_eq!(stats.refusals(Unstored::Budget), 2);
    for transport in [Transport::Grpc, Transport::Http] {
        assert_eq!(running.stats.lane(transport, SignalKind::Traces).requests_refused.get(), 1);
    }
    assert_eq!(running.stats.admission().bytes_in_flight(), 0);
}
