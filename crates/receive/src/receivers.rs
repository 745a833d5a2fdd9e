//! The receivers as a whole: ports reserved eagerly, so that a taken one is an error at once; listening; drained.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use selvedge_model::SignalKind;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::admission::Admission;
use crate::config::{GrpcConfig, HttpConfig, ListenConfig, ReceiveConfig};
use crate::connection::{Endings, Gate, Host, Listener};
use crate::door::Door;
use crate::entrance::Entrance;
use crate::error::ReceiveError;
use crate::grpc::{GrpcService, service_name};
use crate::handover::{Clock, Submission};
use crate::http_service::HttpService;
use crate::stats::ReceiveStats;
use crate::task_group::TaskGroup;

/// A health request names a service; this is plenty.
const HEALTH_REQUEST_BYTES_MAX: usize = 4096;
/// How long tasks may take to notice that their connection is gone.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// Connections that the system completes for us before we take them, as the standard library has it.
const BACKLOG: u32 = 1024;

/// Receivers whose ports are ours. Nothing is accepted before [`Receivers::serve`]. While their sockets are only
/// reserved (`L` is [`TcpSocket`]), clients are refused at once, as by a program that does not run; once they listen,
/// clients wait.
pub struct Receivers<L = TcpListener> {
    grpc: Option<Listener<GrpcService, L>>,
    http: Option<Listener<HttpService, L>>,
    addresses: Addresses,
    reloader: Reloader,
    door: Arc<Door>,
    health: HealthReporter,
    connections: TaskGroup,
    endings: Endings,
    drain_timeout: Duration,
}

/// Where the receivers listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// OTLP/gRPC.
    pub grpc: Option<SocketAddr>,
    /// OTLP/HTTP.
    pub http: Option<SocketAddr>,
}

/// Looks at certificate and token files at once, for instance when a signal asks for it. They are also looked at
/// every `reload_interval`.
#[derive(Clone)]
pub struct Reloader {
    gates: Vec<Arc<Gate>>,
    stats: Arc<ReceiveStats>,
}

impl Reloader {
    /// Takes over what has changed. What is broken is counted, logged and returned, and the old stays in use.
    pub async fn reload(&self) -> Vec<ReceiveError> {
        let mut failures = Vec::new();
        for gate in &self.gates {
            failures.extend(gate.reload(&self.stats).await);
        }
        failures
    }

    async fn follow(gate: &Gate, stats: &ReceiveStats) {
        let mut looks = interval(gate.reload_interval);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once, when the files have only just been read.
        looks.tick().await;
        loop {
            looks.tick().await;
            gate.reload(stats).await;
        }
    }

