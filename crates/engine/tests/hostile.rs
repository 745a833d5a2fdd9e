//! Hostile input through the real door, the real decoder and the real engine: every malformed body gets the answer
//! the specification asks for, memory stays within its budget, and the next good batch is taken.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use selvedge_engine::{Engine, EngineConfig, Pipeline, RuleSet, Snapshot};
use selvedge_model::{Fate, ObservedTime, SignalKind, SteadyTime};
use selvedge_receive::{Clock, OtlpSection, ReceiveConfig, Receivers};
use selvedge_testkit::field;
use tokio_util::sync::CancellationToken;

/// A fixed moment in late 2026, in nanoseconds.
const NOW: u64 = 1_795_467_355_000_000_000;
/// A body of this size after decompression is one too large (20 MiB and a bit).
const TOO_LARGE: usize = (20 << 20) + 1;
/// What the process may grow by while it is fed hostile bodies: the largest body, decompressed, a few times over.
const GROWTH_MAX_BYTES: u64 = 200 << 20;

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> ObservedTime {
        ObservedTime(NOW)
    }

    fn steady(&self) -> SteadyTime {
        SteadyTime(NOW)
    }
}

/// One hostile request and the answer it must get.
struct Case {
    name: &'static str,
    path: &'static str,
    content_type: &'static str,
    encoding: Option<&'static str>,
    body: Vec<u8>,
    status: u16,
}

