//! The xDS port: sockets, TLS, who may ask; one task per connection and one per stream, all waited for.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use super::config::{TokenGate, XdsConfig, XdsTls};
use super::error::XdsError;
use super::protocol::{Delta, Protocol, StateOfTheWorld};
use super::registry::{Registry, XdsEvent, XdsHandle, count};
use super::session::{Session, Terms};

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take to open its first stream: one that opens none holds a place of others.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait when the system cannot accept, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A proxy that broke off without a word is found out by pings.
const PING_AFTER: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// An Envoy has one stream; a connection is no way around the bound of streams.
const STREAMS_PER_CONNECTION_MAX: u32 = 4;
/// Headers of one stream. Ours are few; the token is the longest.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// How long tasks may take to notice that their connection is gone.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// The xDS server, with its port taken. Nothing is accepted before [`XdsServer::serve`].
pub struct XdsServer {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<XdsTls>,
    drain_timeout: Duration,
    connections: Arc<Semaphore>,
    discovery: Discovery,
}

/// The way of answers to tonic.
type Answers<A> = ReceiverStream<Result<A, Status>>;

/// The gRPC service.
#[derive(Clone)]
struct Discovery {
    terms: Terms,
    token: Option<TokenGate>,
    request_bytes_max: usize,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl XdsServer {
    /// Takes the port. The handle publishes and looks; the receiver tells what happens, as long as it is read.
    ///
    /// # Errors
    /// The port is not to be had, or it would be open to other machines without protection.
    pub async fn bind(config: XdsConfig) -> Result<(Self, XdsHandle, mpsc::Receiver<XdsEvent>), XdsError> {
        config.check()?;
        let refused = |source| XdsError::Bind { address: config.address, source };
        let socket = TcpListener::bind(config.address).await.map_err(refused)?;
        let address = socket.local_addr().map_err(refused)?;
        let (registry, events) = Registry::new(config.events_max);
        let handle = XdsHandle { registry: Arc::clone(&registry) };
        let terms = Terms {
            registry,
            resources: config.resources,
            names_max: config.names_max,
            stuck_after: config.stuck_after,
            closing: CancellationToken::new(),
        };
        let discovery = Discovery {
            terms,
            token: config.token,
            request_bytes_max: config.request_bytes_max,
            slots: Arc::new(Semaphore::new(config.streams_max)),
            tasks: TaskTracker::new(),
        };
        let connections = Arc::new(Semaphore::new(config.streams_max));
        let drain_timeout = config.drain_timeout;
        let server = Self { socket, address, tls: config.tls, drain_timeout, connections, discovery };
        Ok((server, handle, events))
    }

    /// Where it listens, with the port it got.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then ends all streams (`UNAVAILABLE`: proxies keep what they have and come again) and
    /// waits for every task.
    pub async fn serve(self, shutdown: CancellationToken) {
        let abort = CancellationToken::new();
        let tasks = self.discovery.tasks.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer, &abort),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept xDS connections, trying again");
                    tokio::select! {
                        () = shutdown.cancelled() => break,
                        () = sleep(ACCEPT_PAUSE) => {}
                    }
                }
            }
        }
        drop(self.socket);
        self.discovery.terms.closing.cancel();
        tasks.close();
        if timeout(self.drain_timeout, tasks.wait()).await.is_err() {
            tracing::warn!(left = tasks.len(), "closing xDS connections that did not end in time");
            abort.cancel();
            if timeout(ABORT_TIMEOUT, tasks.wait()).await.is_err() {
                tracing::error!(left = tasks.len(), "xDS tasks did not end");
            }
        }
    }

    fn admit(&self, stream: TcpStream, peer: SocketAddr, abort: &CancellationToken) {
        let Ok(slot) = Arc::clone(&self.connections).try_acquire_owned() else {
            count(&self.discovery.terms.registry.stats.refused);
            return;
        };
        let tls = self.tls.as_ref().map(|tls| tls.server.borrow().clone());
        let (discovery, abort) = (self.discovery.clone(), abort.clone());
        let connection = async move {
            let _slot = slot;
            tokio::select! {
                () = abort.cancelled() => {}
                () = discovery.connect(stream, peer, tls) => {}
            }
        };
        drop(self.discovery.tasks.spawn(Box::pin(connection)));
    }
}

impl Discovery {
    async fn connect(self, stream: TcpStream, peer: SocketAddr, tls: Option<Arc<ServerConfig>>) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot turn off Nagle's algorithm");
        }
        let Some(tls) = tls else { return self.converse(stream, peer).await };
        let mut tls = ServerConfig::clone(&tls);
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await.unwrap_or_else(|_| Err(late())) {
            Ok(stream) => self.converse(stream, peer).await,
            Err(error) => {
                count(&self.terms.registry.stats.handshakes_failed);
                tracing::debug!(%error, %peer, "TLS handshake of a proxy failed");
            }
        }
    }

    async fn converse<S>(self, stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let closing = self.terms.closing.clone();
        let tasks = Tasks(self.tasks.clone());
        let bytes_max = self.request_bytes_max;
        let begun = Arc::new(AtomicBool::new(false));
        let service = WithPeer {
            peer,
            begun: Arc::clone(&begun),
            inner: AggregatedDiscoveryServiceServer::new(self).max_decoding_message_size(bytes_max),
        };
        let mut http = http2::Builder::new(tasks);
        http.timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .max_header_list_size(HEADER_BYTES_MAX)
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_TIMEOUT);
        let mut connection =
            pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
        let mut late = pin!(sleep(BEGIN_TIMEOUT));
        let mut watched = true;
        let ended = loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => break ended,
                () = closing.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    break connection.await;
                }
                () = late.as_mut(), if watched => {
                    if !begun.load(Ordering::Relaxed) {
                        tracing::debug!(%peer, "closing an xDS connection that asks for nothing");
                        return;
                    }
                    watched = false;
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, %peer, "xDS connection broke off");
        }
    }

    fn open<P: Protocol>(
        &self,
        request: Request<Streaming<P::Request>>,
    ) -> Result<Response<Answers<P::Response>>, Status> {
        let stats = &self.terms.registry.stats;
        let (metadata, extensions, requests) = request.into_parts();
        if let Some(token) = &self.token
            && !token.admits(&metadata.into_headers())
        {
            count(&stats.unauthenticated);
            return Err(Status::unauthenticated("the bearer token is missing or wrong"));
        }
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            count(&stats.refused);
            return Err(Status::resource_exhausted("too many xDS streams"));
        };
        let peer = extensions.get::<Peer>().map(|peer| peer.0);
        let session = Session::new::<P>(self.terms.clone(), peer, slot);
        let (answers, stream) = mpsc::channel(1);
        drop(self.tasks.spawn(Box::pin(session.run::<P>(requests, answers))));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Discovery {
    type StreamAggregatedResourcesStream = Answers<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Answers<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        self.open::<StateOfTheWorld>(request)
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        self.open::<Delta>(request)
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long")
}

/// Where a request came from.
#[derive(Clone, Copy)]
struct Peer(SocketAddr);

/// Tells the service where its requests come from, and the connection that there are some.
#[derive(Clone)]
struct WithPeer<S> {
    peer: SocketAddr,
    begun: Arc<AtomicBool>,
    inner: S,
}

impl<S, B> tower_service::Service<http::Request<B>> for WithPeer<S>
where
    S: tower_service::Service<http::Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        self.begun.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(Peer(self.peer));
        self.inner.call(request)
    }
}

/// Lets hyper start the tasks of its streams among ours.
#[derive(Clone)]
struct Tasks(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        drop(self.0.spawn(task));
    }
}
