//! The receivers' configuration, checked: every value is usable, and what is exposed is protected.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use selvedge_model::SignalKind;

use crate::auth::Secret;
use crate::config_section::{
    AuthSection, CorsSection, GrpcSection, HttpSection, KeepaliveSection, OtlpSection, ProtocolsSection,
    TlsSection,
};

const MIB: usize = 1 << 20;
const GRPC_PORT: u16 = 4317;
const HTTP_PORT: u16 = 4318;
/// What the OTLP specification recommends.
const REQUEST_BYTES_MAX_DEFAULT: usize = 20 * MIB;
const BYTES_IN_FLIGHT_MAX_DEFAULT: usize = 64 * MIB;
/// A large mesh has some thousand proxies, each with one connection or two.
const CONNECTIONS_MAX_DEFAULT: u32 = 4096;
const STREAMS_MAX_DEFAULT: u32 = 100;
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);
const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
const AGE_GRACE_DEFAULT: Duration = Duration::from_secs(30);
const PING_AFTER_DEFAULT: Duration = Duration::from_secs(30);
const PING_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
const RELOAD_INTERVAL_DEFAULT: Duration = Duration::from_secs(30);
const CORS_MAX_AGE_SECS_DEFAULT: u32 = 7200;
/// Durations above this are mistakes of unit.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// One thing wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigError {
    /// Dotted path of the key.
    pub key: String,
    /// What is wrong and what to do.
    pub problem: String,
}

/// The receivers, ready to be bound.
#[derive(Clone, Debug)]
pub struct ReceiveConfig {
    /// OTLP/gRPC, unless it is not to run.
    pub grpc: Option<GrpcConfig>,
    /// OTLP/HTTP, unless it is not to run.
    pub http: Option<HttpConfig>,
    /// Bytes in flight over both.
    pub bytes_in_flight_max: usize,
    /// Connections open per receiver.
    pub connections_max: usize,
    /// What a refused sender is told to wait.
    pub retry_after: Duration,
    /// How long shutdown waits for what is in flight.
    pub drain_timeout: Duration,
}

impl Default for ReceiveConfig {
    /// Both receivers on loopback.
    fn default() -> Self {
        Self::try_from(OtlpSection::default()).expect("an empty section is valid: every key has a default")
    }
}

/// What both receivers have in common.
#[derive(Clone, Debug)]
pub struct ListenConfig {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// Largest request in bytes, before and after decompression.
    pub request_bytes_max: usize,
    /// TLS, when on.
    pub tls: Option<TlsConfig>,
    /// The token that requests must carry, when on.
    pub auth: Option<AuthConfig>,
    /// How often certificate and token files are looked at.
    pub reload_interval: Duration,
    /// Pings and age of connections.
    pub keepalive: Keepalive,
    /// Concurrent requests per HTTP/2 connection.
    pub streams_max: u32,
}

/// OTLP/gRPC.
#[derive(Clone, Debug)]
pub struct GrpcConfig {
    /// Socket, limits, protection.
    pub listen: ListenConfig,
}

/// OTLP/HTTP.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Socket, limits, protection.
    pub listen: ListenConfig,
    /// Where each signal is posted.
    pub paths: SignalPaths,
    /// Browsers that may send, if any.
    pub cors: Option<CorsConfig>,
}

/// The path of each signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalPaths {
    /// By [`SignalKind`], in its order.
    paths: [String; 3],
}

impl SignalPaths {
    /// The signal that is posted to `path`.
    #[must_use]
    pub fn signal(&self, path: &str) -> Option<SignalKind> {
        SignalKind::ALL.into_iter().find(|signal| self.paths[*signal as usize] == path)
    }
}

/// Cross-origin requests that are allowed.
#[derive(Clone, Debug)]
pub struct CorsConfig {
    /// `*` or origins.
    pub allowed_origins: Vec<String>,
    /// Header names, for `Access-Control-Allow-Headers`.
    pub allowed_headers: String,
    /// How long a browser may remember.
    pub max_age: Duration,
}

