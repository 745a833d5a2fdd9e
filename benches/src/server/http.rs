//! The yardsticks over HTTP/1.1 with protobuf bodies: hyper, and prost from the whole body.

use std::convert::Infallible;
use std::hint::black_box;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{MESSAGE_BYTES_MAX, Yardstick};

/// A generator opens one connection for each request in flight.
const CONNECTIONS_MAX: usize = 4_096;

/// Serves until it fails.
pub(super) async fn serve(yardstick: Yardstick, listener: TcpListener) -> anyhow::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        connections.spawn(connection(yardstick, stream));
        while connections.try_join_next().is_some() {}
        anyhow::ensure!(connections.len() <= CONNECTIONS_MAX, "more than {CONNECTIONS_MAX} connections");
    }
}

/// A connection that breaks is its generator's end, and no fault.
async fn connection(yardstick: Yardstick, stream: TcpStream) {
    let service = service_fn(move |request| answer(yardstick, request));
    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    drop(served.await);
}

async fn answer(
    yardstick: Yardstick,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let status = match take(yardstick, request).await {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::BAD_REQUEST,
    };
    // An empty message: everything was accepted.
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/x-protobuf"));
    Ok(response)
}

async fn take(yardstick: Yardstick, request: Request<Incoming>) -> anyhow::Result<()> {
    anyhow::ensure!(request.method() == Method::POST, "only POST");
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MESSAGE_BYTES_MAX).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!(error)).context("no whole body")?;
    if yardstick == Yardstick::Floor {
        drop(black_box(body));
        return Ok(());
    }
    let body = body.to_bytes();
    match head.uri.path() {
        "/v1/traces" => drop(black_box(ExportTraceServiceRequest::decode(body)?)),
        "/v1/logs" => drop(black_box(ExportLogsServiceRequest::decode(body)?)),
        "/v1/metrics" => drop(black_box(ExportMetricsServiceRequest::decode(body)?)),
        path => anyhow::bail!("nothing is served at {path}"),
    }
    Ok(())
}
