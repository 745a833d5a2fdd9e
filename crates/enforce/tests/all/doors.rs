//! Who gets in: token, number of streams, TLS with client certificates.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use hyper_util::rt::TokioIo;
use selvedge_enforce::xds::{TokenGate, XdsConfig, XdsTls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::transport::{Channel, Endpoint, Uri};

use super::mesh::Authority;
use super::quarantines::peace;
use super::server::{ECDS, IN, Server, config, node};

fn subscription() -> DiscoveryRequest {
    DiscoveryRequest {
        node: node("ledger"),
        resource_names: vec![IN.to_owned()],
        type_url: ECDS.to_owned(),
        ..DiscoveryRequest::default()
    }
}

#[tokio::test]
async fn without_the_token_there_is_no_stream() {
    let server = Server::start(XdsConfig { token: Some(s3cret()), ..config() }).await;
    server.handle.publish(peace());
    for (token, admitted) in [(None, false), (Some("Bearer wrong"), false), (Some("Bearer s3cret"), true)] {
        let mut request = Request::new(tokio_stream::once(subscription()));
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", token.parse().unwrap());
        }
        let opened = server.client().await.stream_aggregated_resources(request).await;
        match opened {
            Ok(_) => assert!(admitted),
            Err(status) => {
                assert!(!admitted);
                assert_eq!(status.code(), tonic::Code::Unauthenticated);
            }
        }
    }
    assert_eq!(server.handle.stats().unauthenticated.load(Ordering::Relaxed), 2);
    server.stop().await;
}

#[tokio::test]
async fn streams_past_the_bound_are_refused() {
    let server = Server::start(XdsConfig { streams_max: 2, ..config() }).await;
    let mut client = server.client().await;
    let mut open = async || {
        let (requests, receiver) = mpsc::channel::<DiscoveryRequest>(1);
        let stream = client.stream_aggregated_resources(ReceiverStream::new(receiver)).await;
        stream.map(|stream| (requests, stream))
    };
    let (first, second) = (open().await, open().await);
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(open().await.map(|_| ()).unwrap_err().code(), tonic::Code::ResourceExhausted);
    assert_eq!(server.handle.stats().refused.load(Ordering::Relaxed), 1);
    server.stop().await;
}

#[tokio::test]
async fn with_client_certificates_only_those_of_the_authority_get_in() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (reload, server_tls) = watch::channel(Arc::new(authority.server("localhost", true)));
    let tls = Some(XdsTls { server: server_tls, clients_verified: true });
    let server = Server::start(XdsConfig { tls, ..config() }).await;
    server.handle.publish(peace());
    let id = "spiffe://mesh.example/ns/shop/sa/ledger";
    let table = [(authority.client(Some(id)), true), (authority.client(None), false)];
    let strange = (stranger.client_trusting(&authority, Some(id)), false);
    for (client, admitted) in table.into_iter().chain([strange]) {
        assert_eq!(answered(&server, client).await, admitted);
    }
    assert_eq!(server.handle.stats().handshakes_failed.load(Ordering::Relaxed), 2);
    // The files were replaced: new connections see the new ones.
    reload.send(Arc::new(stranger.server("localhost", true))).unwrap();
    assert!(!answered(&server, authority.client(Some(id))).await);
    assert!(answered(&server, stranger.client(Some(id))).await);
    server.stop().await;
}

/// Scenario: connections that begin and ask for nothing, by a clock that runs ahead whenever all wait.
/// Guarantees: they do not keep the place of a proxy.
#[tokio::test(start_paused = true)]
async fn a_connection_that_asks_for_nothing_is_closed() {
    let server = Server::start(config()).await;
    let whole = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    for begun in [&whole[..0], &whole[..10], &whole[..24], &whole[..]] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(begun).await.unwrap();
        let mut told = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(300), stream.read_to_end(&mut told)).await;
        assert!(closed.is_ok(), "still open after {} bytes", begun.len());
    }
    server.stop().await;
}

/// True when a client gets an answer to its subscription.
async fn answered(server: &Server, client: rustls::ClientConfig) -> bool {
    let mut client = AggregatedDiscoveryServiceClient::new(channel(server.address, client));
    let (requests, receiver) = mpsc::channel(1);
    requests.send(subscription()).await.unwrap();
    let opened = client.stream_aggregated_resources(ReceiverStream::new(receiver)).await;
    match opened {
        Ok(mut stream) => stream.get_mut().message().await.is_ok_and(|answer| answer.is_some()),
        Err(_) => false,
    }
}

fn channel(address: std::net::SocketAddr, tls: rustls::ClientConfig) -> Channel {
    let mut tls = tls;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(tls));
    let connect = tower::service_fn(move |_: Uri| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            let name = "localhost".try_into().expect("a name");
            Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
        }
    });
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect)
}

/// The door of a program that knows one token.
fn s3cret() -> TokenGate {
    TokenGate::new(|headers| headers.get("authorization").is_some_and(|value| value == "Bearer s3cret"))
}