/// Pings and age of HTTP/2 connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Age at which a connection is asked to go.
    pub age_max: Option<Duration>,
    /// What it is given to finish.
    pub age_grace: Duration,
    /// Silence after which the peer is pinged.
    pub ping_after: Duration,
    /// How long it may take to answer.
    pub ping_timeout: Duration,
}

/// TLS of one receiver.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// Certificate chain, PEM.
    pub cert_file: PathBuf,
    /// Private key, PEM.
    pub key_file: PathBuf,
    /// Who may connect.
    pub client: ClientTls,
    /// Lowest version spoken.
    pub version_min: TlsVersion,
}

/// Whether clients must show a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientTls {
    /// They need not.
    Unverified,
    /// They must, signed by this CA (mTLS).
    Required {
        /// CA certificates, PEM.
        ca_file: PathBuf,
    },
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    V12,
    /// TLS 1.3.
    V13,
}

/// Where the bearer token comes from.
#[derive(Clone, Debug)]
pub enum AuthConfig {
    /// It is in the configuration.
    Token(Secret),
    /// It is in a file, which is followed.
    TokenFile(PathBuf),
}

impl TryFrom<OtlpSection> for ReceiveConfig {
    type Error = Vec<ConfigError>;

    /// Checks everything and reports everything that is wrong, each with its key.
    fn try_from(section: OtlpSection) -> Result<Self, Vec<ConfigError>> {
        let mut check = Check::default();
        let protocols = section.protocols.unwrap_or_else(|| ProtocolsSection {
            grpc: Some(GrpcSection::default()),
            http: Some(HttpSection::default()),
        });
        let grpc = protocols.grpc.and_then(|grpc| check.grpc(grpc));
        let http = protocols.http.and_then(|http| check.http(http));
        let largest = [grpc.as_ref().map(|grpc| &grpc.listen), http.as_ref().map(|http| &http.listen)]
            .into_iter()
            .flatten()
            .map(|listen| listen.request_bytes_max)
            .max();
        if largest.is_none() && check.errors.is_empty() {
            check.refuse("protocols", "name at least one of grpc and http".to_owned());
        }
        let config = Self {
            grpc,
            http,
            bytes_in_flight_max: check.bytes_in_flight_max(section.bytes_in_flight_max, largest.unwrap_or(0)),
            connections_max: check.count("connections_max", section.connections_max, CONNECTIONS_MAX_DEFAULT)
                as usize,
            retry_after: check.duration("retry_after", section.retry_after.as_deref(), RETRY_AFTER_DEFAULT),
            drain_timeout: check.duration(
                "drain_timeout",
                section.drain_timeout.as_deref(),
                DRAIN_TIMEOUT_DEFAULT,
            ),
        };
        if check.errors.is_empty() { Ok(config) } else { Err(check.errors) }
    }
}

impl TlsSection {
    /// The same section of another listener, whose keys begin with `key`.
    ///
    /// # Errors
    /// Everything that is wrong, each with its key.
    pub fn check(self, key: &str) -> Result<TlsConfig, Vec<ConfigError>> {
        let mut check = Check::default();
        let config = check.tls("tls", self);
        let own = |error: ConfigError| ConfigError {
            key: error.key.replacen("receivers.otlp.tls", key, 1),
            ..error
        };
        config.ok_or_else(|| check.errors.into_iter().map(own).collect())
    }
}

/// Collects everything that is wrong.
#[derive(Default)]
struct Check {
    errors: Vec<ConfigError>,
}

impl Check {
    fn refuse(&mut self, key: &str, problem: String) {
        self.errors.push(ConfigError { key: format!("receivers.otlp.{key}"), problem });
    }

