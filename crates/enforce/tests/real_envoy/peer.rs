//! An Envoy of its own for each test: one workload's sidecar, whose routes answer 200 by themselves.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rcgen::SanType;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{Duration, timeout};
use tokio_rustls::TlsConnector;

use crate::mesh::Authority;
use crate::server::{IN, OUT, PATIENCE};

/// How Envoy asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Api {
    StateOfTheWorld,
    Delta,
}

/// What differs between tests.
pub(crate) struct Setup {
    pub(crate) xds: SocketAddr,
    pub(crate) api: Api,
    /// The filter named as ours is to be RBAC, as it should.
    pub(crate) takes_rbac: bool,
    /// TLS to the control plane, with a client certificate of the same authority, and this token.
    pub(crate) secured: Option<(Authority, &'static str)>,
}

impl Setup {
    pub(crate) fn of(xds: SocketAddr) -> Self {
        Self { xds, api: Api::StateOfTheWorld, takes_rbac: true, secured: None }
    }
}

/// A running Envoy; it ends with its value.
pub(crate) struct Envoy {
    _process: Child,
    _folder: tempfile::TempDir,
    authority: Authority,
    admin: SocketAddr,
    inbound: SocketAddr,
    inbound_tls: SocketAddr,
    outbound: SocketAddr,
}

impl Envoy {
    /// Starts it and waits until it listens.
    pub(crate) async fn start(setup: &Setup) -> Self {
        #[expect(clippy::disallowed_methods, reason = "which Envoy is for the caller of the test to say")]
        let binary = std::env::var("ENVOY").expect("ENVOY names the envoy to test with");
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        let path = |name: &str| folder.path().join(name);
        let identity = authority.issue(SanType::DnsName("ledger".try_into().unwrap()));
        std::fs::write(path("ca.pem"), authority.pem()).unwrap();
        std::fs::write(path("cert.pem"), identity.certificate.pem()).unwrap();
        std::fs::write(path("key.pem"), identity.key.serialize_pem()).unwrap();
        if let Some((authority, _)) = &setup.secured {
            let identity =
                authority.issue(SanType::URI("spiffe://mesh.example/ns/shop/sa/ledger".try_into().unwrap()));
            std::fs::write(path("xds-ca.pem"), authority.pem()).unwrap();
            std::fs::write(path("xds-cert.pem"), identity.certificate.pem()).unwrap();
            std::fs::write(path("xds-key.pem"), identity.key.serialize_pem()).unwrap();
        }
        std::fs::write(path("envoy.json"), bootstrap(setup, folder.path()).to_string()).unwrap();
        let log = std::fs::File::create(path("log")).unwrap();
        let mut process = Command::new(binary)
            .args(["--concurrency", "1", "--use-dynamic-base-id", "-l", "warn", "--drain-time-s", "1"])
            .arg("-c")
            .arg(path("envoy.json"))
            .arg("--admin-address-path")
            .arg(path("admin"))
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let listening = timeout(PATIENCE, listening(&path("admin"), &mut process)).await;
        let Ok(Some((admin, ports))) = listening else {
            panic!("envoy does not listen: {}", std::fs::read_to_string(path("log")).unwrap())
        };
        let [inbound, inbound_tls, outbound] = ports;
        Self { _process: process, _folder: folder, authority, admin, inbound, inbound_tls, outbound }
    }

    /// A plaintext connection to the inbound listener.
    pub(crate) async fn inbound(&self) -> Connection {
        Connection::over(TcpStream::connect(self.inbound).await.unwrap()).await
    }

    /// A TLS connection to the inbound listener, with a certificate of this identity or none.
    pub(crate) async fn inbound_tls(&self, id: Option<&str>) -> Connection {
        let connector = TlsConnector::from(Arc::new(self.authority.client(id)));
        let stream = TcpStream::connect(self.inbound_tls).await.unwrap();
        Connection::over(connector.connect("ledger".try_into().unwrap(), stream).await.unwrap()).await
    }

    /// A connection to the outbound listener, as the workload itself has it.
    pub(crate) async fn outbound(&self) -> Connection {
        Connection::over(TcpStream::connect(self.outbound).await.unwrap()).await
    }

    /// Counters and gauges whose names hold a text.
    pub(crate) async fn stats(&self, part: &str) -> Vec<(String, u64)> {
        let mut admin = Connection::over(TcpStream::connect(self.admin).await.unwrap()).await;
        let (_, text) = admin.exchange("GET", &format!("/stats?filter={part}"), "admin").await.unwrap();
        let pair = |line: &str| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        text.lines().filter_map(pair).collect()
    }
}

/// Where the admin interface and the three listeners are, once they all are. `None` when the process ended.
async fn listening(admin: &Path, process: &mut Child) -> Option<(SocketAddr, [SocketAddr; 3])> {
    loop {
        if process.try_wait().unwrap().is_some() {
            return None;
        }
        if let Some(found) = ports(admin).await {
            return Some(found);
        }
        // Polls a peer that has no way to call back; bounded by the caller.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn ports(admin: &Path) -> Option<(SocketAddr, [SocketAddr; 3])> {
    let admin: SocketAddr = std::fs::read_to_string(admin).ok()?.trim().parse().ok()?;
    let mut connection = Connection::over(TcpStream::connect(admin).await.ok()?).await;
    let (_, ready) = connection.exchange("GET", "/ready", "admin").await?;
    let (_, text) = connection.exchange("GET", "/listeners?format=json", "admin").await?;
    let listeners: Value = serde_json::from_str(&text).ok()?;
    let port = |name: &str| {
        let listeners = listeners["listener_statuses"].as_array()?;
        let listener = listeners.iter().find(|listener| listener["name"] == name)?;
        let port = listener["local_address"]["socket_address"]["port_value"].as_u64()?;
        Some(SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).ok()?)))
    };
    let ports = [port("inbound")?, port("inbound_tls")?, port("outbound")?];
    (ready.trim() == "LIVE").then_some((admin, ports))
}

