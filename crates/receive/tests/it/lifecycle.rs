//! Binding, draining, and the limits on connections.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use selvedge_receive::{ReceiveConfig, Receivers};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::*;

fn endpoint(running: &Running) -> tonic::transport::Endpoint {
    tonic::transport::Endpoint::from_shared(format!("http://{}", running.grpc())).unwrap()
}

fn request() -> ExportTraceServiceRequest {
    ExportTraceServiceRequest { resource_spans: vec![Default::default()] }
}

/// Scenario: shutdown while one request of each receiver waits for the engine and a prober watches health.
/// Guarantees: the watcher hears `NOT_SERVING`, nobody new gets in, both requests are answered, the submissions
/// end, and `serve` returns.
#[tokio::test]
async fn a_drain_answers_what_is_in_flight_and_lets_nobody_new_in() {
    let (running, mut submissions) = start_raw(json!({}), 8).await;
    let (grpc, http) = (running.grpc(), running.http());
    let mut client = TraceServiceClient::new(endpoint(&running).connect().await.unwrap());
    let over_grpc = running.tasks.spawn(async move { client.export(request()).await });
    let first = submissions.recv().await.unwrap();
    let over_http = running.tasks.spawn(async move { send(http, post("/v1/logs", &[PROTOBUF], "x")).await });
    let second = submissions.recv().await.unwrap();
    let mut health = HealthClient::new(endpoint(&running).connect().await.unwrap());
    let mut watch = health.watch(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);

    running.shutdown.cancel();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 2, "NOT_SERVING");
    for address in [grpc, http] {
        assert!(TcpStream::connect(address).await.is_err(), "the socket is closed");
    }
    assert!(!running.serving.is_finished());
    for submission in [first, second] {
        drop(submission.batch);
        submission.reply.send(accepted()).unwrap();
    }
    assert!(over_grpc.await.unwrap().is_ok());
    assert_eq!(over_http.await.unwrap().status, 200);
    assert!(submissions.recv().await.is_none(), "the engine sees the end");
    timeout(PATIENCE, running.serving).await.expect("ends").unwrap();
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let running = start(json!({"drain_timeout": "1h"})).await;
    let silent = TcpStream::connect(running.http()).await.unwrap();
    let stream = TcpStream::connect(running.http()).await.unwrap();
    let (mut kept_alive, connection) =
        hyper::client::conn::http1::handshake::<_, Full<bytes::Bytes>>(TokioIo::new(stream)).await.unwrap();
    let connection = running.tasks.spawn(connection);
    let answer = kept_alive.send_request(post("/v1/logs", &[JSON], "{}")).await.unwrap();
    assert_eq!(answer.status(), 200);
    drop(answer);
    running.shutdown.cancel();
    timeout(PATIENCE, running.serving).await.expect("ends").unwrap();
    connection.await.unwrap().unwrap();
    drop(silent);
}

#[tokio::test]
async fn an_engine_that_does_not_answer_is_waited_for_no_longer_than_configured() {
    let (running, mut submissions) = start_raw(json!({"drain_timeout": "50ms"}), 8).await;
    let mut client = TraceServiceClient::new(endpoint(&running).connect().await.unwrap());
    let sending = running.tasks.spawn(async move { client.export(request()).await });
    let held = submissions.recv().await.unwrap();
    running.shutdown.cancel();
    timeout(PATIENCE, running.serving).await.expect("ends").unwrap();
    assert!(sending.await.unwrap().is_err());
    assert!(submissions.recv().await.is_none(), "no task is left that could submit");
    drop(held);
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it() {
    let running = start(json!({})).await;
    for (protocol, address) in [("grpc", running.grpc()), ("http", running.http())] {
        let section = serde_json::from_value::<selvedge_receive::OtlpSection>(
            json!({"protocols": {protocol: {"endpoint": address.to_string()}}}),
        );
        let config = ReceiveConfig::try_from(section.unwrap()).unwrap();
        let (sender, _receiver) = mpsc::channel(1);
        let error = Receivers::bind(config, Arc::new(FixedClock), sender).await.err().unwrap().to_string();
        assert!(error.contains(&format!("{address} (OTLP/")), "{error}");
        assert!(error.contains(&format!("sport = :{}", address.port())), "{error}");
        assert!(error.contains(&format!("receivers.otlp.protocols.{protocol}.endpoint")), "{error}");
    }
}

#[tokio::test]
async fn a_reserved_port_lets_nobody_in_until_it_listens() {
    let any = json!({"endpoint": "127.0.0.1:0"});
    let section = json!({"protocols": {"grpc": any, "http": any}});
    let section = serde_json::from_value::<selvedge_receive::OtlpSection>(section).unwrap();
    let (sender, _receiver) = mpsc::channel(1);
    let config = ReceiveConfig::try_from(section).unwrap();
    let reserved = Receivers::reserve(config, Arc::new(FixedClock), sender).await.unwrap();
    let addresses = reserved.addresses();
    let (grpc, http) = (addresses.grpc.unwrap(), addresses.http.unwrap());
    for address in [grpc, http] {
        let refused = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }
    let listening = reserved.listen().unwrap();
    assert_eq!(listening.addresses(), addresses);
    for address in [grpc, http] {
        TcpStream::connect(address).await.unwrap();
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let running = start(json!({"connections_max": 1})).await;
    let first = TcpStream::connect(running.http()).await.unwrap();
    until(|| running.stats.connections_accepted.get() == 1).await;
    let mut second = TcpStream::connect(running.http()).await.unwrap();
    let read = timeout(PATIENCE, second.read(&mut [0; 1])).await.expect("closed in time");
    assert!(matches!(read, Ok(0) | Err(_)));
    assert_eq!(running.stats.connections_refused.get(), 1);
    drop(first);
    let stats = Arc::clone(&running.stats);
    let address = running.http();
    // The place is free again once the server has noticed.
    loop {
        let mut third = TcpStream::connect(address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut third, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.ok();
        if matches!(timeout(PATIENCE, third.read(&mut [0; 1])).await.expect("in time"), Ok(1)) {
            break;
        }
    }
    assert_eq!(stats.connections_accepted.get(), 2);
}

#[tokio::test]
async fn a_connection_that_is_old_enough_is_asked_to_go() {
    let age = json!({"max_connection_age": "20ms", "max_connection_age_grace": "10s"});
    let running = start(json!({"protocols": {"grpc": {"keepalive": {"server_parameters": age}}}})).await;
    let stream = TcpStream::connect(running.grpc()).await.unwrap();
    let (sender, connection) = hyper::client::conn::http2::handshake::<_, _, Full<bytes::Bytes>>(
        TokioExecutor::new(),
        TokioIo::new(stream),
    )
    .await
    .unwrap();
    timeout(PATIENCE, connection).await.expect("the server ends it").unwrap();
    drop(sender);
}

#[tokio::test]
async fn a_connection_past_its_grace_is_closed() {
    let age = json!({"max_connection_age": "1ms", "max_connection_age_grace": "1ms"});
    let extra = json!({"protocols": {"grpc": {"keepalive": {"server_parameters": age}}}});
    let (running, mut submissions) = start_raw(extra, 8).await;
    let channel = endpoint(&running).connect().await.unwrap();
    let mut client = TraceServiceClient::new(channel);
    let sending = running.tasks.spawn(async move { client.export(request()).await });
    let held = timeout(Duration::from_secs(1), submissions.recv()).await;
    assert!(timeout(PATIENCE, sending).await.expect("cut off").unwrap().is_err());
    drop(held);
}