    fn grpc(&mut self, section: GrpcSection) -> Option<GrpcConfig> {
        const KEY: &str = "protocols.grpc";
        let size_key = format!("{KEY}.max_recv_msg_size_mib");
        let request_bytes_max = section.max_recv_msg_size_mib.map(|mib| u64::from(mib) * MIB as u64);
        let listen = Listen {
            key: KEY,
            port: GRPC_PORT,
            endpoint: section.endpoint,
            request_bytes_max: self.request_bytes_max(&size_key, request_bytes_max),
            tls: section.tls,
            auth: section.auth,
            insecure: section.insecure.unwrap_or(false),
            keepalive: self.keepalive(&format!("{KEY}.keepalive"), section.keepalive.unwrap_or_default()),
            streams_max: self.count(
                &format!("{KEY}.max_concurrent_streams"),
                section.max_concurrent_streams,
                STREAMS_MAX_DEFAULT,
            ),
        };
        Some(GrpcConfig { listen: self.listen(listen)? })
    }

    fn http(&mut self, section: HttpSection) -> Option<HttpConfig> {
        const KEY: &str = "protocols.http";
        let size_key = format!("{KEY}.max_request_body_size");
        let paths = self.paths([
            ("protocols.http.traces_url_path", section.traces_url_path, "/v1/traces"),
            ("protocols.http.metrics_url_path", section.metrics_url_path, "/v1/metrics"),
            ("protocols.http.logs_url_path", section.logs_url_path, "/v1/logs"),
        ]);
        let cors = section.cors.and_then(|cors| self.cors(cors));
        let listen = Listen {
            key: KEY,
            port: HTTP_PORT,
            endpoint: section.endpoint,
            request_bytes_max: self.request_bytes_max(&size_key, section.max_request_body_size),
            tls: section.tls,
            auth: section.auth,
            insecure: section.insecure.unwrap_or(false),
            keepalive: self.keepalive("", KeepaliveSection::default()),
            streams_max: STREAMS_MAX_DEFAULT,
        };
        Some(HttpConfig { listen: self.listen(listen)?, paths, cors })
    }

    fn listen(&mut self, listen: Listen) -> Option<ListenConfig> {
        let key = listen.key;
        let reload_interval = self.duration(
            &format!("{key}.tls.reload_interval"),
            listen.tls.as_ref().and_then(|tls| tls.reload_interval.as_deref()),
            RELOAD_INTERVAL_DEFAULT,
        );
        let (tls_wanted, auth_wanted) = (listen.tls.is_some(), listen.auth.is_some());
        let tls = listen.tls.and_then(|tls| self.tls(&format!("{key}.tls"), tls));
        let auth = listen.auth.and_then(|auth| self.auth(&format!("{key}.auth"), auth));
        let address = self.address(&format!("{key}.endpoint"), listen.endpoint.as_deref(), listen.port)?;
        if !(address.ip().is_loopback() || tls_wanted && auth_wanted || listen.insecure) {
            let problem = format!(
                "{address} can be reached from other machines, which needs both `tls` (cert_file, key_file) and \
                 `auth` (bearer_token or bearer_token_file); add what is missing, listen on 127.0.0.1, or say \
                 `insecure: true`"
            );
            self.refuse(&format!("{key}.endpoint"), problem);
        }
        Some(ListenConfig {
            address,
            request_bytes_max: listen.request_bytes_max,
            tls,
            auth,
            reload_interval,
            keepalive: listen.keepalive,
            streams_max: listen.streams_max,
        })
    }

    /// An address is written as `ip:port`; `localhost` is the one name that needs no resolver to be loopback.
    fn address(&mut self, key: &str, endpoint: Option<&str>, port: u16) -> Option<SocketAddr> {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let Some(endpoint) = endpoint else { return Some(SocketAddr::new(loopback, port)) };
        let local_port = endpoint.strip_prefix("localhost:").and_then(|port| port.parse().ok());
        let address =
            local_port.map(|port| SocketAddr::new(loopback, port)).or_else(|| endpoint.parse().ok());
        if address.is_none() {
            self.refuse(
                key,
                format!("{endpoint:?} is not `ip:port` (such as 127.0.0.1:{port}) or `localhost:port`"),
            );
        }
        address
    }

