//! Peers that mean harm by the way they speak, not by what they say: floods of headers, frames and resets, and connections
//! that begin something and do not go on. Each costs itself, a bounded time and bounded memory.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{PROTOBUF, Running, post, send, start};

/// Bytes that a peer may send of a flood before it is cut off.
const FLOOD_BYTES_MAX: usize = 64 << 20;
/// What the process may grow by during all floods.
const GROWTH_BYTES_MAX: u64 = 96 << 20;

/// What an HTTP/2 client begins with: the preface and empty settings.
const BEGINNING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
/// POST http /, authority `x`, in HPACK.
const BLOCK: &[u8] = &[0x83, 0x86, 0x84, 0x41, 0x01, b'x'];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Sends the same again and again, reading nothing; how many bytes it took until the server would have no more of it.
async fn pour(address: SocketAddr, beginning: &[u8], mut drop_by_drop: impl FnMut(u32) -> Vec<u8>) -> usize {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(beginning).await.unwrap();
    let mut sent = 0;
    for number in 0.. {
        let drop = drop_by_drop(number);
        // A server that does not read on has had enough, too: what waits is in the kernel's buffers.
        match timeout(Duration::from_secs(2), stream.write_all(&drop)).await {
            Ok(Ok(())) => sent += drop.len(),
            Ok(Err(_)) | Err(_) => break,
        }
        if sent > FLOOD_BYTES_MAX {
            break;
        }
    }
    sent
}

async fn a_good_request_is_answered(running: &Running, after: &str) {
    let answer = send(running.http(), post("/v1/traces", &[PROTOBUF], "telemetry")).await;
    assert_eq!(answer.status, 200, "after {after}");
    assert_eq!(running.stats.admission().bytes_in_flight(), 0, "after {after}");
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

/// Guarantees: a head of any form is bounded; the peer is told (431) or cut off, and nobody else notices.
#[tokio::test]
async fn heads_without_end_are_cut_off() {
    let running = start(json!({})).await;
    let line = [b"x-".to_vec(), vec![b'a'; 1_000], b": 1\r\n".to_vec()].concat();
    let request = b"POST /v1/traces HTTP/1.1\r\nhost: x\r\n";
    for address in [running.http(), running.grpc()] {
        let many = pour(address, request, |_| line.clone()).await;
        let long = pour(address, b"POST /v1/traces HTTP/1.1\r\nx: ", |_| vec![b'a'; 4096]).await;
        let target = pour(address, b"POST /", |_| vec![b'a'; 4096]).await;
        // A head of many blocks, none of which is the last (CVE-2024-27316 and its kin).
        let first = [BEGINNING, &frame(HEADERS, 0, 1, BLOCK)].concat();
        let field = [&[0, 7][..], b"x-flood", &[0x7f, 0x80, 0x01], &[b'a'; 255]].concat();
        let blocks = pour(address, &first, |_| frame(CONTINUATION, 0, 1, &field)).await;
        let empty = pour(address, &first, |_| frame(CONTINUATION, 0, 1, &[])).await;
        for (name, sent) in
            [("many", many), ("long", long), ("target", target), ("blocks", blocks), ("empty", empty)]
        {
            assert!(sent < FLOOD_BYTES_MAX / 4, "{name} at {address}: {sent} bytes were taken");
        }
        a_good_request_is_answered(&running, "heads").await;
    }
}

/// Guarantees: streams that are opened and reset at once (CVE-2023-44487) end their connection.
#[tokio::test]
async fn streams_that_are_reset_at_once_end_their_connection() {
    let running = start(json!({})).await;
    let opened_and_reset = |number: u32| {
        let stream = number * 2 + 1;
        let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        [frame(HEADERS, END_HEADERS, stream, BLOCK), reset].concat()
    };
    for address in [running.http(), running.grpc()] {
        let sent = pour(address, BEGINNING, opened_and_reset).await;
        assert!(sent < FLOOD_BYTES_MAX / 4, "{sent} bytes were taken");
        a_good_request_is_answered(&running, "resets").await;
    }
}

/// Scenario: frames that want an answer each, to a peer that reads none.
/// Guarantees: no answer is kept that the peer does not take: memory stays, others are served meanwhile.
#[tokio::test]
async fn frames_that_want_answers_cost_no_memory() {
    let running = start(json!({})).await;
    a_good_request_is_answered(&running, "nothing").await;
    let before = resident_bytes();
    for address in [running.http(), running.grpc()] {
        for (name, one) in
            [("ping", frame(PING, 0, 0, &[7; 8])), ("settings", frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 1, 0]))]
        {
            let thousand = one.repeat(1_000);
            pour(address, BEGINNING, |_| thousand.clone()).await;
            a_good_request_is_answered(&running, name).await;
        }
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "memory grew by {grown} bytes");
}

/// Scenario: a peer that opens no window, so that no answer can be sent to it.
/// Guarantees: its requests are in nobody's way: nothing stays in flight, and its streams are bounded.
#[tokio::test]
async fn answers_that_nobody_takes_hold_nothing() {
    let running = start(json!({"protocols": {"grpc": {"max_concurrent_streams": 10}}})).await;
    let closed_window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let grpc = |number: u32| {
        let path = b"/opentelemetry.proto.collector.trace.v1.TraceService/Export";
        let path = [&[0x44, u8::try_from(path.len()).unwrap()], &path[..]].concat();
        let kind = [&[0x5f, 16][..], b"application/grpc"].concat();
        let block = [&[0x83, 0x86], &path[..], &[0x41, 1, b'x'], &kind].concat();
        let message = frame(0, 1, number * 2 + 1, &[0, 0, 0, 0, 1, b'x']);
        [frame(HEADERS, END_HEADERS, number * 2 + 1, &block), message].concat()
    };
    let mut stream = TcpStream::connect(running.grpc()).await.unwrap();
    stream.write_all(&[BEGINNING, &closed_window].concat()).await.unwrap();
    for number in 0..50 {
        stream.write_all(&grpc(number)).await.unwrap();
    }
    crate::harness::until(|| running.seen().len() >= 10).await;
    a_good_request_is_answered(&running, "closed windows").await;
    assert!(running.seen().len() <= 11, "streams that cannot be answered count until they are");
    drop(stream);
    a_good_request_is_answered(&running, "all").await;
}

/// Scenario: peers that begin and do not go on, by a clock that runs ahead whenever all wait.
/// Guarantees: each loses its connection in bounded time, and what it had announced is not in flight any more.
#[tokio::test(start_paused = true)]
async fn connections_that_do_not_go_on_are_closed() {
    let running = start(json!({})).await;
    let announced = b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: 9000000\r\n\r\nbegun";
    let table: [(&str, &[u8]); 6] = [
        ("nothing", b""),
        ("half a request line", b"POST /v1/tr"),
        ("half a head", b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-"),
        ("half a preface", &BEGINNING[..20]),
        ("a whole preface", &BEGINNING[..24]),
        ("half a body", announced),
    ];
    for address in [running.http(), running.grpc()] {
        for (name, bytes) in table {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            let began = tokio::time::Instant::now();
            let mut answer = Vec::new();
            let closed = timeout(Duration::from_secs(300), stream.read_to_end(&mut answer)).await;
            assert!(closed.is_ok(), "{name} at {address} is still open after {:?}", began.elapsed());
            assert_eq!(running.stats.admission().bytes_in_flight(), 0, "{name}");
        }
    }
}
