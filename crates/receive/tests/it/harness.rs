//! Running receivers with a fake engine, and plain clients for them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use selvedge_model::{ObservedTime, SignalKind, SteadyTime};
use selvedge_receive::{
    Addresses, Batch, Clock, Encoding, OtlpSection, Receipt, ReceiveConfig, ReceiveStats, Receivers,
    Reloader, Submission,
};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Long enough for a slow machine, short enough to notice a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct FixedClock;

pub(crate) const NOW: ObservedTime = ObservedTime(1_700_000_000_000_000_000);

impl Clock for FixedClock {
    fn now(&self) -> ObservedTime {
        NOW
    }

    fn steady(&self) -> SteadyTime {
        SteadyTime(NOW.0)
    }
}

/// What the fake engine saw of a batch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) signal: SignalKind,
    pub(crate) encoding: Encoding,
    pub(crate) body: Bytes,
    pub(crate) observed: ObservedTime,
}

pub(crate) struct Running {
    pub(crate) addresses: Addresses,
    pub(crate) stats: Arc<ReceiveStats>,
    pub(crate) reloader: Reloader,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serving: JoinHandle<()>,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    pub(crate) tasks: TaskTracker,
}

impl Running {
    pub(crate) fn grpc(&self) -> SocketAddr {
        self.addresses.grpc.unwrap()
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.addresses.http.unwrap()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// Both receivers on free ports, with `grpc` and `http` sections and others merged in.
pub(crate) fn section(extra: &Value) -> OtlpSection {
    let mut section = json!({"protocols": {
        "grpc": {"endpoint": "127.0.0.1:0"}, "http": {"endpoint": "127.0.0.1:0"}}});
    merge(&mut section, extra);
    serde_json::from_value(section).unwrap()
}

fn merge(into: &mut Value, extra: &Value) {
    match (into, extra) {
        (Value::Object(into), Value::Object(extra)) => {
            for (key, value) in extra {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, extra) => *into = extra.clone(),
    }
}

/// Receivers whose submissions the test itself answers.
pub(crate) async fn start_raw(extra: Value, queue: usize) -> (Running, mpsc::Receiver<Submission>) {
    let (sender, submissions) = mpsc::channel(queue);
    let config = ReceiveConfig::try_from(section(&extra)).unwrap();
    let receivers = Receivers::bind(config, Arc::new(FixedClock), sender).await.unwrap();
    let shutdown = CancellationToken::new();
    let tasks = TaskTracker::new();
    let running = Running {
        addresses: receivers.addresses(),
        stats: receivers.stats(),
        reloader: receivers.reloader(),
        serving: tasks.spawn(receivers.serve(shutdown.clone())),
        shutdown,
        seen: Arc::default(),
        tasks,
    };
    (running, submissions)
}

/// Receivers with a fake engine that answers as `receipt` says and remembers what it saw.
pub(crate) async fn start_with<F>(extra: Value, receipt: F) -> Running
where
    F: Fn(&Batch) -> Receipt + Send + 'static,
{
    let (running, mut submissions) = start_raw(extra, 64).await;
    let seen = Arc::clone(&running.seen);
    running.tasks.spawn(async move {
        while let Some(Submission { batch, reply, .. }) = submissions.recv().await {
            let Batch { signal, encoding, ref body, observed, .. } = batch;
            seen.lock().unwrap().push(Seen { signal, encoding, body: body.clone(), observed });
            let receipt = receipt(&batch);
            drop(batch);
            reply.send(receipt).ok();
        }
    });
    running
}

pub(crate) fn accepted() -> Receipt {
    Receipt::Accepted { rejected: 0, message: String::new() }
}

/// Receivers with an engine that accepts everything.
pub(crate) async fn start(extra: Value) -> Running {
    start_with(extra, |_| accepted()).await
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) trailers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) async fn read<B>(response: Response<B>) -> Self
    where
        B: hyper::body::Body<Data = Bytes>,
        B::Error: std::fmt::Debug,
    {
        let (head, body) = response.into_parts();
        let collected = body.collect().await.unwrap();
        let trailers = collected.trailers().cloned().unwrap_or_default();
        Self { status: head.status, headers: head.headers, trailers, body: collected.to_bytes() }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The `google.rpc.Status` of a protobuf answer.
    pub(crate) fn rpc_status(&self) -> tonic_types::pb::Status {
        assert_eq!(self.header("content-type"), "application/x-protobuf");
        tonic_types::pb::Status::decode(self.body.clone()).unwrap()
    }

    /// `grpc-status`, from headers (an answer without a message) or trailers.
    pub(crate) fn grpc_status(&self) -> &str {
        let value = self.headers.get("grpc-status").or_else(|| self.trailers.get("grpc-status"));
        value.map_or("", |value| value.to_str().unwrap())
    }
}

/// One request on its own HTTP/1 connection.
pub(crate) async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    send_over(TokioIo::new(stream), request).await
}

pub(crate) async fn send_over<T>(io: T, request: Request<Full<Bytes>>) -> Answer
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    let exchange = async { Answer::read(sender.send_request(request).await.unwrap()).await };
    answered(exchange, connection).await
}

/// The answer of an exchange, while the connection is driven (and may end as soon as it has the answer).
async fn answered<C: Future>(exchange: impl Future<Output = Answer>, connection: C) -> Answer {
    let answer = async {
        tokio::pin!(exchange);
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            _ = connection => exchange.await,
        }
    };
    tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time")
}

/// One request on its own HTTP/2 connection, with prior knowledge.
pub(crate) async fn send_h2(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    send_h2_over(TokioIo::new(stream), request).await
}

pub(crate) async fn send_h2_over<T>(io: T, request: Request<Full<Bytes>>) -> Answer
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let exchange = async { Answer::read(sender.send_request(request).await.unwrap()).await };
    answered(exchange, connection).await
}

/// Request headers of a table's row.
pub(crate) type Headers = Vec<(&'static str, &'static str)>;

/// A POST of `body` with headers.
pub(crate) fn post(path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let mut request = Request::post(format!("http://receiver.test{path}")).header("host", "receiver.test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).unwrap()
}

pub(crate) const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");

pub(crate) fn gzip(bytes: &[u8]) -> Bytes {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap().into()
}

pub(crate) fn zstd(bytes: &[u8]) -> Bytes {
    zstd::bulk::compress(bytes, 3).unwrap().into()
}

/// Waits, without sleeping, until something that another task brings about is true.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("true in time");
}