    /// Follows the files of both listeners, for as long as it is polled.
    async fn follow_all(&self) {
        let follow = |index: usize| async move {
            match self.gates.get(index) {
                Some(gate) => Self::follow(gate, &self.stats).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(follow(0), follow(1));
    }
}

impl Receivers {
    /// [`Receivers::reserve`] and [`Receivers::listen`] in one.
    ///
    /// # Errors
    /// As these.
    pub async fn bind(
        config: ReceiveConfig,
        clock: Arc<dyn Clock>,
        submissions: mpsc::Sender<Submission>,
    ) -> Result<Self, ReceiveError> {
        Receivers::reserve(config, clock, submissions).await?.listen()
    }
}

impl Receivers<TcpSocket> {
    /// Reads certificates and tokens and reserves the ports, without listening yet.
    ///
    /// `submissions` is where batches go; when it is full, senders are told to come again.
    ///
    /// # Errors
    /// When an address is in use or cannot be bound, or a certificate or token file is no good.
    pub async fn reserve(
        config: ReceiveConfig,
        clock: Arc<dyn Clock>,
        submissions: mpsc::Sender<Submission>,
    ) -> Result<Self, ReceiveError> {
        let admission = Admission::new(config.bytes_in_flight_max);
        let stats = Arc::new(ReceiveStats::new(Arc::clone(&admission)));
        let door = Arc::new(Door {
            clock,
            submissions,
            admission,
            stats: Arc::clone(&stats),
            retry_after: config.retry_after,
            exports: TaskTracker::new(),
        });
        let connections = TaskGroup::new("otlp connections");
        let endings = Endings::default();
        let (health, health_service) = health().await;
        let site = Site { door, connections, endings, connections_max: config.connections_max };
        let (mut addresses, mut gates) = (Addresses { grpc: None, http: None }, Vec::new());
        let mut grpc = None;
        if let Some(config) = config.grpc {
            let (listener, gate) = site.grpc(config, health_service).await?;
            addresses.grpc = listener.socket.local_addr().ok();
            gates.push(gate);
            grpc = Some(listener);
        }
        let mut http = None;
        if let Some(config) = config.http {
            let (listener, gate) = site.http(config).await?;
            addresses.http = listener.socket.local_addr().ok();
            gates.push(gate);
            http = Some(listener);
        }
        let Site { door, connections, endings, .. } = site;
        let reloader = Reloader { gates, stats };
        let drain_timeout = config.drain_timeout;
        Ok(Self { grpc, http, addresses, reloader, door, health, connections, endings, drain_timeout })
    }

    /// Begins to listen: clients may connect from now on.
    ///
    /// # Errors
    /// When somebody else began to listen on a port in the meantime.
    pub fn listen(self) -> Result<Receivers, ReceiveError> {
        let Self { addresses, reloader, door, health, connections, endings, drain_timeout, .. } = self;
        let grpc = self.grpc.map(|listener| listener.listen(PROTOCOL_GRPC, KEY_GRPC)).transpose()?;
        let http = self.http.map(|listener| listener.listen(PROTOCOL_HTTP, KEY_HTTP)).transpose()?;
        Ok(Receivers { grpc, http, addresses, reloader, door, health, connections, endings, drain_timeout })
    }
}

impl<L> Receivers<L> {
    /// Where the receivers listen, with the ports they got.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What the receivers count.
    #[must_use]
    pub fn stats(&self) -> Arc<ReceiveStats> {
        Arc::clone(&self.door.stats)
    }

    /// The same way to the engine for batches that do not come through these sockets. The engine sees the end of its input
    /// when this is dropped, too.
    #[must_use]
    pub fn entrance(&self) -> Entrance {
        Entrance::new(Arc::clone(&self.door))
    }

    /// A handle that makes the receivers look at their files now.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }
}

impl Receivers {
    /// Serves until `shutdown`, then drains: health says `NOT_SERVING`, the sockets close, what is in flight is
    /// answered (for at most the drain timeout), connections end. Then the submissions channel is dropped, by which
    /// the engine sees the end; so the engine must keep answering until then.
    pub async fn serve(self, shutdown: CancellationToken) {
        let Self { grpc, http, reloader, door, health, connections, endings, drain_timeout, .. } = self;
        tokio::select! {
            ((), ()) = async { tokio::join!(accept(grpc, &shutdown), accept(http, &shutdown)) } => {}
            () = reloader.follow_all() => {}
        }
        set_health(&health, ServingStatus::NotServing).await;
        endings.drain.cancel();
        let drained = timeout(drain_timeout, async {
            door.exports.close();
            door.exports.wait().await;
            // Watchers have been told; without this their streams, and so their connections, would never end.
            forget_health(health).await;
            connections.finished().await;
        });
        if drained.await.is_err() {
            tracing::warn!(
                group = connections.name(),
                left = connections.len(),
                "closing what did not end in time"
            );
            endings.abort.cancel();
            if timeout(ABORT_TIMEOUT, connections.finished()).await.is_err() {
                tracing::error!(group = connections.name(), left = connections.len(), "tasks did not end");
            }
        }
    }
}

async fn accept<S>(listener: Option<Listener<S>>, shutdown: &CancellationToken)
where
    S: hyper::service::Service<
            http::Request<hyper::body::Incoming>,
            Response = http::Response<crate::answer::AnswerBody>,
            Error = std::convert::Infallible,
        >,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    match listener {
        Some(listener) => listener.accept(shutdown).await,
        None => shutdown.cancelled().await,
    }
}

/// What both listeners are built from.
struct Site {
    door: Arc<Door>,
    connections: TaskGroup,
    endings: Endings,
    connections_max: usize,
}

impl Site {
    async fn grpc(
        &self,
        config: GrpcConfig,
        health: HealthServer<HealthService>,
    ) -> Result<(Listener<GrpcService, TcpSocket>, Arc<Gate>), ReceiveError> {
        let gate = Arc::new(Gate::load(&config.listen, PROTOCOL_GRPC, &["h2"]).await?);
        let socket = reserve(config.listen.address, PROTOCOL_GRPC, KEY_GRPC)?;
        let service = GrpcService::new(Arc::clone(&self.door), Arc::clone(&gate), health);
        Ok((self.listener(socket, service, &gate, &config.listen), gate))
    }

