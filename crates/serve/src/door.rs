//! Who gets in and how long they may take: connections are bounded, and so is the time for the head of a request.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Connections at once; people, a reverse proxy and a scraper need few. Past it a connection is closed at once.
const CONNECTIONS_MAX: usize = 256;
/// How long a connection may take for the head of its next request, idleness included: longer than the minute between
/// two scrapes.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Bytes of the head of a request; hyper's least.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How long to wait when the system cannot accept, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What every answer tells a browser: it is data, of this site alone, and no page.
const STRICT: [(HeaderName, HeaderValue); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// Adds the headers that an answer does not have yet.
pub(crate) async fn strict(request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    for (name, value) in STRICT {
        answer.headers_mut().entry(name).or_insert(value);
    }
    answer
}

/// Serves until the token is cancelled; then what is being answered is answered.
pub(crate) async fn serve(listener: TcpListener, router: axum::Router, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            _ = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    let (router, shutdown) = (router.clone(), shutdown.clone());
                    connections.spawn(async move {
                        let _place = place;
                        converse(stream, router, shutdown).await;
                    });
                }
                Err(_) => tracing::warn!(%peer, limit = CONNECTIONS_MAX, "API connection refused: too many"),
            },
            Err(error) => {
                tracing::warn!(%error, "an API connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn converse(stream: TcpStream, router: axum::Router, shutdown: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
    let service = TowerToHyperService::new(router);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "API connection broke off");
    }
}
