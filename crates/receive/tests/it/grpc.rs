//! OTLP/gRPC, with generated clients where they can say it and raw HTTP/2 where they cannot.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use selvedge_model::SignalKind;
use selvedge_receive::{Encoding, Receipt, Transport};
use serde_json::json;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use crate::harness::*;

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const GRPC: (&str, &str) = ("content-type", "application/grpc");

async fn channel(running: &Running) -> Channel {
    Endpoint::from_shared(format!("http://{}", running.grpc())).unwrap().connect().await.unwrap()
}

fn spans(names: impl IntoIterator<Item = String>) -> ExportTraceServiceRequest {
    let spans = names.into_iter().map(|name| Span { name, ..Span::default() }).collect();
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }],
    }
}

fn one_span() -> ExportTraceServiceRequest {
    spans(["GET /cart".to_owned()])
}

/// A gRPC message as it goes over the wire.
fn frame(flag: u8, length: usize, message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(flag);
    frame.put_u32(u32::try_from(length).unwrap());
    frame.put_slice(message);
    frame.freeze()
}

fn whole(flag: u8, message: &[u8]) -> Bytes {
    frame(flag, message.len(), message)
}

#[tokio::test]
async fn each_service_hands_over_its_signal_as_it_was_sent() {
    let running = start(json!({})).await;
    let channel = channel(&running).await;
    let response = TraceServiceClient::new(channel.clone()).export(one_span()).await.unwrap();
    assert_eq!(response.into_inner().partial_success, None);
    let log = ExportLogsServiceRequest { resource_logs: vec![Default::default()] };
    LogsServiceClient::new(channel.clone()).export(log.clone()).await.unwrap();
    let metrics = ExportMetricsServiceRequest { resource_metrics: vec![Default::default()] };
    MetricsServiceClient::new(channel).export(metrics.clone()).await.unwrap();
    let expected = [
        (SignalKind::Traces, one_span().encode_to_vec()),
        (SignalKind::Logs, log.encode_to_vec()),
        (SignalKind::Metrics, metrics.encode_to_vec()),
    ];
    let expected = expected.map(|(signal, body)| Seen {
        signal,
        encoding: Encoding::Protobuf,
        body: body.into(),
        observed: NOW,
    });
    assert_eq!(running.seen(), expected);
    assert_eq!(running.stats.lane(Transport::Grpc, SignalKind::Logs).requests_accepted.get(), 1);
    assert_eq!(running.stats.admission().bytes_in_flight(), 0);
}

#[tokio::test]
async fn compressed_messages_and_messages_of_many_frames_arrive_whole() {
    let running = start(json!({})).await;
    let channel = channel(&running).await;
    let large = spans((0..100_000).map(|n| format!("GET /item/{n} {}", "x".repeat(n % 97))));
    let expected = large.encode_to_vec();
    assert!(expected.len() > 5_000_000);
    for encoding in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)] {
        let mut client = TraceServiceClient::new(channel.clone());
        if let Some(encoding) = encoding {
            client = client.send_compressed(encoding);
        }
        client.export(large.clone()).await.unwrap();
        assert!(running.seen().pop().unwrap().body == expected, "{encoding:?}");
    }
    assert_eq!(running.stats.admission().bytes_in_flight(), 0);
}

#[tokio::test]
async fn an_empty_request_succeeds_without_troubling_the_engine() {
    let running = start(json!({})).await;
    let response = TraceServiceClient::new(channel(&running).await).export(spans([])).await;
    assert!(response.is_ok());
    let nothing =
        TraceServiceClient::new(channel(&running).await).export(ExportTraceServiceRequest::default()).await;
    assert_eq!(nothing.unwrap().into_inner().partial_success, None);
    assert_eq!(running.seen().len(), 1, "the first holds an empty resource, the second nothing");
}

#[tokio::test]
async fn partial_success_says_how_many_were_rejected_and_zero_is_a_warning() {
    for rejected in [0, 3] {
        let running =
            start_with(json!({}), move |_| Receipt::Accepted { rejected, message: "look".to_owned() }).await;
        let response = TraceServiceClient::new(channel(&running).await).export(one_span()).await.unwrap();
        let partial = response.into_inner().partial_success.unwrap();
        assert_eq!(
            (partial.rejected_spans, partial.error_message.as_str()),
            (i64::try_from(rejected).unwrap(), "look")
        );
    }
}

