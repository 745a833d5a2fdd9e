//! One listener and its connections: who gets in, how long they may stay, how they are let out.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::answer::AnswerBody;
use crate::auth::TokenCheck;
use crate::begin::Begin;
use crate::config::{Keepalive, ListenConfig};
use crate::error::ReceiveError;
use crate::refusal::Refusal;
use crate::stats::ReceiveStats;
use crate::task_group::TaskGroup;
use crate::tls::TlsFiles;

/// How long a new connection may take to send its first byte, and then to finish its TLS handshake.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(30);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an HTTP/1 connection may take for the head of its next request, idleness included: longer than the
/// minute between the exports of a metrics SDK.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Handshakes at once, per listener; each costs about a millisecond of our only thread. Others wait their turn.
const HANDSHAKES_MAX: usize = 64;
/// How long to wait when the system cannot accept, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// HTTP/2 flow control: a batch of usual size in one go, and several at once per connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Large frames, so that most messages come in one piece and are not copied.
const FRAME_BYTES_MAX: u32 = 1 << 20;
/// Headers of one request. Ours are few; the token is the longest.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// "Never", for a timer that must have a time.
const NEVER: Duration = Duration::from_secs(366 * 24 * 3600);

/// What protects one listener, and what follows its files.
pub(crate) struct Gate {
    pub(crate) request_bytes_max: usize,
    pub(crate) reload_interval: Duration,
    protocol: &'static str,
    tls: Option<TlsFiles>,
    token: Option<TokenCheck>,
}

impl Gate {
    pub(crate) async fn load(
        config: &ListenConfig,
        protocol: &'static str,
        alpn: &[&str],
    ) -> Result<Self, ReceiveError> {
        let tls = match &config.tls {
            None => None,
            Some(tls) => Some(TlsFiles::load(tls, alpn).await?),
        };
        let token = match &config.auth {
            None => None,
            Some(auth) => Some(TokenCheck::load(auth).await?),
        };
        Ok(Self {
            request_bytes_max: config.request_bytes_max,
            reload_interval: config.reload_interval,
            protocol,
            tls,
            token,
        })
    }

    /// Refuses a request that does not carry the token, where one is configured.
    pub(crate) fn authenticate(&self, headers: &HeaderMap, stats: &ReceiveStats) -> Result<(), Refusal> {
        match &self.token {
            Some(token) if !token.admits(headers) => {
                stats.requests_unauthenticated.add(1);
                Err(Refusal::Unauthenticated)
            }
            _ => Ok(()),
        }
    }

    /// Looks at the files again. What is broken is reported and the old kept.
    pub(crate) async fn reload(&self, stats: &ReceiveStats) -> Vec<ReceiveError> {
        let mut failures = Vec::new();
        let mut settle = |what: &'static str, result: Result<bool, ReceiveError>| match result {
            Ok(true) => {
                stats.reloads.add(1);
                tracing::info!(protocol = self.protocol, what, "took over a changed file");
            }
            Ok(false) => {}
            Err(error) => {
                stats.reload_failures.add(1);
                tracing::warn!(protocol = self.protocol, what, %error, "kept the old one: the changed file is broken");
                failures.push(error);
            }
        };
        if let Some(tls) = &self.tls {
            settle("certificate", tls.reload().await);
        }
        if let Some(token) = &self.token {
            settle("token", token.reload().await);
        }
        failures
    }
}

/// How the receivers end, in two steps.
#[derive(Clone, Default)]
pub(crate) struct Endings {
    /// Finish what is in flight, then close.
    pub(crate) drain: CancellationToken,
    /// Close now.
    pub(crate) abort: CancellationToken,
}

/// A socket, and what serves it once it listens.
pub(crate) struct Listener<S, L = TcpListener> {
    pub(crate) socket: L,
    pub(crate) host: Host<S>,
    pub(crate) connections_max: usize,
}

/// What every connection of a listener needs.
#[derive(Clone)]
pub(crate) struct Host<S> {
    service: S,
    gate: Arc<Gate>,
    stats: Arc<ReceiveStats>,
    connections: TaskGroup,
    endings: Endings,
    handshakes: Arc<Semaphore>,
    keepalive: Keepalive,
    http: auto::Builder<TaskGroup>,
}