    async fn http(
        &self,
        config: HttpConfig,
    ) -> Result<(Listener<HttpService, TcpSocket>, Arc<Gate>), ReceiveError> {
        let gate = Arc::new(Gate::load(&config.listen, PROTOCOL_HTTP, &["h2", "http/1.1"]).await?);
        let socket = reserve(config.listen.address, PROTOCOL_HTTP, KEY_HTTP)?;
        let service = HttpService::new(Arc::clone(&self.door), Arc::clone(&gate), config.paths, config.cors);
        Ok((self.listener(socket, service, &gate, &config.listen), gate))
    }

    fn listener<S>(
        &self,
        socket: TcpSocket,
        service: S,
        gate: &Arc<Gate>,
        config: &ListenConfig,
    ) -> Listener<S, TcpSocket> {
        let host = Host::new(
            service,
            Arc::clone(gate),
            config,
            Arc::clone(&self.door.stats),
            self.connections.clone(),
            self.endings.clone(),
        );
        Listener { socket, host, connections_max: self.connections_max }
    }
}

const PROTOCOL_GRPC: &str = "OTLP/gRPC";
const KEY_GRPC: &str = "receivers.otlp.protocols.grpc.endpoint";
const PROTOCOL_HTTP: &str = "OTLP/HTTP";
const KEY_HTTP: &str = "receivers.otlp.protocols.http.endpoint";

/// Makes the port ours: fails when somebody listens there.
fn reserve(
    address: SocketAddr,
    protocol: &'static str,
    key: &'static str,
) -> Result<TcpSocket, ReceiveError> {
    let reserved = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart must not wait for the connections of the process before to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(socket)
    };
    reserved().map_err(|source| refused(source, protocol, address, key))
}

fn refused(
    source: io::Error,
    protocol: &'static str,
    address: SocketAddr,
    key: &'static str,
) -> ReceiveError {
    match source.kind() {
        io::ErrorKind::AddrInUse => ReceiveError::AddressInUse { protocol, address, key },
        _ => ReceiveError::Bind { protocol, address, source },
    }
}

impl<S> Listener<S, TcpSocket> {
    fn listen(self, protocol: &'static str, key: &'static str) -> Result<Listener<S>, ReceiveError> {
        let Self { socket, host, connections_max } = self;
        let address = socket.local_addr().unwrap_or_else(|_| SocketAddr::from(([0; 4], 0)));
        let socket = socket.listen(BACKLOG).map_err(|source| refused(source, protocol, address, key))?;
        Ok(Listener { socket, host, connections_max })
    }
}

async fn health() -> (HealthReporter, HealthServer<HealthService>) {
    let reporter = HealthReporter::new();
    set_health(&reporter, ServingStatus::Serving).await;
    let service = HealthService::from_health_reporter(reporter.clone());
    (reporter, HealthServer::new(service).max_decoding_message_size(HEALTH_REQUEST_BYTES_MAX))
}

/// The server as a whole has the empty name.
const HEALTH_WHOLE: &str = "";

async fn set_health(health: &HealthReporter, status: ServingStatus) {
    health.set_service_status(HEALTH_WHOLE, status).await;
    for signal in SignalKind::ALL {
        health.set_service_status(service_name(signal), status).await;
    }
}

async fn forget_health(mut health: HealthReporter) {
    health.clear_service_status(HEALTH_WHOLE).await;
    for signal in SignalKind::ALL {
        health.clear_service_status(service_name(signal)).await;
    }
}
