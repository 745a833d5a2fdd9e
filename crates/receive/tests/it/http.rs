//! OTLP/HTTP, row by row of the specification.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use prost::Message;
use selvedge_model::SignalKind;
use selvedge_receive::{Encoding, Receipt, Transport};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::*;

const GZIP: (&str, &str) = ("content-encoding", "gzip");
const ZSTD: (&str, &str) = ("content-encoding", "zstd");

#[tokio::test]
async fn each_path_hands_over_its_signal_as_it_was_sent_and_answers_in_kind() {
    let running = start(json!({})).await;
    for (path, signal) in [
        ("/v1/traces", SignalKind::Traces),
        ("/v1/metrics", SignalKind::Metrics),
        ("/v1/logs", SignalKind::Logs),
    ] {
        for (content_type, encoding, expected) in
            [(PROTOBUF, Encoding::Protobuf, ""), (JSON, Encoding::Json, "{}")]
        {
            let answer = send(running.http(), post(path, &[content_type], "telemetry")).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("content-type"), content_type.1);
            assert_eq!(answer.body, expected, "partial_success stays unset");
            let seen = running.seen().pop().unwrap();
            assert_eq!(seen, Seen { signal, encoding, body: "telemetry".into(), observed: NOW });
        }
        let lane = running.stats.lane(Transport::Http, signal);
        assert_eq!((lane.requests_accepted.get(), lane.bytes_body.get()), (2, 18));
    }
    assert_eq!(running.stats.admission().bytes_in_flight(), 0);
}

#[tokio::test]
async fn http_2_with_prior_knowledge_works_on_the_same_port() {
    let running = start(json!({})).await;
    let answer = send_h2(running.http(), post("/v1/logs", &[JSON], "{\"resourceLogs\":[]}")).await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"{}"[..]));
}

#[tokio::test]
async fn compressed_bodies_arrive_decompressed() {
    let running = start(json!({})).await;
    let plain = Bytes::from(vec![b'x'; 300_000]);
    for (header, body) in
        [(GZIP, gzip(&plain)), (ZSTD, zstd(&plain)), (("content-encoding", "identity"), plain.clone())]
    {
        let wire = body.len();
        let before = running.stats.lane(Transport::Http, SignalKind::Traces).bytes_wire.get();
        let answer = send(running.http(), post("/v1/traces", &[PROTOBUF, header], body)).await;
        assert_eq!(answer.status, 200, "{header:?}");
        assert!(running.seen().pop().unwrap().body == plain, "{header:?}");
        let after = running.stats.lane(Transport::Http, SignalKind::Traces).bytes_wire.get();
        assert_eq!(after - before, wire as u64);
    }
    assert_eq!(running.stats.admission().bytes_in_flight(), 0);
}

#[tokio::test]
async fn an_empty_request_succeeds_without_troubling_the_engine() {
    let running = start(json!({})).await;
    for headers in [vec![PROTOBUF], vec![JSON], vec![PROTOBUF, GZIP], vec![PROTOBUF, ZSTD]] {
        let answer = send(running.http(), post("/v1/traces", &headers, "")).await;
        assert_eq!(answer.status, 200, "{headers:?}");
    }
    let packed_nothing = send(running.http(), post("/v1/traces", &[PROTOBUF, GZIP], gzip(b""))).await;
    assert_eq!(packed_nothing.status, 200);
    assert!(running.seen().is_empty());
}

