//! The `receivers.otlp` section as written, under the OpenTelemetry Collector's names. Unchecked: `config.rs` does.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use crate::auth::Secret;

/// `receivers.otlp`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpSection {
    /// Which receivers to run. Without it both run; with it only those named (as the Collector does).
    pub protocols: Option<ProtocolsSection>,
    /// Bytes in flight over both receivers; beyond it senders are told to come again. Default 64 MiB.
    pub bytes_in_flight_max: Option<u64>,
    /// Open connections per receiver; beyond it new ones are closed at once. Default 4096.
    pub connections_max: Option<u32>,
    /// What a refused sender is told to wait, for instance `1s`.
    pub retry_after: Option<String>,
    /// How long shutdown waits for what is in flight, for instance `10s`.
    pub drain_timeout: Option<String>,
}

/// `receivers.otlp.protocols`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProtocolsSection {
    /// OTLP/gRPC; present and empty means: with defaults.
    #[serde(deserialize_with = "present")]
    pub grpc: Option<GrpcSection>,
    /// OTLP/HTTP; present and empty means: with defaults.
    #[serde(deserialize_with = "present")]
    pub http: Option<HttpSection>,
}

/// A key that is there counts, even when nothing is written after it.
fn present<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Some(Option::deserialize(deserializer)?.unwrap_or_default()))
}

/// `receivers.otlp.protocols.grpc`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrpcSection {
    /// `ip:port` or `localhost:port`. Default `127.0.0.1:4317`.
    pub endpoint: Option<String>,
    /// Largest request in MiB, also after decompression. Default 20.
    pub max_recv_msg_size_mib: Option<u32>,
    /// Concurrent requests per connection. Default 100.
    pub max_concurrent_streams: Option<u32>,
    /// Connection age and pings.
    pub keepalive: Option<KeepaliveSection>,
    /// TLS; without it the receiver listens on loopback only.
    pub tls: Option<TlsSection>,
    /// Bearer token; without it the receiver listens on loopback only.
    pub auth: Option<AuthSection>,
    /// Listens on other addresses without TLS and token, too: for networks that protect it themselves.
    pub insecure: Option<bool>,
}

/// `receivers.otlp.protocols.http`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSection {
    /// `ip:port` or `localhost:port`. Default `127.0.0.1:4318`.
    pub endpoint: Option<String>,
    /// Largest request in bytes, also after decompression. Default 20 MiB.
    pub max_request_body_size: Option<u64>,
    /// Default `/v1/traces`.
    pub traces_url_path: Option<String>,
    /// Default `/v1/metrics`.
    pub metrics_url_path: Option<String>,
    /// Default `/v1/logs`.
    pub logs_url_path: Option<String>,
    /// Browsers that may send.
    pub cors: Option<CorsSection>,
    /// TLS; without it the receiver listens on loopback only.
    pub tls: Option<TlsSection>,
    /// Bearer token; without it the receiver listens on loopback only.
    pub auth: Option<AuthSection>,
    /// Listens on other addresses without TLS and token, too: for networks that protect it themselves.
    pub insecure: Option<bool>,
}

/// `keepalive`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeepaliveSection {
    /// The server's side, the only one there is.
    pub server_parameters: Option<ServerParametersSection>,
}

/// `keepalive.server_parameters`: durations such as `60s`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerParametersSection {
    /// Age at which a connection is asked to go, so that senders spread over replicas. Default: none.
    pub max_connection_age: Option<String>,
    /// What it is given to finish. Default 30s.
    pub max_connection_age_grace: Option<String>,
    /// Silence after which the peer is pinged. Default 30s.
    pub time: Option<String>,
    /// How long it may take to answer a ping. Default 10s.
    pub timeout: Option<String>,
}

/// `tls`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSection {
    /// Certificate chain, PEM. Required.
    pub cert_file: Option<PathBuf>,
    /// Private key, PEM. Required.
    pub key_file: Option<PathBuf>,
    /// CA of client certificates, PEM. With it every client must show one.
    pub client_ca_file: Option<PathBuf>,
    /// How often the files are looked at. Default 30s.
    pub reload_interval: Option<String>,
    /// `1.2` (default) or `1.3`.
    pub min_version: Option<String>,
}

/// `auth`: one of the two.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthSection {
    /// The token itself; better as `${env:NAME}`.
    pub bearer_token: Option<Secret>,
    /// A file with the token, looked at as often as the certificates.
    pub bearer_token_file: Option<PathBuf>,
}

/// `cors`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorsSection {
    /// Origins, exactly as browsers send them, or `*`. Empty: no cross-origin requests.
    pub allowed_origins: Vec<String>,
    /// Request headers beside `content-type` and `content-encoding`.
    pub allowed_headers: Vec<String>,
    /// Seconds a browser may remember the answer. Default 7200.
    pub max_age: Option<u32>,
}
