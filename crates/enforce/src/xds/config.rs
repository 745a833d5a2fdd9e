//! What the xDS server needs to know, checked: what can be reached from other machines is protected.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use rustls::ServerConfig;
use tokio::sync::watch;

use super::error::XdsError;

/// The port of the design.
const PORT: u16 = 4321;

/// The xDS server's configuration.
#[derive(Clone, Debug)]
pub struct XdsConfig {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// TLS, when on.
    pub tls: Option<XdsTls>,
    /// The token that streams must carry as `authorization: Bearer TOKEN`, when on. An Envoy sends it by
    /// `initial_metadata` of its `grpc_service`.
    pub token: Option<TokenGate>,
    /// May be reached from other machines without either: the network protects it.
    pub insecure: bool,
    /// What the two resources are called.
    pub resources: ResourceNames,
    /// Streams at once, which bounds the proxies too: further ones are refused with `RESOURCE_EXHAUSTED`.
    pub streams_max: usize,
    /// Bytes of one request; larger ones end their stream. The first one of an Envoy lists its extensions.
    pub request_bytes_max: usize,
    /// Resource names of one subscription; more of them end the stream.
    pub names_max: usize,
    /// A proxy that leaves an answer unacknowledged for so long is stuck: this is said, and it gets the next answer all
    /// the same.
    pub stuck_after: Duration,
    /// Events that wait to be read; further ones are counted and lost, as [`super::XdsHandle::nodes`] has the state.
    pub events_max: usize,
    /// How long streams may take to end at shutdown.
    pub drain_timeout: Duration,
}

impl Default for XdsConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            tls: None,
            token: None,
            insecure: false,
            resources: ResourceNames::default(),
            streams_max: 4096,
            request_bytes_max: 1 << 20,
            names_max: 64,
            stuck_after: Duration::from_secs(10),
            events_max: 1024,
            drain_timeout: Duration::from_secs(5),
        }
    }
}

impl XdsConfig {
    /// Who can be reached from other machines must be able to tell who asks.
    pub(crate) fn check(&self) -> Result<(), XdsError> {
        let identified = self.token.is_some() || self.tls.as_ref().is_some_and(|tls| tls.clients_verified);
        if self.address.ip().is_loopback() || self.tls.is_some() && identified || self.insecure {
            return Ok(());
        }
        Err(XdsError::Exposed { address: self.address })
    }
}

/// Names of the resources, as proxies ask for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceNames {
    /// The filter of inbound listeners.
    pub inbound: String,
    /// The filter of outbound listeners.
    pub outbound: String,
}

impl Default for ResourceNames {
    fn default() -> Self {
        Self { inbound: "selvedge-inbound".to_owned(), outbound: "selvedge-outbound".to_owned() }
    }
}

/// TLS from whoever reads and follows the files: each new connection uses the configuration that is current.
#[derive(Clone)]
pub struct XdsTls {
    /// Certificate, key, versions, client CA. The protocol (`h2`) is set here.
    pub server: watch::Receiver<Arc<ServerConfig>>,
    /// True when `server` demands a client certificate and verifies it (mTLS).
    pub clients_verified: bool,
}

impl fmt::Debug for XdsTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("XdsTls")
            .field("clients_verified", &self.clients_verified)
            .finish_non_exhaustive()
    }
}

/// Asks whoever holds the token whether a request carries it: the same check as at the program's other doors.
#[derive(Clone)]
pub struct TokenGate(Arc<dyn Fn(&HeaderMap) -> bool + Send + Sync>);

impl TokenGate {
    /// Of the check; true when the request carries the token.
    #[must_use]
    pub fn new(admits: impl Fn(&HeaderMap) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(admits))
    }

    pub(crate) fn admits(&self, headers: &HeaderMap) -> bool {
        (self.0)(headers)
    }
}

impl fmt::Debug for TokenGate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn off_loopback_needs_tls_and_a_proof_of_who_asks() {
        let open = XdsConfig { address: SocketAddr::from(([0, 0, 0, 0], 0)), ..XdsConfig::default() };
        assert!(matches!(open.check(), Err(XdsError::Exposed { .. })));
        let token = Some(TokenGate::new(|_| true));
        let with_token = XdsConfig { token, ..open };
        assert!(with_token.check().is_err(), "a token in plain text is no protection");
        XdsConfig { insecure: true, ..with_token }.check().unwrap();
        XdsConfig::default().check().unwrap();
    }
}