/// Scenario: every kind of request that is not a good one, each followed by a good one.
/// Guarantees: the specified answer in the request's own content type, nothing left in flight, and no harm done to
/// what comes after.
#[tokio::test]
async fn every_hostile_request_gets_the_specified_answer_and_the_next_good_one_is_accepted() {
    let running = start_with(json!({"protocols": {"http": {"max_request_body_size": 100_000}}}), |batch| {
        if batch.body.starts_with(b"bad") {
            Receipt::Malformed { message: "not an export request".to_owned() }
        } else {
            accepted()
        }
    })
    .await;
    let big = vec![b'x'; 100_001];
    let bomb = vec![0_u8; 8 << 20];
    let cut = |bytes: Bytes| bytes.slice(..bytes.len() - 3);
    let table: Vec<(&str, u16, Headers, Bytes)> = vec![
        ("largest allowed", 200, vec![PROTOBUF], big[1..].to_vec().into()),
        ("one byte too many", 413, vec![PROTOBUF], big.clone().into()),
        ("one byte too many, json", 413, vec![JSON], big.clone().into()),
        ("too many after gzip", 413, vec![PROTOBUF, GZIP], gzip(&big)),
        ("too many after zstd", 413, vec![JSON, ZSTD], zstd(&big)),
        ("gzip bomb", 413, vec![PROTOBUF, GZIP], gzip(&bomb)),
        ("zstd bomb", 413, vec![PROTOBUF, ZSTD], zstd(&bomb)),
        ("malformed", 400, vec![PROTOBUF], "bad".into()),
        ("malformed json", 400, vec![JSON], "bad".into()),
        ("gzip cut short", 400, vec![PROTOBUF, GZIP], cut(gzip(b"telemetry"))),
        ("zstd cut short", 400, vec![PROTOBUF, ZSTD], cut(zstd(b"telemetry"))),
        ("not gzip at all", 400, vec![JSON, GZIP], "telemetry".into()),
        ("not zstd at all", 400, vec![JSON, ZSTD], "telemetry".into()),
        ("gzip called zstd", 400, vec![PROTOBUF, ZSTD], gzip(b"telemetry")),
        ("no content type", 415, vec![], "telemetry".into()),
        ("text", 415, vec![("content-type", "text/plain")], "telemetry".into()),
        ("grpc", 415, vec![("content-type", "application/grpc")], "telemetry".into()),
        ("content type is not text", 415, vec![("content-type", "\u{e4}")], "telemetry".into()),
        ("snappy", 415, vec![PROTOBUF, ("content-encoding", "snappy")], "telemetry".into()),
        ("two encodings", 415, vec![PROTOBUF, ("content-encoding", "gzip, zstd")], "telemetry".into()),
        ("two encoding headers", 415, vec![PROTOBUF, GZIP, ZSTD], "telemetry".into()),
        ("charset", 200, vec![("content-type", "application/json; charset=utf-8")], "{}".into()),
        ("upper case", 200, vec![("content-type", "Application/X-Protobuf")], "telemetry".into()),
    ];
    for (name, expected, headers, body) in table {
        let answer = send(running.http(), post("/v1/traces", &headers, body)).await;
        assert_eq!(answer.status, expected, "{name}: {answer:?}");
        if expected != 200 {
            let code = if headers.contains(&PROTOBUF) {
                answer.rpc_status().code
            } else {
                i32::try_from(answer.json()["code"].as_i64().unwrap()).unwrap()
            };
            let code_expected = match expected {
                400 => vec![3],
                413 => vec![8],
                _ => vec![3, 12],
            };
            assert!(code_expected.contains(&code), "{name}: {code}");
            assert_eq!(answer.header("retry-after"), "", "{name} is permanent");
        }
        assert_eq!(running.stats.admission().bytes_in_flight(), 0, "{name}");
        let next = send(running.http(), post("/v1/traces", &[PROTOBUF], "telemetry")).await;
        assert_eq!(next.status, 200, "after {name}");
    }
    let lane = running.stats.lane(Transport::Http, SignalKind::Traces);
    assert_eq!(lane.requests_failed.get(), 20);
    assert_eq!(lane.requests_accepted.get(), 23 + 3);
    assert_eq!(lane.requests_abandoned.get() + lane.requests_refused.get(), 0);
}

#[tokio::test]
async fn malformed_data_is_described_as_a_bad_request() {
    let running =
        start_with(json!({}), |_| Receipt::Malformed { message: "field 1 is cut short".to_owned() }).await;
    let answer = send(running.http(), post("/v1/logs", &[PROTOBUF], "x")).await;
    let status = answer.rpc_status();
    assert_eq!(
        (answer.status.as_u16(), status.code, status.message.as_str()),
        (400, 3, "field 1 is cut short")
    );
    assert_eq!(status.details[0].type_url, "type.googleapis.com/google.rpc.BadRequest");
    let answer = send(running.http(), post("/v1/logs", &[JSON], "x")).await;
    assert_eq!(answer.json()["details"][0]["fieldViolations"][0]["description"], "field 1 is cut short");
}