#[tokio::test]
async fn overload_is_unavailable_with_the_time_to_wait_and_malformed_is_permanent() {
    let retry_after = Duration::from_millis(1500);
    let running = start_with(json!({}), move |_| Receipt::Overloaded { retry_after }).await;
    let status = TraceServiceClient::new(channel(&running).await).export(one_span()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(retry_after));
    assert_eq!(running.stats.lane(Transport::Grpc, SignalKind::Traces).requests_refused.get(), 1);

    let running =
        start_with(json!({}), |_| Receipt::Malformed { message: "field 1 is cut short".to_owned() }).await;
    let status = TraceServiceClient::new(channel(&running).await).export(one_span()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "field 1 is cut short"));
    assert!(status.get_details_retry_info().is_none());
    assert_eq!(
        status.get_details_bad_request().unwrap().field_violations[0].description,
        "field 1 is cut short"
    );
}

#[tokio::test]
async fn bytes_in_flight_are_counted_from_the_announced_length_over_both_receivers() {
    let extra = json!({"bytes_in_flight_max": (2 << 20) + 1, "protocols": {
        "http": {"max_request_body_size": 1 << 20}, "grpc": {"max_recv_msg_size_mib": 1}}});
    let (running, mut submissions) = start_raw(extra, 8).await;
    let large = spans(["x".repeat(1_000_000)]);
    let mut held = Vec::new();
    for _ in 0..2 {
        let (mut client, large) = (TraceServiceClient::new(channel(&running).await), large.clone());
        let sending = running.tasks.spawn(async move { client.export(large).await });
        held.push((submissions.recv().await.unwrap(), sending));
    }
    let status = TraceServiceClient::new(channel(&running).await).export(large).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.get_details_retry_info().is_some());
    let http = send(running.http(), post("/v1/traces", &[PROTOBUF], vec![b'x'; 1_000_000])).await;
    assert_eq!(http.status, 503);
    for (submission, sending) in held {
        drop(submission.batch);
        submission.reply.send(accepted()).unwrap();
        sending.await.unwrap().unwrap();
    }
    assert_eq!(running.stats.admission().bytes_in_flight(), 0);
}

/// Scenario: every kind of gRPC request that is not a good one, each followed by a good one.
/// Guarantees: the specified status, never one that makes a sender repeat what cannot succeed, nothing left in
/// flight.
#[tokio::test]
async fn every_hostile_message_gets_the_specified_status_and_the_next_good_one_is_accepted() {
    let running = start(json!({"protocols": {"grpc": {"max_recv_msg_size_mib": 1}}})).await;
    let bomb = vec![0_u8; 8 << 20];
    let gzipped = ("grpc-encoding", "gzip");
    let zstded = ("grpc-encoding", "zstd");
    let mib = 1 << 20;
    let table: Vec<(&str, &str, Headers, Bytes)> = vec![
        ("largest allowed", "0", vec![GRPC], whole(0, &vec![1; mib])),
        ("one byte too many", "8", vec![GRPC], whole(0, &vec![1; mib + 1])),
        ("announces 4 GiB", "8", vec![GRPC], frame(0, u32::MAX as usize, b"x")),
        ("gzip bomb", "8", vec![GRPC, gzipped], whole(1, &gzip(&bomb))),
        ("zstd bomb", "8", vec![GRPC, zstded], whole(1, &zstd(&bomb))),
        ("nothing at all", "3", vec![GRPC], Bytes::new()),
        ("half a head", "3", vec![GRPC], Bytes::from_static(&[0, 0])),
        ("shorter than announced", "3", vec![GRPC], frame(0, 100, b"x")),
        ("longer than announced", "3", vec![GRPC], frame(0, 1, b"xx")),
        ("two messages", "3", vec![GRPC], [whole(0, b"x"), whole(0, b"x")].concat().into()),
        ("unknown flag", "3", vec![GRPC], whole(2, b"x")),
        ("compressed without saying how", "3", vec![GRPC], whole(1, &gzip(b"x"))),
        ("not gzip", "3", vec![GRPC, gzipped], whole(1, b"telemetry")),
        ("zstd cut short", "3", vec![GRPC, zstded], whole(1, &zstd(b"telemetry")[..8])),
        ("unknown compression", "12", vec![GRPC, ("grpc-encoding", "snappy")], whole(1, b"x")),
        ("said to be gzip but sent plain", "0", vec![GRPC, gzipped], whole(0, b"x")),
        ("empty", "0", vec![GRPC], whole(0, b"")),
        ("+proto", "0", vec![("content-type", "application/grpc+proto")], whole(0, b"x")),
    ];
    for (name, expected, headers, body) in table {
        let answer = send_h2(running.grpc(), post(TRACES, &headers, body)).await;
        assert_eq!((answer.status.as_u16(), answer.grpc_status()), (200, expected), "{name}: {answer:?}");
        if name == "unknown compression" {
            assert_eq!(answer.header("grpc-accept-encoding"), "gzip, zstd, identity");
        }
        assert_eq!(running.stats.admission().bytes_in_flight(), 0, "{name}");
        let next = send_h2(running.grpc(), post(TRACES, &[GRPC], whole(0, b"x"))).await;
        assert_eq!(next.grpc_status(), "0", "after {name}");
        assert_eq!(ExportLogsServiceResponse::decode(next.body.slice(5..)).unwrap().partial_success, None);
    }
    let lane = running.stats.lane(Transport::Grpc, SignalKind::Traces);
    assert_eq!(lane.requests_failed.get(), 14);
    assert_eq!(lane.requests_accepted.get(), 18 + 4);
}

