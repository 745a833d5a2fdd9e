//! What the tests of the API share: a server over a judged mesh, and a client that shows every byte.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use selvedge_act::DeliveryLedger;
use selvedge_engine::{Effect, EngineConfig, Pipeline, RawBatch, RuleSet, Snapshot};
use selvedge_model::{ObservedTime, SteadyTime};
use selvedge_query::{SqlConfig, SqlService, StoreConfig};
use selvedge_receive::{Clock, OtlpSection, ReceiveConfig, Receivers};
use selvedge_serve::{Health, QuarantineDoor, ServeAuthSection, ServeConfig, ServeSection, Server, Sources};
use selvedge_testkit::{Refusal, Traffic};
use tokio_util::sync::CancellationToken;

/// Calls of `web` to `ledger` in [`seen`], each way from a refused handshake.
const CALLS: usize = 20;

pub struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> ObservedTime {
        ObservedTime(1)
    }

    fn steady(&self) -> SteadyTime {
        SteadyTime(1)
    }
}

/// An answer, as it came.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        let named = |line: &'_ str| line.split_once(": ").filter(|(key, _)| *key == name).is_some();
        self.head.lines().find(|line| named(line)).map_or("", |line| &line[name.len() + 2..])
    }
}

/// An answer to a GET.
pub fn get(address: SocketAddr, path: &str) -> Answer {
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    exchange(address, &head, &[])
}

/// Sends a request and reads to the end of the connection.
pub fn exchange(address: SocketAddr, head: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: bytes[end + 4..].to_vec() }
}

/// What an engine saw: a refused handshake with a forged certificate, among ordinary calls. With its SQL.
pub fn seen() -> (Snapshot, SqlService) {
    seen_with(SqlConfig::default())
}

pub fn seen_with(limits: SqlConfig) -> (Snapshot, SqlService) {
    let mut traffic = Traffic::seeded(1);
    traffic.repeat(CALLS, "web -> ledger");
    traffic.refuse("ledger", "spiffe://cluster.local/ns/default/sa/web", Refusal::UnknownIssuer);
    traffic.repeat(CALLS, "web -> ledger");
    let config = EngineConfig { record: Some(StoreConfig::default()), ..EngineConfig::default() };
    let (mut pipeline, mut effects) = (Pipeline::new(&config, RuleSet::shipped()), Vec::new());
    for frame in traffic.frames() {
        let encoding = selvedge_engine::Encoding::Protobuf;
        let (observed, steady) = (frame.observed, SteadyTime::recorded(frame.observed));
        let batch = RawBatch { signal: frame.signal, encoding, body: &frame.payload, observed, steady };
        pipeline.ingest(batch, &mut effects).unwrap();
    }
    pipeline.finish(&mut effects);
    let findings = effects.into_iter().filter_map(|effect| match effect {
        Effect::Finding(finding) => Some(*finding),
        Effect::Incident(..) | Effect::Action(..) | Effect::Containment { .. } => None,
    });
    let view = Snapshot {
        incidents: Arc::new(pipeline.incidents().cloned().collect()),
        findings: Arc::new(findings.collect()),
        edges: Arc::new(pipeline.edges()),
        reporters: Arc::new(pipeline.reporters()),
        uncounted: 0,
        quarantines: Arc::default(),
        stats: pipeline.stats(),
    };
    let rows = pipeline.recorded().snapshot().unwrap();
    (view, SqlService::new(rows, limits).unwrap())
}

/// Serves while `ask` runs on a thread of its own.
pub fn serving(
    view: Snapshot,
    sql: Option<SqlService>,
    health: &Arc<Health>,
    ask: impl FnOnce(SocketAddr) + Send + 'static,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let view = Arc::new(ArcSwap::from_pointee(view));
    let sources = Sources { sql, health: Arc::clone(health), ..runtime.block_on(sources(view)) };
    runtime.block_on(serve_while(sources, None, ask));
}

/// A view, and nothing else.
pub async fn sources(view: Arc<ArcSwap<Snapshot>>) -> Sources {
    let mut config = ReceiveConfig::try_from(OtlpSection::default()).unwrap();
    (config.grpc, config.http) = (None, None);
    let (submissions, _inbox) = tokio::sync::mpsc::channel(1);
    let receivers = Receivers::bind(config, Arc::new(FixedClock), submissions).await.unwrap();
    Sources {
        view,
        deliveries: Arc::new(DeliveryLedger::default()),
        received: receivers.stats(),
        quarantines: QuarantineDoor::default(),
        journal: None,
        checkpoints: None,
        xds: None,
        runtimes: vec![("data", tokio::runtime::Handle::current().metrics())],
        kafka: None,
        sql: None,
        health: Arc::new(Health::default()),
        version: "0.0.0",
    }
}

/// Serves sources while `ask` runs on a thread of its own.
pub async fn serve_while(
    sources: Sources,
    auth: Option<ServeAuthSection>,
    ask: impl FnOnce(SocketAddr) + Send + 'static,
) {
    let (endpoint, hosts) = (Some("127.0.0.1:0".to_owned()), vec!["Watch.example".to_owned()]);
    let section = ServeSection { endpoint, hosts, auth, ..ServeSection::default() };
    let server = Server::bind(ServeConfig::try_from(section).unwrap()).await.unwrap();
    let (address, done) = (server.endpoint(), CancellationToken::new());
    let asking = tokio::task::spawn_blocking({
        let done = done.clone();
        move || {
            let _done = done.drop_guard();
            ask(address);
        }
    });
    let (asked, ()) = tokio::join!(asking, server.serve(sources, done));
    asked.unwrap();
}
