//! OTLP/gRPC: the three export methods and `grpc.health.v1`, straight on HTTP/2.
//!
//! The framing is our own, not tonic's: a unary method without generated messages is five bytes in front of the
//! body and two headers after the answer. So the announced length is known before the message is read (admission),
//! and nothing is copied that came in one piece.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use hyper::body::Incoming;
use selvedge_model::SignalKind;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthService;

use crate::answer::AnswerBody;
use crate::connection::Gate;
use crate::decompress::{ACCEPTED, Compression};
use crate::door::{Door, Subject, Taken};
use crate::handover::{Encoding, Transport};
use crate::http_service::refuse;
use crate::refusal::Refusal;

const GRPC: &str = "application/grpc";
const HEALTH_PREFIX: &str = "/grpc.health.v1.Health/";

/// The services on the gRPC port.
#[derive(Clone)]
pub(crate) struct GrpcService {
    inner: Arc<Inner>,
}

struct Inner {
    door: Arc<Door>,
    gate: Arc<Gate>,
    health: HealthServer<HealthService>,
}

impl GrpcService {
    pub(crate) fn new(door: Arc<Door>, gate: Arc<Gate>, health: HealthServer<HealthService>) -> Self {
        Self { inner: Arc::new(Inner { door, gate, health }) }
    }
}

impl hyper::service::Service<Request<Incoming>> for GrpcService {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { Ok(inner.answer(request).await) })
    }
}

impl Inner {
    async fn answer(&self, request: Request<Incoming>) -> Response<AnswerBody> {
        if request.version() != Version::HTTP_2 {
            return refuse(&Refusal::NotGrpc, Encoding::Json);
        }
        if request.method() != Method::POST {
            return refuse(&Refusal::Method, Encoding::Json);
        }
        if !speaks_grpc(request.headers()) {
            // As the gRPC specification asks, so that something other than a gRPC client understands it.
            return refuse(&Refusal::ContentType, Encoding::Json);
        }
        let Some(signal) = signal_of(request.uri().path()) else {
            return self.answer_elsewhere(request).await;
        };
        match self.export(signal, request).await {
            Ok(response) => accept(&response),
            Err(refusal) => refuse_grpc(&refusal),
        }
    }

    /// Anything that is no export: health, which needs no token as probes have none, or nothing we know.
    async fn answer_elsewhere(&self, request: Request<Incoming>) -> Response<AnswerBody> {
        if !request.uri().path().starts_with(HEALTH_PREFIX) {
            self.door.stats.requests_unrouted.add(1);
            return refuse_grpc(&Refusal::Path);
        }
        let mut health = self.health.clone();
        match tower_service::Service::call(&mut health, request).await {
            Ok(response) => response.map(AnswerBody::Health),
            Err(never) => match never {},
        }
    }

    async fn export(&self, signal: SignalKind, request: Request<Incoming>) -> Result<bytes::Bytes, Refusal> {
        let subject = Subject { transport: Transport::Grpc, signal, encoding: Encoding::Protobuf };
        let acceptance = self.door.export(subject, self.take(request)).await?;
        Ok(acceptance.encode(signal, Encoding::Protobuf))
    }

    async fn take(&self, request: Request<Incoming>) -> Result<Taken, Refusal> {
        self.gate.authenticate(request.headers(), &self.door.stats)?;
        let compression = compression_of(request.headers())?;
        let bytes_max = self.gate.request_bytes_max;
        let message = self.door.intake(bytes_max).grpc(&mut request.into_body()).await?;
        let compression = match (message.compressed, compression) {
            (false, _) => None,
            (true, Some(compression)) => Some(compression),
            (true, None) => {
                return Err(Refusal::Malformed(
                    "the message is compressed, but grpc-encoding is missing".to_owned(),
                ));
            }
        };
        self.door.unpack(compression, message.payload, message.permit, bytes_max)
    }
}

fn speaks_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    match value.strip_prefix(GRPC) {
        Some("" | "+proto") => true,
        Some(rest) => rest.starts_with(';') || rest.starts_with("+proto;"),
        None => false,
    }
}

/// The signal of an export method: `/SERVICE/Export`.
fn signal_of(path: &str) -> Option<SignalKind> {
    match path {
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Some(SignalKind::Traces),
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Some(SignalKind::Metrics),
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Some(SignalKind::Logs),
        _ => None,
    }
}

/// The service of a signal, as health checks name it.
pub(crate) fn service_name(signal: SignalKind) -> &'static str {
    match signal {
        SignalKind::Traces => "opentelemetry.proto.collector.trace.v1.TraceService",
        SignalKind::Metrics => "opentelemetry.proto.collector.metrics.v1.MetricsService",
        SignalKind::Logs => "opentelemetry.proto.collector.logs.v1.LogsService",
    }
}

fn compression_of(headers: &HeaderMap) -> Result<Option<Compression>, Refusal> {
    match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(None),
        Some(b"gzip") => Ok(Some(Compression::Gzip)),
        Some(b"zstd") => Ok(Some(Compression::Zstd)),
        Some(_) => Err(Refusal::ContentEncoding),
    }
}

fn accept(message: &[u8]) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::grpc_ok(message));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    response
}

/// An answer of headers only, as gRPC has it for errors.
fn refuse_grpc(refusal: &Refusal) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::none());
    let headers = response.headers_mut();
    if refusal.to_status().add_header(headers).is_err() {
        // A message that fits no header; the code alone still says whether to retry.
        headers.clear();
        headers.insert("grpc-status", HeaderValue::from(refusal.to_status().code() as i32));
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    if matches!(refusal, Refusal::ContentEncoding) {
        headers.insert("grpc-accept-encoding", HeaderValue::from_static(ACCEPTED));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signal_has_one_export_method_under_its_service() {
        for signal in SignalKind::ALL {
            assert_eq!(signal_of(&format!("/{}/Export", service_name(signal))), Some(signal));
        }
        assert_eq!(signal_of("/opentelemetry.proto.collector.trace.v1.TraceService/Import"), None);
    }

    #[test]
    fn only_grpc_with_protobuf_is_grpc() {
        let table = [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpc+json", false),
            ("application/x-protobuf", false),
        ];
        for (value, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            assert_eq!(speaks_grpc(&headers), expected, "{value}");
        }
    }
}