    fn tls(&mut self, key: &str, section: TlsSection) -> Option<TlsConfig> {
        let mut required = |name: &str, path: Option<PathBuf>| {
            if path.is_none() {
                self.refuse(&format!("{key}.{name}"), "is required with tls".to_owned());
            }
            path
        };
        let (cert_file, key_file) =
            (required("cert_file", section.cert_file), required("key_file", section.key_file));
        let version_min = match section.min_version.as_deref() {
            None | Some("1.2") => TlsVersion::V12,
            Some("1.3") => TlsVersion::V13,
            Some(other) => {
                self.refuse(
                    &format!("{key}.min_version"),
                    format!("{other:?} is neither \"1.2\" nor \"1.3\""),
                );
                return None;
            }
        };
        let client = match section.client_ca_file {
            None => ClientTls::Unverified,
            Some(ca_file) => ClientTls::Required { ca_file },
        };
        Some(TlsConfig { cert_file: cert_file?, key_file: key_file?, client, version_min })
    }

    fn auth(&mut self, key: &str, section: AuthSection) -> Option<AuthConfig> {
        match (section.bearer_token, section.bearer_token_file) {
            (Some(token), None) if !token.reveal().trim().is_empty() => {
                Some(AuthConfig::Token(Secret::new(token.reveal().trim().to_owned())))
            }
            (None, Some(file)) => Some(AuthConfig::TokenFile(file)),
            (Some(_), None) => {
                self.refuse(&format!("{key}.bearer_token"), "is empty".to_owned());
                None
            }
            _ => {
                self.refuse(key, "give exactly one of bearer_token and bearer_token_file".to_owned());
                None
            }
        }
    }

    fn keepalive(&mut self, key: &str, section: KeepaliveSection) -> Keepalive {
        let server = section.server_parameters.unwrap_or_default();
        let mut duration = |name: &str, text: Option<&str>, default| {
            self.duration(&format!("{key}.server_parameters.{name}"), text, default)
        };
        Keepalive {
            age_max: server
                .max_connection_age
                .as_deref()
                .map(|text| duration("max_connection_age", Some(text), DURATION_MAX)),
            age_grace: duration(
                "max_connection_age_grace",
                server.max_connection_age_grace.as_deref(),
                AGE_GRACE_DEFAULT,
            ),
            ping_after: duration("time", server.time.as_deref(), PING_AFTER_DEFAULT),
            ping_timeout: duration("timeout", server.timeout.as_deref(), PING_TIMEOUT_DEFAULT),
        }
    }

    fn paths(&mut self, paths: [(&str, Option<String>, &str); 3]) -> SignalPaths {
        let mut known: Vec<String> = Vec::new();
        let paths = paths.map(|(key, path, default)| {
            let path = path.unwrap_or_else(|| default.to_owned());
            if !path.starts_with('/') {
                self.refuse(key, format!("{path:?} does not start with /"));
            }
            if known.contains(&path) {
                self.refuse(key, format!("{path:?} is already the path of another signal"));
            }
            known.push(path.clone());
            path
        });
        SignalPaths { paths }
    }

    fn cors(&mut self, section: CorsSection) -> Option<CorsConfig> {
        if section.allowed_origins.is_empty() {
            return None;
        }
        let mut allowed_headers = String::from("content-type, content-encoding");
        for header in section.allowed_headers {
            if http::HeaderName::try_from(&header).is_err() {
                self.refuse(
                    "protocols.http.cors.allowed_headers",
                    format!("{header:?} is not a header name"),
                );
            }
            allowed_headers.push_str(", ");
            allowed_headers.push_str(&header);
        }
        let max_age = Duration::from_secs(section.max_age.unwrap_or(CORS_MAX_AGE_SECS_DEFAULT).into());
        Some(CorsConfig { allowed_origins: section.allowed_origins, allowed_headers, max_age })
    }

