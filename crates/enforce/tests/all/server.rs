//! A running xDS server, and clients of it in this process.

use std::net::SocketAddr;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use selvedge_enforce::xds::{XdsConfig, XdsEvent, XdsEventKind, XdsHandle, XdsServer};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

pub(crate) const ECDS: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
pub(crate) const IN: &str = "selvedge-inbound";
pub(crate) const OUT: &str = "selvedge-outbound";
/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) handle: XdsHandle,
    pub(crate) events: mpsc::Receiver<XdsEvent>,
    pub(crate) shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

/// The default configuration on a free port.
pub(crate) fn config() -> XdsConfig {
    XdsConfig { address: SocketAddr::from(([127, 0, 0, 1], 0)), ..XdsConfig::default() }
}

impl Server {
    pub(crate) async fn start(config: XdsConfig) -> Self {
        let (server, handle, events) = XdsServer::bind(config).await.unwrap();
        let (address, shutdown) = (server.address(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(server.serve(shutdown.clone()));
        Self { address, handle, events, shutdown, tasks }
    }

    /// Ends it, and waits for its tasks.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.tasks.join_next()).await.expect("the server ends").unwrap().unwrap();
    }

    pub(crate) async fn event(&mut self) -> XdsEventKind {
        timeout(PATIENCE, self.events.recv()).await.expect("an event comes").unwrap().kind
    }

    /// Waits for the next acknowledgement, and fails on a refusal.
    pub(crate) async fn acked(&mut self) -> String {
        loop {
            match self.event().await {
                XdsEventKind::Acked { version } => return version,
                XdsEventKind::Connected | XdsEventKind::Pushed { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) async fn client(&self) -> AggregatedDiscoveryServiceClient<Channel> {
        AggregatedDiscoveryServiceClient::connect(format!("http://{}", self.address)).await.unwrap()
    }

    pub(crate) async fn state_of_the_world(&self) -> Stream<DiscoveryRequest, DiscoveryResponse> {
        let (requests, receiver) = mpsc::channel(16);
        let answers = self.client().await.stream_aggregated_resources(ReceiverStream::new(receiver)).await;
        Stream { requests, answers: answers.unwrap().into_inner() }
    }

    pub(crate) async fn delta(&self) -> Stream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> {
        let (requests, receiver) = mpsc::channel(16);
        let answers = self.client().await.delta_aggregated_resources(ReceiverStream::new(receiver)).await;
        Stream { requests, answers: answers.unwrap().into_inner() }
    }
}

/// One stream of a client.
pub(crate) struct Stream<Q, A> {
    requests: mpsc::Sender<Q>,
    answers: Streaming<A>,
}

impl<Q, A> Stream<Q, A> {
    pub(crate) async fn send(&self, request: Q) {
        assert!(self.requests.send(request).await.is_ok(), "the stream is open");
    }

    pub(crate) async fn answer(&mut self) -> A {
        self.result().await.unwrap().expect("the stream goes on")
    }

    /// How the stream ends.
    pub(crate) async fn end(&mut self) -> Status {
        match self.result().await {
            Err(status) => status,
            Ok(_) => panic!("the stream should end with an error"),
        }
    }

    async fn result(&mut self) -> Result<Option<A>, Status> {
        timeout(PATIENCE, self.answers.message()).await.expect("an answer comes")
    }
}

/// A proxy of a workload of the namespace.
pub(crate) fn node(workload: &str) -> Option<Node> {
    let cluster = format!("{workload}.{}", super::quarantines::NAMESPACE);
    Some(Node { id: format!("{workload}-0"), cluster, ..Node::default() })
}