#[tokio::test]
async fn too_large_is_permanent_to_a_generated_client_too() {
    let running = start(json!({"protocols": {"grpc": {"max_recv_msg_size_mib": 1}}})).await;
    let large = spans(["x".repeat(3 << 20)]);
    for encoding in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)] {
        let mut client = TraceServiceClient::new(channel(&running).await);
        if let Some(encoding) = encoding {
            client = client.send_compressed(encoding);
        }
        let status = client.export(large.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{encoding:?}: {status:?}");
        assert!(status.get_details_retry_info().is_none());
    }
}

#[tokio::test]
async fn what_is_not_served_is_unimplemented_and_what_is_not_grpc_is_told_so() {
    let running = start(json!({})).await;
    for path in
        ["/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export", "/", "/v1/traces"]
    {
        let answer = send_h2(running.grpc(), post(path, &[GRPC], whole(0, b"x"))).await;
        assert_eq!(answer.grpc_status(), "12", "{path}");
    }
    assert_eq!(running.stats.requests_unrouted.get(), 3);
    let other = send_h2(running.grpc(), post(TRACES, &[PROTOBUF], "x")).await;
    assert_eq!(other.status, 415);
    let mixed_up = send(running.grpc(), post("/v1/traces", &[PROTOBUF], "x")).await;
    assert_eq!(mixed_up.status, 400);
    assert!(mixed_up.json()["message"].as_str().unwrap().contains("4318"));
}

#[tokio::test]
async fn without_the_token_exports_are_refused_and_health_still_answers() {
    let running = start(json!({"protocols": {"grpc": {"auth": {"bearer_token": "s3cret"}}}})).await;
    let channel = channel(&running).await;
    let mut client = TraceServiceClient::new(channel.clone());
    let status = client.export(one_span()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let mut request = tonic::Request::new(one_span());
    request.metadata_mut().insert("authorization", "Bearer s3cret".parse().unwrap());
    client.export(request).await.unwrap();
    assert_eq!(running.seen().len(), 1);
    let health =
        HealthClient::new(channel).check(HealthCheckRequest { service: String::new() }).await.unwrap();
    assert_eq!(health.into_inner().status, 1);
}

#[tokio::test]
async fn health_knows_the_whole_and_the_three_services() {
    let running = start(json!({})).await;
    let mut client = HealthClient::new(channel(&running).await);
    for service in [
        "",
        "opentelemetry.proto.collector.trace.v1.TraceService",
        "opentelemetry.proto.collector.metrics.v1.MetricsService",
        "opentelemetry.proto.collector.logs.v1.LogsService",
    ] {
        let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap();
        assert_eq!(answer.into_inner().status, 1, "{service}");
    }
    let unknown = client.check(HealthCheckRequest { service: "weaving".to_owned() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}