    fn request_bytes_max(&mut self, key: &str, bytes: Option<u64>) -> usize {
        // The length of a gRPC message, and of a batch in the journal, is a u32.
        let bytes_max = u64::from(u32::MAX) / 4;
        let bytes = bytes.unwrap_or(REQUEST_BYTES_MAX_DEFAULT as u64);
        if bytes == 0 || bytes_max < bytes {
            self.refuse(key, format!("must be between 1 byte and {} MiB", bytes_max / MIB as u64));
        }
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// A compressed request is in flight twice for a moment, as it came and as it is: both must fit.
    fn bytes_in_flight_max(&mut self, bytes: Option<u64>, request_bytes_max: usize) -> usize {
        let least = request_bytes_max.saturating_mul(2).saturating_add(1);
        let Some(bytes) = bytes else { return BYTES_IN_FLIGHT_MAX_DEFAULT.max(least) };
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if bytes < least {
            let problem =
                format!("must be at least {least}, more than twice the largest request, or it never fits");
            self.refuse("bytes_in_flight_max", problem);
        }
        bytes
    }

    fn count(&mut self, key: &str, count: Option<u32>, default: u32) -> u32 {
        if count == Some(0) {
            self.refuse(key, "must be at least 1".to_owned());
        }
        count.unwrap_or(default)
    }

    fn duration(&mut self, key: &str, text: Option<&str>, default: Duration) -> Duration {
        let Some(text) = text else { return default };
        match humantime::parse_duration(text) {
            Ok(duration) if !duration.is_zero() && duration <= DURATION_MAX => return duration,
            Ok(_) => self.refuse(key, format!("{text:?} must be more than nothing and at most a year")),
            Err(error) => self.refuse(key, format!("{text:?} is not a duration such as 30s or 1h: {error}")),
        }
        default
    }
}

/// What both receivers' sections have in common, on its way to [`ListenConfig`].
struct Listen {
    key: &'static str,
    port: u16,
    endpoint: Option<String>,
    request_bytes_max: usize,
    tls: Option<TlsSection>,
    auth: Option<AuthSection>,
    insecure: bool,
    keepalive: Keepalive,
    streams_max: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(section: serde_json::Value) -> Result<ReceiveConfig, Vec<ConfigError>> {
        ReceiveConfig::try_from(serde_json::from_value::<OtlpSection>(section).expect("well formed"))
    }

    fn keys(section: serde_json::Value) -> Vec<String> {
        check(section).expect_err("invalid").into_iter().map(|error| error.key).collect()
    }

    #[test]
    fn nothing_configured_listens_on_loopback_on_the_known_ports() {
        let config = ReceiveConfig::default();
        assert_eq!(config.grpc.unwrap().listen.address, "127.0.0.1:4317".parse().unwrap());
        let http = config.http.unwrap();
        assert_eq!(http.listen.address, "127.0.0.1:4318".parse().unwrap());
        assert_eq!(http.listen.request_bytes_max, 20 << 20);
        assert_eq!(http.paths.signal("/v1/metrics"), Some(SignalKind::Metrics));
        assert_eq!(config.bytes_in_flight_max, 64 << 20);
    }

    #[test]
    fn a_protocol_that_is_named_runs_even_with_nothing_after_it_and_the_other_does_not() {
        let config = check(serde_json::json!({"protocols": {"grpc": null}})).unwrap();
        assert!(config.grpc.is_some() && config.http.is_none());
        assert_eq!(keys(serde_json::json!({"protocols": {}})), ["receivers.otlp.protocols"]);
    }