fn bootstrap(setup: &Setup, folder: &Path) -> Value {
    let api_type = match setup.api {
        Api::StateOfTheWorld => "GRPC",
        Api::Delta => "DELTA_GRPC",
    };
    let h2 = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}}}});
    let endpoint = json!({"endpoint": {"address": address(setup.xds)}});
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let ours = if setup.takes_rbac { RBAC } else { "envoy.extensions.filters.http.fault.v3.HTTPFault" };
    let mut cluster = json!({"name": "xds", "type": "STATIC", "connect_timeout": "1s",
        "typed_extension_protocol_options": h2,
        "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [endpoint]}]}});
    let mut service = json!({"envoy_grpc": {"cluster_name": "xds"}});
    if let Some((_, token)) = &setup.secured {
        cluster["transport_socket"] = xds_tls(folder);
        service["initial_metadata"] = json!([{"key": "authorization", "value": format!("Bearer {token}")}]);
    }
    json!({
        "node": {"id": "ledger-0", "cluster": "ledger.shop"},
        "admin": {"address": address(free)},
        "dynamic_resources": {"ads_config": {
            "api_type": api_type, "transport_api_version": "V3", "set_node_on_first_message_only": true,
            "grpc_services": [service]}},
        "static_resources": {
            "clusters": [cluster],
            "listeners": [
                listener("inbound", IN, ours, None),
                listener("inbound_tls", IN, ours, Some(tls(folder))),
                listener("outbound", OUT, RBAC, None),
            ]},
    })
}

const RBAC: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";

fn address(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

/// A listener whose requests pass the filter and are answered 200.
fn listener(name: &str, resource: &str, kind: &str, transport: Option<Value>) -> Value {
    let kind = format!("type.googleapis.com/{kind}");
    let filters = json!([
        {"name": resource, "config_discovery": {
            "config_source": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "2s"},
            "type_urls": [kind], "default_config": {"@type": kind},
            "apply_default_config_without_warming": true}},
        {"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}},
    ]);
    let answer = json!({"match": {"prefix": "/"}, "direct_response": {"status": 200}});
    let manager = json!({"name": "hcm", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name, "http_filters": filters, "route_config": {
            "name": name, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]}}});
    let mut chain = json!({"filters": [manager]});
    if let Some(transport) = transport {
        chain["transport_socket"] = transport;
    }
    json!({"name": name, "address": address(SocketAddr::from(([127, 0, 0, 1], 0))), "filter_chains": [chain]})
}

/// TLS that verifies a client's certificate when there is one, and does without when there is none.
fn tls(folder: &Path) -> Value {
    let file = |name: &str| json!({"filename": folder.join(name)});
    json!({"name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": false,
        "common_tls_context": {
            "tls_certificates": [{"certificate_chain": file("cert.pem"), "private_key": file("key.pem")}],
            "validation_context": {"trusted_ca": file("ca.pem")}}}})
}

/// TLS to the control plane.
fn xds_tls(folder: &Path) -> Value {
    let file = |name: &str| json!({"filename": folder.join(name)});
    json!({"name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": "localhost",
        "common_tls_context": {
            "tls_certificates": [{"certificate_chain": file("xds-cert.pem"), "private_key": file("xds-key.pem")}],
            "validation_context": {"trusted_ca": file("xds-ca.pem"), "match_typed_subject_alt_names": [
                {"san_type": "DNS", "matcher": {"exact": "localhost"}}]}}}})
}

/// A kept-alive HTTP/1.1 connection.
pub(crate) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    _driver: JoinSet<()>,
}

impl Connection {
    async fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        Self { sender, _driver: driver }
    }

    /// The status of a GET.
    pub(crate) async fn get(&mut self, path: &str, host: &str) -> u16 {
        self.request("GET", path, host).await
    }

    /// The status of a request.
    pub(crate) async fn request(&mut self, method: &str, path: &str, host: &str) -> u16 {
        self.exchange(method, path, host).await.expect("an answer").0
    }

    async fn exchange(&mut self, method: &str, path: &str, host: &str) -> Option<(u16, String)> {
        let request = http::Request::builder().method(method).uri(path).header("host", host);
        let exchange = async {
            self.sender.ready().await.ok()?;
            let response = self.sender.send_request(request.body(Empty::new()).ok()?).await.ok()?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.ok()?.to_bytes();
            Some((status, String::from_utf8_lossy(&body).into_owned()))
        };
        timeout(PATIENCE, exchange).await.ok()?
    }
}
