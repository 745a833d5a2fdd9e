//! TLS, client certificates, and files that change while the receivers run.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::*;

/// A certificate authority with a folder for what the receiver reads.
struct Authority {
    folder: TempDir,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, PEM.
struct Identity {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { folder: TempDir::new().unwrap(), certificate, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        Identity {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn install(&self, identity: &Identity) {
        std::fs::write(self.path("tls.crt"), &identity.certificate).unwrap();
        std::fs::write(self.path("tls.key"), &identity.key).unwrap();
        std::fs::write(self.path("ca.crt"), &self.certificate).unwrap();
    }

    fn section(&self, extra: &[(&str, Value)]) -> Value {
        let mut tls = json!({"cert_file": self.path("tls.crt"), "key_file": self.path("tls.key")});
        for (key, value) in extra {
            tls[*key] = value.clone();
        }
        json!({"protocols": {"grpc": {"tls": tls}, "http": {"tls": tls}}})
    }

    /// What a client trusts and shows.
    fn client(&self, identity: Option<&Identity>, alpn: &[&str]) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()).unwrap();
        let builder =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config
    }
}

async fn connect(address: SocketAddr, config: rustls::ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("collector.test").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// The certificate that the receiver shows.
async fn shown(address: SocketAddr, authority: &Authority) -> CertificateDer<'static> {
    let stream = connect(address, authority.client(None, &["h2"])).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

fn der(identity: &Identity) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()
}

async fn export_over(address: SocketAddr, config: rustls::ClientConfig) -> Result<(), String> {
    let connector = tower::service_fn(move |_: http::Uri| {
        let config = config.clone();
        async move { connect(address, config).await.map(TokioIo::new) }
    });
    let endpoint = tonic::transport::Endpoint::from_static("http://collector.test");
    let channel = endpoint.connect_with_connector(connector).await.map_err(|error| error.to_string())?;
    let request = ExportTraceServiceRequest { resource_spans: vec![Default::default()] };
    TraceServiceClient::new(channel).export(request).await.map(drop).map_err(|status| status.to_string())
}

#[tokio::test]
async fn both_receivers_speak_tls_and_http_speaks_both_versions() {
    let authority = Authority::new();
    authority.install(&authority.issue("collector.test"));
    let running = start(authority.section(&[])).await;
    export_over(running.grpc(), authority.client(None, &["h2"])).await.unwrap();
    let h1 = connect(running.http(), authority.client(None, &["http/1.1"])).await.unwrap();
    assert_eq!(send_over(TokioIo::new(h1), post("/v1/logs", &[JSON], "{}")).await.status, 200);
    let h2 = connect(running.http(), authority.client(None, &["h2", "http/1.1"])).await.unwrap();
    assert_eq!(h2.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(send_h2_over(TokioIo::new(h2), post("/v1/logs", &[JSON], "{}")).await.status, 200);
    assert_eq!(running.seen().len(), 3);
}

#[tokio::test]
async fn plain_text_to_a_tls_port_gets_nowhere_and_is_counted() {
    let authority = Authority::new();
    authority.install(&authority.issue("collector.test"));
    let running = start(authority.section(&[])).await;
    let mut stream = TcpStream::connect(running.http()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"POST /v1/logs HTTP/1.1\r\n\r\n").await.unwrap();
    until(|| running.stats.handshakes_failed.get() == 1).await;
}

#[tokio::test]
async fn with_a_client_ca_only_clients_with_its_certificates_get_in() {
    let authority = Authority::new();
    authority.install(&authority.issue("collector.test"));
    let running = start(authority.section(&[("client_ca_file", authority.path("ca.crt").into())])).await;
    let known = authority.issue("web");
    export_over(running.grpc(), authority.client(Some(&known), &["h2"])).await.unwrap();
    assert!(export_over(running.grpc(), authority.client(None, &["h2"])).await.is_err());
    let stranger = Authority::new().issue("web");
    assert!(export_over(running.grpc(), authority.client(Some(&stranger), &["h2"])).await.is_err());
    assert_eq!(running.seen().len(), 1);
}

#[tokio::test]
async fn the_minimum_version_is_kept() {
    let authority = Authority::new();
    authority.install(&authority.issue("collector.test"));
    let running = start(authority.section(&[("min_version", "1.3".into())])).await;
    let old = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    assert!(connect(running.grpc(), old).await.is_err());
    export_over(running.grpc(), authority.client(None, &["h2"])).await.unwrap();
}

#[tokio::test]
async fn changed_certificates_are_taken_over_and_broken_ones_are_not() {
    let authority = Authority::new();
    let (first, second) = (authority.issue("collector.test"), authority.issue("collector.test"));
    authority.install(&first);
    let running = start(authority.section(&[])).await;
    assert_eq!(shown(running.grpc(), &authority).await, der(&first));
    assert!(running.reloader.reload().await.is_empty());
    assert_eq!(running.stats.reloads.get(), 0, "nothing has changed");

    authority.install(&second);
    assert!(running.reloader.reload().await.is_empty());
    assert_eq!((shown(running.grpc(), &authority).await, running.stats.reloads.get()), (der(&second), 2));

    let broken = Identity { certificate: "not a certificate".to_owned(), key: first.key.clone() };
    let foreign_key = Identity { certificate: first.certificate.clone(), key: second.key.clone() };
    for identity in [broken, foreign_key] {
        authority.install(&identity);
        let failures = running.reloader.reload().await;
        assert_eq!(failures.len(), 2, "one for each receiver");
        assert!(failures[0].to_string().contains("tls.crt"), "{}", failures[0]);
        assert_eq!(shown(running.http(), &authority).await, der(&second));
    }
    assert_eq!(running.stats.reload_failures.get(), 4);
}

#[tokio::test]
async fn files_are_looked_at_without_being_asked_to() {
    let authority = Authority::new();
    let (first, second) = (authority.issue("collector.test"), authority.issue("collector.test"));
    authority.install(&first);
    let running = start(authority.section(&[("reload_interval", "5ms".into())])).await;
    authority.install(&second);
    until(|| running.stats.reloads.get() >= 2).await;
    assert_eq!(shown(running.grpc(), &authority).await, der(&second));
}

#[tokio::test]
async fn a_changed_token_is_taken_over_and_an_empty_one_is_not() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("token");
    let write = |token: &str| std::fs::write::<&Path, _>(&file, token).unwrap();
    write("one\n");
    let auth = json!({"protocols": {"http": {"auth": {"bearer_token_file": file.to_str().unwrap()}}}});
    let running = start(auth).await;
    let status = async |token: &str| {
        let authorization = format!("Bearer {token}");
        let headers = [JSON, ("authorization", authorization.as_str())];
        send(running.http(), post("/v1/logs", &headers, "{}")).await.status.as_u16()
    };
    assert_eq!((status("one").await, status("two").await), (200, 401));
    write("two");
    assert!(running.reloader.reload().await.is_empty());
    assert_eq!((status("one").await, status("two").await), (401, 200));
    write(" \n");
    assert_eq!(running.reloader.reload().await.len(), 1);
    assert_eq!((status("").await, status("two").await), (401, 200));
}

#[tokio::test]
async fn files_that_cannot_be_used_are_an_error_at_the_start_that_names_them() {
    let authority = Authority::new();
    authority.install(&authority.issue("collector.test"));
    std::fs::remove_file(authority.path("tls.key")).unwrap();
    let config = selvedge_receive::ReceiveConfig::try_from(section(&authority.section(&[]))).unwrap();
    let (sender, _receiver) = tokio::sync::mpsc::channel(1);
    let bound = selvedge_receive::Receivers::bind(config, Arc::new(FixedClock), sender).await;
    assert!(bound.err().unwrap().to_string().contains("tls.key"));
}