    #[test]
    fn the_collectors_own_names_are_understood() {
        let config = check(serde_json::json!({"protocols": {
            "grpc": {
                "endpoint": "localhost:1", "max_recv_msg_size_mib": 4, "max_concurrent_streams": 7,
                "keepalive": {"server_parameters": {
                    "max_connection_age": "60s", "max_connection_age_grace": "30s", "time": "30s", "timeout": "10s"}},
                "tls": {"cert_file": "c", "key_file": "k", "client_ca_file": "a", "reload_interval": "1h",
                    "min_version": "1.3"},
                "auth": {"bearer_token_file": "t"}},
            "http": {"endpoint": "[::1]:2", "max_request_body_size": 1000, "traces_url_path": "/t",
                "cors": {"allowed_origins": ["https://shop.example"], "allowed_headers": ["x-id"], "max_age": 1}},
        }}))
        .unwrap();
        let grpc = config.grpc.unwrap().listen;
        assert_eq!((grpc.request_bytes_max, grpc.streams_max), (4 << 20, 7));
        assert_eq!(grpc.keepalive.age_max, Some(Duration::from_secs(60)));
        assert_eq!(grpc.reload_interval, Duration::from_secs(3600));
        assert_eq!(grpc.tls.unwrap().version_min, TlsVersion::V13);
        assert_eq!(config.http.unwrap().paths.signal("/t"), Some(SignalKind::Traces));
    }

    #[test]
    fn an_address_off_loopback_needs_tls_and_a_token() {
        let tls = serde_json::json!({"cert_file": "c", "key_file": "k"});
        let auth = serde_json::json!({"bearer_token": "t"});
        let http = |extra: serde_json::Value| {
            let mut section = extra;
            section["endpoint"] = "0.0.0.0:4318".into();
            serde_json::json!({"protocols": {"http": section}})
        };
        let refused = ["receivers.otlp.protocols.http.endpoint"];
        assert_eq!(keys(http(serde_json::json!({}))), refused);
        assert_eq!(keys(http(serde_json::json!({"tls": tls}))), refused);
        assert_eq!(keys(http(serde_json::json!({"auth": auth}))), refused);
        assert!(check(http(serde_json::json!({"tls": tls, "auth": auth}))).is_ok());
    }

    #[test]
    fn every_error_is_reported_at_once_with_its_key() {
        let section = serde_json::json!({
            "bytes_in_flight_max": 10, "connections_max": 0, "retry_after": "soon", "drain_timeout": "0s",
            "protocols": {
                "grpc": {"endpoint": "somewhere", "max_recv_msg_size_mib": 0, "tls": {"min_version": "1.1"}},
                "http": {"traces_url_path": "v1/traces", "metrics_url_path": "/same", "logs_url_path": "/same",
                    "auth": {"bearer_token": "a", "bearer_token_file": "b"}}}});
        let mut keys = keys(section);
        keys.sort_unstable();
        let expected = [
            "bytes_in_flight_max",
            "connections_max",
            "drain_timeout",
            "protocols.grpc.endpoint",
            "protocols.grpc.max_recv_msg_size_mib",
            "protocols.grpc.tls.cert_file",
            "protocols.grpc.tls.key_file",
            "protocols.grpc.tls.min_version",
            "protocols.http.auth",
            "protocols.http.logs_url_path",
            "protocols.http.traces_url_path",
            "retry_after",
        ];
        assert_eq!(keys, expected.map(|key| format!("receivers.otlp.{key}")));
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let typo = serde_json::json!({"protocols": {"grpc": {"endpiont": "127.0.0.1:4317"}}});
        let error = serde_json::from_value::<OtlpSection>(typo).unwrap_err().to_string();
        assert!(error.contains("endpiont") && error.contains("endpoint"), "{error}");
    }

    #[test]
    fn no_secret_is_printed_with_the_configuration() {
        let section = serde_json::json!({"protocols": {"http": {"auth": {"bearer_token": "s3cret"}}}});
        let section: OtlpSection = serde_json::from_value(section).unwrap();
        assert!(!format!("{section:?}").contains("s3cret"));
        assert!(!format!("{:?}", ReceiveConfig::try_from(section).unwrap()).contains("s3cret"));
    }
}