#[tokio::test]
async fn partial_success_says_how_many_were_rejected_and_why() {
    let running =
        start_with(json!({}), |_| Receipt::Accepted { rejected: 2, message: "no time".to_owned() }).await;
    let answer = send(running.http(), post("/v1/traces", &[JSON], "x")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), json!({"partialSuccess": {"rejectedSpans": "2", "errorMessage": "no time"}}));
    let answer = send(running.http(), post("/v1/logs", &[PROTOBUF], "x")).await;
    let partial = ExportLogsServiceResponse::decode(answer.body).unwrap().partial_success.unwrap();
    assert_eq!((partial.rejected_log_records, partial.error_message.as_str()), (2, "no time"));
    assert_eq!(running.stats.lane(Transport::Http, SignalKind::Logs).items_rejected.get(), 2);
}

#[tokio::test]
async fn overload_is_503_with_the_seconds_to_wait_rounded_up() {
    let retry_after = Duration::from_millis(1500);
    let running = start_with(json!({}), move |_| Receipt::Overloaded { retry_after }).await;
    let answer = send(running.http(), post("/v1/traces", &[JSON], "x")).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "2"));
    assert_eq!(answer.json()["code"], 14);
    assert_eq!(answer.json()["details"][0]["retryDelay"], "1.5s");
    let answer = send(running.http(), post("/v1/traces", &[PROTOBUF], "x")).await;
    assert_eq!(answer.rpc_status().details[0].type_url, "type.googleapis.com/google.rpc.RetryInfo");
    assert_eq!(running.stats.lane(Transport::Http, SignalKind::Traces).requests_refused.get(), 2);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_an_engine_that_is_gone_says_later() {
    let (running, mut submissions) = start_raw(json!({}), 1).await;
    let address = running.http();
    let waiting =
        running.tasks.spawn(async move { send(address, post("/v1/traces", &[PROTOBUF], "first")).await });
    until(|| submissions.len() == 1).await;
    let refused = send(address, post("/v1/traces", &[PROTOBUF], "second")).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "1"));
    let first = submissions.recv().await.unwrap();
    drop(first.batch);
    first.reply.send(accepted()).unwrap();
    assert_eq!(waiting.await.unwrap().status, 200);
    drop(submissions);
    assert_eq!(send(address, post("/v1/traces", &[PROTOBUF], "third")).await.status, 503);
}

