//! How soon people are told: refused handshakes of somebody who claims an identity of the mesh, each at a workload of its own
//! amid usual traffic, and the webhook that says so.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::load::{self, Answer, GrpcSender, Latencies, Plan};
use crate::payload::{Shape, Signal, templates, text};

/// Whom to tell, who is told, and of how much.
#[derive(Clone, Copy, Debug)]
pub struct Alerting {
    /// The engine, on loopback.
    pub engine: SocketAddr,
    /// Where its webhook leads: to us.
    pub webhook: SocketAddr,
    /// Refused handshakes.
    pub alerts: u64,
    /// How long ago each of them was when it is told of.
    pub age: Duration,
}

/// Usual requests a second, of 100 spans each, meanwhile.
const BACKGROUND_RATE: f64 = 100.0;
/// Two windows close before the first refused handshake: who never calls is no news in a mesh that nobody knows.
const WARM_UP: Duration = Duration::from_secs(25);
/// No multiple of anything that the engine does in turns, so that all of its phases are met.
const INTERVAL: Duration = Duration::from_millis(137);
/// An alert that takes longer is lost.
const ALERT_WITHIN: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

type Told = Arc<Mutex<Vec<(Instant, String)>>>;

/// From the acknowledgement of each batch that tells of a refused handshake to the webhook that names its workload.
///
/// # Errors
/// When the engine does not take a batch, or somebody is not told of one.
pub async fn run(alerting: &Alerting) -> anyhow::Result<Latencies> {
    let listener = TcpListener::bind(alerting.webhook).await?;
    let told = Told::default();
    let mut webhook = JoinSet::new();
    webhook.spawn(listen(listener, Arc::clone(&told)));
    let seconds = (WARM_UP + INTERVAL * u32::try_from(alerting.alerts)?).as_secs() + ALERT_WITHIN.as_secs();
    let background = Plan {
        address: alerting.engine,
        http: false,
        signal: Signal::Traces,
        requests: seconds * 100,
        in_flight: 64,
        first_sequence: 0,
        rate: Some(BACKGROUND_RATE),
    };
    let templates = templates(&Shape::default());
    tokio::select! {
        ended = load::run(&background, &templates) => {
            ended?;
            anyhow::bail!("usual traffic ended before all alerts came")
        }
        latencies = tell(alerting, &told) => latencies,
    }
}

async fn tell(alerting: &Alerting, told: &Told) -> anyhow::Result<Latencies> {
    tokio::time::sleep(WARM_UP).await;
    let mut engine = GrpcSender::connect_to(alerting.engine, Signal::Logs).await?;
    let began = Instant::now();
    let age = u64::try_from(alerting.age.as_nanos())?;
    let mut acknowledged = Vec::new();
    for number in 0..alerting.alerts {
        tokio::time::sleep(INTERVAL).await;
        let ended = load::now_unix_nano().saturating_sub(age);
        let request = refused_handshake(&victim(number), ended);
        match engine.send(Bytes::from(request.encode_to_vec())).await? {
            Answer::Accepted { rejected: 0 } => acknowledged.push(Instant::now()),
            Answer::Accepted { .. } | Answer::Refused => {
                anyhow::bail!("the engine did not take record {number}")
            }
        }
    }
    let mut latencies = Latencies::default();
    for (number, acknowledged) in (0_u64..).zip(acknowledged) {
        let named = format!("\"{}\"", victim(number));
        let at = told_of(&named, told).await.with_context(|| format!("nobody was told of {named}"))?;
        // The webhook may be sent before the acknowledgement has come all the way.
        latencies.add(began.elapsed(), at.saturating_duration_since(acknowledged));
    }
    Ok(latencies)
}

/// When the first alert came that names a workload.
async fn told_of(named: &str, told: &Told) -> Option<Instant> {
    let give_up = Instant::now() + ALERT_WITHIN;
    loop {
        let found = {
            let told = told.lock().unwrap_or_else(PoisonError::into_inner);
            told.iter().find(|(_, body)| body.contains(named)).map(|(at, _)| *at)
        };
        if found.is_some() || Instant::now() > give_up {
            return found;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn listen(listener: TcpListener, told: Told) -> anyhow::Result<Infallible> {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        let told = Arc::clone(&told);
        let service = service_fn(move |request| take(request, Arc::clone(&told)));
        connections.spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
        );
        while connections.try_join_next().is_some() {}
    }
}

async fn take(request: Request<Incoming>, told: Told) -> hyper::Result<Response<Full<Bytes>>> {
    let at = Instant::now();
    let body = request.into_body().collect().await?.to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    told.lock().unwrap_or_else(PoisonError::into_inner).push((at, body));
    Ok(Response::new(Full::default()))
}

fn victim(number: u64) -> String {
    format!("victim-{number:05}")
}

/// What a sidecar's listener logs of a client whose certificate is of another authority, and names somebody of the mesh.
fn refused_handshake(victim: &str, ended_unix_nano: u64) -> ExportLogsServiceRequest {
    let failure = "TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:\
                   _X509_verify_cert:_certificate_verification_error_at_depth_0:_unable_to_get_local_issuer_\
                   certificate:TLS_error_end";
    let principal = |name: &str| format!("spiffe://cluster.local/ns/shop/sa/{name}");
    let attributes = vec![
        text("mesh.reporter", "inbound"),
        text("log.kind", "connection"),
        text("connection.id", "7"),
        text("filter_chain", "mtls"),
        text("bytes.received", "0"),
        text("bytes.sent", "0"),
        text("duration_ms", "1"),
        text("source.principal", principal(&format!("{victim}-caller"))),
        text("destination.principal", principal(victim)),
        text("tls.version", "TLSv1.3"),
        text("tls.peer.subject", "O=mesh"),
        text("tls.peer.issuer", format!("CN=root of {victim},O=mesh")),
        text("tls.peer.fingerprint_sha256", format!("{ended_unix_nano:064x}")),
        text("tls.failure", failure),
    ];
    // It ends a millisecond after its start.
    let record = LogRecord { time_unix_nano: ended_unix_nano - 1_000_000, attributes, ..Default::default() };
    let resource = Resource {
        attributes: vec![
            text("log_name", "mesh_connection"),
            text("service.name", victim),
            text("service.namespace", "shop"),
            text("k8s.pod.name", format!("{victim}-0")),
            text("k8s.namespace.name", "shop"),
        ],
        ..Default::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource),
            scope_logs: vec![ScopeLogs { log_records: vec![record], ..Default::default() }],
            ..Default::default()
        }],
    }
}