fn case(name: &'static str, content_type: &'static str, body: Vec<u8>, status: u16) -> Case {
    Case { name, path: "/v1/traces", content_type, encoding: None, body, status }
}

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// A request with one good span.
fn good_span(trace: u8) -> Vec<u8> {
    let mut span = field(1, &[trace; 16]);
    span.extend(field(2, &[trace; 8]));
    span.extend(field(5, b"GET /"));
    span.extend([0x30, 2]);
    for number in [7_u8, 8] {
        span.push(number << 3 | 1);
        span.extend(NOW.to_le_bytes());
    }
    let service = [field(1, b"service.name"), field(2, &field(1, b"ledger"))].concat();
    let resource = field(1, &field(1, &service));
    field(1, &[resource, field(2, &field(2, &span))].concat())
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// An array in an array in an array, as one attribute value, `depth` deep.
fn nested(depth: usize) -> Vec<u8> {
    let mut value = field(1, b"x");
    for _ in 0..depth {
        value = field(5, &field(1, &value));
    }
    let attribute = field(9, &[field(1, b"deep"), field(2, &value)].concat());
    field(1, &field(2, &field(2, &attribute)))
}

fn cases() -> Vec<Case> {
    let mut truncated = good_span(1);
    truncated.truncate(truncated.len() - 3);
    let mut cases = vec![
        case("random bytes", PROTOBUF, b"\xde\xad\xbe\xef this is no message".to_vec(), 400),
        case("truncated", PROTOBUF, truncated, 400),
        case("a varint without end", PROTOBUF, vec![0xff; 64], 400),
        case("a length past the end", PROTOBUF, vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], 400),
        case("a length of 2^63", PROTOBUF, [vec![0x0a], vec![0xff; 8], vec![0x7f]].concat(), 400),
        case("groups in groups", PROTOBUF, vec![0x0b; 100_000], 400),
        case("an attribute 10,000 arrays deep", PROTOBUF, nested(10_000), 200),
        case("half a JSON document", JSON, br#"{"resourceSpans":[{"#.to_vec(), 400),
        case("JSON of another shape", JSON, br#"{"resourceSpans": 7}"#.to_vec(), 400),
        case("100,000 brackets", JSON, vec![b'['; 100_000], 400),
        case("JSON that is not UTF-8", JSON, b"{\"resourceSpans\":\"\xff\xfe\"}".to_vec(), 400),
        case("an unknown content type", "text/plain", b"hello".to_vec(), 415),
        case("too large", PROTOBUF, vec![0; TOO_LARGE], 413),
        case("empty", PROTOBUF, Vec::new(), 200),
        case("an empty document", JSON, b"{}".to_vec(), 200),
    ];
    cases.push(Case {
        encoding: Some("gzip"),
        ..case("a gzip bomb", PROTOBUF, gzip(&vec![0; TOO_LARGE]), 413)
    });
    cases.push(Case {
        encoding: Some("gzip"),
        ..case("broken gzip", PROTOBUF, b"\x1f\x8b\x08nope".to_vec(), 400)
    });
    cases.push(Case { encoding: Some("lzma"), ..case("an unknown encoding", PROTOBUF, vec![1], 415) });
    cases.push(Case { path: "/v1/nothing", ..case("an unknown path", PROTOBUF, Vec::new(), 404) });
    cases
}

/// Sends one HTTP/1.1 request; the status and the body of the answer.
fn post(address: SocketAddr, case: &Case) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let encoding = case.encoding.map(|name| format!("content-encoding: {name}\r\n")).unwrap_or_default();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {}\r\n{encoding}content-length: {}\r\nconnection: close\r\n\r\n",
        case.path,
        case.content_type,
        case.body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The server may answer and close before it has taken all of a body that is too large.
    drop(stream.write_all(&case.body));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map_or(Vec::new(), |(_, body)| body.as_bytes().to_vec());
    (status, body)
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1_024
}

/// Sends everything, one after the other; what went wrong.
fn attack(address: SocketAddr) -> Vec<String> {
    let mut wrong = Vec::new();
    let before = resident_bytes();
    for (number, case) in cases().iter().enumerate() {
        let (status, body) = post(address, case);
        if status != case.status {
            wrong.push(format!(
                "{}: {status}, expected {}: {}",
                case.name,
                case.status,
                String::from_utf8_lossy(&body)
            ));
        }
        let good = Case {
            status: 200,
            ..self::case("good", PROTOBUF, good_span(u8::try_from(number).unwrap() + 1), 200)
        };
        if post(address, &good).0 != 200 {
            wrong.push(format!("a good batch after `{}` was refused", case.name));
        }
    }
    let grown = resident_bytes().saturating_sub(before);
    if grown > GROWTH_MAX_BYTES {
        wrong.push(format!("memory grew by {grown} bytes"));
    }
    wrong
}

fn serve_and(attack: fn(SocketAddr) -> Vec<String>) -> (Vec<String>, Arc<Snapshot>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut config = ReceiveConfig::try_from(OtlpSection::default()).unwrap();
        config.grpc = None;
        config.http.as_mut().unwrap().listen.address.set_port(0);
        let (submissions, inbox) = tokio::sync::mpsc::channel(64);
        let receivers = Receivers::bind(config, Arc::new(FixedClock), submissions).await.unwrap();
        let address = receivers.addresses().http.unwrap();
        let engine = Engine::new(Pipeline::new(&EngineConfig::default(), RuleSet::shipped()), 100);
        let view = engine.view();
        let done = CancellationToken::new();
        let client = tokio::task::spawn_blocking({
            let done = done.clone();
            move || {
                let wrong = attack(address);
                done.cancel();
                wrong
            }
        });
        let (wrong, (), ()) = tokio::join!(
            client,
            receivers.serve(done),
            selvedge_engine::run(engine, inbox, Arc::new(FixedClock), drop)
        );
        (wrong.unwrap(), view.load_full())
    })
}

#[test]
fn every_hostile_body_gets_its_answer_and_costs_nothing_but_itself() {
    let (wrong, view) = serve_and(attack);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let ledger = &view.stats.ledger;
    assert!(ledger.balanced(), "{ledger:?}");
    assert_eq!(ledger.count(SignalKind::Traces, Fate::Open), 0);
    assert!(view.stats.overloads.iter().any(|overload| overload.limit == "findings_shown"));
    let good = cases().len() as u64;
    assert!(
        ledger.count(SignalKind::Traces, Fate::Joined) + ledger.count(SignalKind::Traces, Fate::Unmatched)
            >= good
    );
}