#[tokio::test]
async fn bytes_are_in_flight_until_the_batch_is_dropped_and_beyond_the_limit_senders_must_wait() {
    let extra = json!({"bytes_in_flight_max": (2 << 20) + 1, "protocols": {
        "http": {"max_request_body_size": 1 << 20}, "grpc": {"max_recv_msg_size_mib": 1}}});
    let (running, mut submissions) = start_raw(extra, 8).await;
    let address = running.http();
    let mut held = Vec::new();
    for _ in 0..2 {
        let body = vec![b'x'; 1_000_000];
        let sending =
            running.tasks.spawn(async move { send(address, post("/v1/traces", &[PROTOBUF], body)).await });
        held.push((submissions.recv().await.unwrap(), sending));
    }
    assert_eq!(running.stats.admission().bytes_in_flight(), 2_000_000);
    let refused = send(address, post("/v1/traces", &[PROTOBUF], vec![b'x'; 1_000_000])).await;
    assert_eq!(refused.status, 503);
    let packed = send(address, post("/v1/traces", &[PROTOBUF, GZIP], gzip(&vec![b'x'; 1_000_000]))).await;
    assert_eq!(packed.status, 503, "what it would be decompressed counts too");
    for (submission, sending) in held {
        submission.reply.send(accepted()).unwrap();
        assert_eq!(sending.await.unwrap().status, 200);
        drop(submission.batch);
    }
    assert_eq!(running.stats.admission().bytes_in_flight(), 0);
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_refused_before_it_is_sent() {
    let running = start(json!({})).await;
    let mut stream = TcpStream::connect(running.http()).await.unwrap();
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                expect: 100-continue\r\ncontent-length: 99999999999\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn a_body_of_unannounced_length_is_bounded_as_it_comes() {
    let running = start(json!({"protocols": {"http": {"max_request_body_size": 10}}})).await;
    for (chunk, expected) in
        [("a\r\n0123456789\r\n0\r\n\r\n", "200"), ("b\r\n01234567890\r\n0\r\n\r\n", "413")]
    {
        let mut stream = TcpStream::connect(running.http()).await.unwrap();
        let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                    transfer-encoding: chunked\r\n\r\n";
        stream.write_all(format!("{head}{chunk}").as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer[9..], expected.as_bytes());
    }
    assert_eq!(running.stats.admission().bytes_in_flight(), 0);
}

#[tokio::test]
async fn a_sender_that_goes_away_leaves_nothing_in_flight() {
    let running = start(json!({})).await;
    let mut stream = TcpStream::connect(running.http()).await.unwrap();
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    until(|| running.stats.admission().bytes_in_flight() == 1000).await;
    drop(stream);
    until(|| running.stats.admission().bytes_in_flight() == 0).await;
    assert!(running.seen().is_empty());
}

#[tokio::test]
async fn other_methods_and_paths_are_answered_with_what_would_work() {
    let running = start(json!({"protocols": {"http": {"traces_url_path": "/otlp/traces"}}})).await;
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let request = Request::builder().method(method.clone()).uri("/v1/logs").header("host", "x");
        let answer = send(running.http(), request.body(Full::default()).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "POST"), "{method}");
        assert_eq!(answer.json()["code"], 12);
    }
    for path in ["/", "/v1/traces", "/v1/logs/", "/v1development/profiles"] {
        let answer = send(running.http(), post(path, &[PROTOBUF], "x")).await;
        assert_eq!((answer.status.as_u16(), answer.rpc_status().code), (404, 12), "{path}");
    }
    assert_eq!(send(running.http(), post("/otlp/traces", &[PROTOBUF], "x")).await.status, 200);
    let unknown = send(running.http(), post("/v1/logs", &[PROTOBUF, ("content-encoding", "br")], "x")).await;
    assert_eq!((unknown.status.as_u16(), unknown.header("accept-encoding")), (415, "gzip, zstd, identity"));
    assert_eq!(running.stats.requests_unrouted.get(), 4);
}

#[tokio::test]
async fn without_the_token_nothing_is_read() {
    let running = start(json!({"protocols": {"http": {"auth": {"bearer_token": "s3cret"}}}})).await;
    for header in [vec![PROTOBUF], vec![PROTOBUF, ("authorization", "Bearer wrong")]] {
        let answer = send(running.http(), post("/v1/traces", &header, "x")).await;
        assert_eq!((answer.status.as_u16(), answer.header("www-authenticate")), (401, "Bearer"));
        assert_eq!(answer.rpc_status().code, 16);
    }
    let right = [PROTOBUF, ("authorization", "Bearer s3cret")];
    assert_eq!(send(running.http(), post("/v1/traces", &right, "x")).await.status, 200);
    assert_eq!(running.seen().len(), 1);
    assert_eq!(running.stats.requests_unauthenticated.get(), 2);
}

#[tokio::test]
async fn browsers_may_send_from_allowed_origins_only() {
    let cors = json!({"allowed_origins": ["https://shop.example"], "allowed_headers": ["x-team"]});
    let running = start(json!({"protocols": {"http": {"cors": cors}}})).await;
    let preflight = |origin: &str| {
        let request = Request::builder().method(Method::OPTIONS).uri("/v1/traces").header("host", "x");
        request
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .body(Full::default())
            .unwrap()
    };
    let allowed = send(running.http(), preflight("https://shop.example")).await;
    assert_eq!(allowed.status, 204);
    assert_eq!(allowed.header("access-control-allow-origin"), "https://shop.example");
    assert_eq!(allowed.header("access-control-allow-headers"), "content-type, content-encoding, x-team");
    assert_eq!(allowed.header("access-control-max-age"), "7200");
    let other = send(running.http(), preflight("https://elsewhere.example")).await;
    assert_eq!((other.status.as_u16(), other.header("access-control-allow-origin")), (405, ""));
    let sent = post("/v1/traces", &[JSON, ("origin", "https://shop.example")], "{}");
    let sent = send(running.http(), sent).await;
    assert_eq!(
        (sent.status.as_u16(), sent.header("access-control-allow-origin")),
        (200, "https://shop.example")
    );
}