impl<S> Host<S> {
    pub(crate) fn new(
        service: S,
        gate: Arc<Gate>,
        config: &ListenConfig,
        stats: Arc<ReceiveStats>,
        connections: TaskGroup,
        endings: Endings,
    ) -> Self {
        let http = http_builder(connections.clone(), config);
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        Self { service, gate, stats, connections, endings, handshakes, keepalive: config.keepalive, http }
    }
}

fn http_builder(streams: TaskGroup, config: &ListenConfig) -> auto::Builder<TaskGroup> {
    let mut http = auto::Builder::new(streams);
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    http.http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_concurrent_streams(config.streams_max)
        .keep_alive_interval(config.keepalive.ping_after)
        .keep_alive_timeout(config.keepalive.ping_timeout);
    http
}

impl<S> Listener<S>
where
    S: hyper::service::Service<Request<Incoming>, Response = Response<AnswerBody>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    /// Takes connections until told to stop; then the socket is closed.
    pub(crate) async fn accept(self, stopping: &CancellationToken) {
        let slots = Arc::new(Semaphore::new(self.connections_max));
        loop {
            let accepted = tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => self.admit(stream, &slots),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections, trying again");
                    tokio::select! {
                        () = stopping.cancelled() => return,
                        () = sleep(ACCEPT_PAUSE) => {}
                    }
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, slots: &Arc<Semaphore>) {
        let Ok(slot) = Arc::clone(slots).try_acquire_owned() else {
            self.host.stats.connections_refused.add(1);
            return;
        };
        self.host.stats.connections_accepted.add(1);
        let host = self.host.clone();
        self.host.connections.spawn(Box::pin(host.connect(stream, slot)));
    }
}

/// True for errors of `accept` that concern a connection which is already gone.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

impl<S> Host<S>
where
    S: hyper::service::Service<Request<Incoming>, Response = Response<AnswerBody>, Error = Infallible>,
    S: Send + Sync + 'static,
    S::Future: Send + 'static,
{
    async fn connect(self, stream: TcpStream, _slot: OwnedSemaphorePermit) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot turn off Nagle's algorithm");
        }
        let drain = self.endings.drain.clone();
        let begun = tokio::select! {
            biased;
            begun = timeout(BEGIN_TIMEOUT, stream.readable()) => matches!(begun, Ok(Ok(()))),
            // Nothing was sent yet, so nothing is lost.
            () = drain.cancelled() => return,
        };
        if !begun {
            self.stats.handshakes_failed.add(1);
            return;
        }
        let Some(tls) = &self.gate.tls else { return self.serve(stream).await };
        let acceptor = TlsAcceptor::from(tls.current());
        match timeout(HANDSHAKE_TIMEOUT, self.shake_hands(&acceptor, stream)).await {
            Ok(Ok(stream)) => self.serve(stream).await,
            Ok(Err(error)) => {
                self.stats.handshakes_failed.add(1);
                tracing::debug!(%error, "TLS handshake failed");
            }
            Err(_) => self.stats.handshakes_failed.add(1),
        }
    }

    async fn shake_hands(
        &self,
        acceptor: &TlsAcceptor,
        stream: TcpStream,
    ) -> io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
        let _turn = self.handshakes.acquire().await.map_err(io::Error::other)?;
        acceptor.accept(stream).await
    }

    async fn serve<T>(self, stream: T)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { service, endings, keepalive, http, .. } = self;
        let stream = TokioIo::new(Begin::within(BEGIN_TIMEOUT, stream));
        let mut connection = pin!(http.serve_connection(stream, service));
        let mut end = pin!(sleep(keepalive.age_max.unwrap_or(NEVER)));
        let mut leaving = false;
        loop {
            tokio::select! {
                biased;
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "connection broke off");
                    }
                    return;
                }
                () = endings.abort.cancelled() => return,
                () = endings.drain.cancelled(), if !leaving => {
                    leaving = true;
                    end.as_mut().reset(Instant::now() + NEVER);
                    connection.as_mut().graceful_shutdown();
                }
                () = end.as_mut() => {
                    if leaving {
                        return;
                    }
                    leaving = true;
                    end.as_mut().reset(Instant::now() + keepalive.age_grace);
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}
