//! OTLP/HTTP: three paths, protobuf and JSON, answers in the request's own content type.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;
use selvedge_model::SignalKind;

use crate::answer::{Acceptance, AnswerBody};
use crate::body::discard;
use crate::config::{CorsConfig, SignalPaths};
use crate::connection::Gate;
use crate::cors;
use crate::decompress::{ACCEPTED, Compression};
use crate::door::{Door, Subject, Taken};
use crate::handover::{Encoding, Transport};
use crate::refusal::Refusal;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// The service on the HTTP port.
#[derive(Clone)]
pub(crate) struct HttpService {
    inner: Arc<Inner>,
}

struct Inner {
    door: Arc<Door>,
    gate: Arc<Gate>,
    paths: SignalPaths,
    cors: Option<CorsConfig>,
}

impl HttpService {
    pub(crate) fn new(
        door: Arc<Door>,
        gate: Arc<Gate>,
        paths: SignalPaths,
        cors: Option<CorsConfig>,
    ) -> Self {
        Self { inner: Arc::new(Inner { door, gate, paths, cors }) }
    }
}

impl hyper::service::Service<Request<Incoming>> for HttpService {
    type Response = Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { Ok(inner.answer(request).await) })
    }
}

impl Inner {
    async fn answer(&self, mut request: Request<Incoming>) -> Response<AnswerBody> {
        let origin = self.cors.as_ref().and_then(|config| cors::allowed_origin(config, request.headers()));
        let mut response = match (&self.cors, &origin) {
            (Some(config), Some(_)) if cors::is_preflight(&request) => cors::preflight(config),
            _ => self.answer_export(&mut request).await,
        };
        if let Some(origin) = origin {
            cors::mark(&mut response, origin);
        }
        response
    }

    async fn answer_export(&self, request: &mut Request<Incoming>) -> Response<AnswerBody> {
        let encoding = encoding_of(request.headers());
        let result = match self.paths.signal(request.uri().path()) {
            Some(signal) => self.export(signal, encoding, request).await,
            None => {
                self.door.stats.requests_unrouted.add(1);
                Err(Refusal::Path)
            }
        };
        match result {
            Ok((signal, encoding, acceptance)) => accept(signal, encoding, &acceptance),
            Err(refusal) => {
                // A sender that waits for "100 Continue" has sent nothing and need not.
                let waits = request.headers().contains_key(EXPECT);
                if request.version() < Version::HTTP_2 && !waits && !request.body().is_end_stream() {
                    discard(request.body_mut()).await;
                }
                // What the sender reads is not known when it names no content type: JSON reads itself.
                refuse(&refusal, encoding.unwrap_or(Encoding::Json))
            }
        }
    }

    async fn export(
        &self,
        signal: SignalKind,
        encoding: Option<Encoding>,
        request: &mut Request<Incoming>,
    ) -> Result<(SignalKind, Encoding, Acceptance), Refusal> {
        let subject =
            Subject { transport: Transport::Http, signal, encoding: encoding.unwrap_or(Encoding::Protobuf) };
        let acceptance = self.door.export(subject, self.take(encoding, request)).await?;
        Ok((signal, subject.encoding, acceptance))
    }

    async fn take(
        &self,
        encoding: Option<Encoding>,
        request: &mut Request<Incoming>,
    ) -> Result<Taken, Refusal> {
        if request.method() != Method::POST {
            return Err(Refusal::Method);
        }
        self.gate.authenticate(request.headers(), &self.door.stats)?;
        if encoding.is_none() {
            return Err(Refusal::ContentType);
        }
        let compression = compression_of(request.headers())?;
        let bytes_max = self.gate.request_bytes_max;
        let (wire, permit) = self.door.intake(bytes_max).http(request.body_mut()).await?;
        self.door.unpack(compression, wire, permit, bytes_max)
    }
}

/// What the sender says the body is; parameters such as a charset do not matter.
fn encoding_of(headers: &HeaderMap) -> Option<Encoding> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(PROTOBUF) {
        Some(Encoding::Protobuf)
    } else if essence.eq_ignore_ascii_case(JSON) {
        Some(Encoding::Json)
    } else {
        None
    }
}

/// How the body is compressed. Encodings on top of each other are not taken.
fn compression_of(headers: &HeaderMap) -> Result<Option<Compression>, Refusal> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let value = value.as_bytes().trim_ascii();
    let compression = if value.is_empty() || value.eq_ignore_ascii_case(b"identity") {
        None
    } else if value.eq_ignore_ascii_case(b"gzip") {
        Some(Compression::Gzip)
    } else if value.eq_ignore_ascii_case(b"zstd") {
        Some(Compression::Zstd)
    } else {
        return Err(Refusal::ContentEncoding);
    };
    if values.next().is_some() { Err(Refusal::ContentEncoding) } else { Ok(compression) }
}

fn content_type(encoding: Encoding) -> HeaderValue {
    HeaderValue::from_static(match encoding {
        Encoding::Protobuf => PROTOBUF,
        Encoding::Json => JSON,
    })
}

fn accept(signal: SignalKind, encoding: Encoding, acceptance: &Acceptance) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::data(acceptance.encode(signal, encoding)));
    response.headers_mut().insert(CONTENT_TYPE, content_type(encoding));
    response
}

/// A refusal as HTTP says it: a status, headers that help, and a `google.rpc.Status`.
pub(crate) fn refuse(refusal: &Refusal, encoding: Encoding) -> Response<AnswerBody> {
    let body = match encoding {
        Encoding::Protobuf => Bytes::copy_from_slice(refusal.to_status().details()),
        Encoding::Json => Bytes::from(refusal.to_json().to_string()),
    };
    let mut response = Response::new(AnswerBody::data(body));
    *response.status_mut() = refusal.http_status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type(encoding));
    if let Some(delay) = refusal.retry_after() {
        // Whole seconds, rounded up: sooner than asked would only be refused again.
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    let hint = match refusal {
        Refusal::Method => Some((ALLOW, "POST")),
        Refusal::ContentEncoding => Some((ACCEPT_ENCODING, ACCEPTED)),
        Refusal::Unauthenticated => Some((WWW_AUTHENTICATE, "Bearer")),
        _ => None,
    };
    if let Some((name, value)) = hint {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
