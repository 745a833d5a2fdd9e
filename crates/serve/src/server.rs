//! Binding, and serving until shutdown.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Sources;
use crate::api;
use crate::auth::{Doorkeeper, ServeAuth, ServeAuthSection};
use crate::door;
use crate::hosts::Hosts;

/// Where the API listens unless configured (design section 4).
const ENDPOINT_DEFAULT: &str = "127.0.0.1:4319";

/// The `serve` section of the configuration file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServeSection {
    /// `address:port` of the API, `/metrics` and health. Loopback only, unless [`Self::insecure`].
    pub endpoint: Option<String>,
    /// Listens on other addresses, too, though the API has no TLS and reading needs no token: for networks that protect it
    /// themselves.
    pub insecure: bool,
    /// Names, beside `localhost` and the loopback addresses, under which a reverse proxy may ask: what stands in `Host`,
    /// without a port. Requests under other names are refused.
    pub hosts: Vec<String>,
    /// Who may change something. Without it nobody may, and everybody who reaches the port may read.
    pub auth: Option<ServeAuthSection>,
}

/// Checked configuration.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    endpoint: SocketAddr,
    hosts: Hosts,
    auth: Option<ServeAuth>,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The endpoint is not `address:port`.
    #[error("serve.endpoint: `{0}` is not an address and a port, such as `{ENDPOINT_DEFAULT}`")]
    Endpoint(String),
    /// The API has no TLS, and reading needs no token.
    #[error(
        "serve.endpoint: {0} is not a loopback address; the API has no TLS and reading it needs no token, so put a proxy that has both in front of a loopback port, or say `insecure: true`"
    )]
    NotLoopback(SocketAddr),
    /// A name that can stand in no `Host`.
    #[error(
        "serve.hosts: `{0}` is not the name of a host without scheme, port and path, such as `selvedge.example`"
    )]
    Hosts(String),
    /// The section `serve.auth` says nothing usable.
    #[error("serve.auth{key}: {problem}")]
    Auth {
        /// The key below it, with its dot; empty when it is about several.
        key: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// The token cannot be had.
    #[error("serve.auth: there is no token")]
    Token(#[from] selvedge_receive::ReceiveError),
    /// The port is taken, or may not be used.
    #[error("cannot listen on {endpoint} for the API: {source} (another selvedge? set `serve.endpoint`)")]
    Bind {
        /// Where.
        endpoint: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

impl ServeConfig {
    /// Where the API listens.
    #[must_use]
    pub fn endpoint(&self) -> SocketAddr {
        self.endpoint
    }

    /// The file of the token, when there is one.
    #[must_use]
    pub fn token_file(&self) -> Option<&Path> {
        self.auth.as_ref().and_then(ServeAuth::token_file)
    }
}

impl TryFrom<ServeSection> for ServeConfig {
    type Error = ServeError;

    fn try_from(section: ServeSection) -> Result<Self, ServeError> {
        let text = section.endpoint.unwrap_or_else(|| ENDPOINT_DEFAULT.to_owned());
        let text = text.replace("localhost:", "127.0.0.1:");
        let endpoint: SocketAddr = text.parse().map_err(|_| ServeError::Endpoint(text))?;
        if !endpoint.ip().is_loopback() && !section.insecure {
            return Err(ServeError::NotLoopback(endpoint));
        }
        let auth = section.auth.map(ServeAuth::try_from).transpose()?;
        Ok(Self { endpoint, hosts: Hosts::try_from(section.hosts)?, auth })
    }
}

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// A baseline is being learned, or not all ports are open yet: nothing is received.
    Starting,
    /// Receiving.
    Ready,
    /// Finishing what was received; takes nothing new.
    Draining,
}

/// The process's life, shared between the tasks.
#[derive(Debug, Default)]
pub struct Health(AtomicU8);

impl Health {
    /// Receives from now on, unless it was told to end in the meantime: then false, and it drains.
    pub fn begin(&self) -> bool {
        let (starting, ready) = (Lifecycle::Starting as u8, Lifecycle::Ready as u8);
        self.0.compare_exchange(starting, ready, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Moves on.
    pub fn set(&self, state: Lifecycle) {
        self.0.store(state as u8, Ordering::Relaxed);
    }

    /// Where it is.
    #[must_use]
    pub fn get(&self) -> Lifecycle {
        match self.0.load(Ordering::Relaxed) {
            0 => Lifecycle::Starting,
            1 => Lifecycle::Ready,
            _ => Lifecycle::Draining,
        }
    }
}

/// A bound API.
pub struct Server {
    listener: TcpListener,
    endpoint: SocketAddr,
    hosts: Hosts,
    doorkeeper: Option<Arc<Doorkeeper>>,
}

impl Server {
    /// Binds the port, and reads the token.
    ///
    /// # Errors
    /// The port is taken or may not be used, or the token cannot be read.
    pub async fn bind(config: ServeConfig) -> Result<Self, ServeError> {
        let ServeConfig { endpoint, hosts, auth } = config;
        let doorkeeper = match auth {
            Some(auth) => Some(Arc::new(Doorkeeper::open(auth).await?)),
            None => None,
        };
        let listener =
            TcpListener::bind(endpoint).await.map_err(|source| ServeError::Bind { endpoint, source })?;
        let endpoint = listener.local_addr().map_err(|source| ServeError::Bind { endpoint, source })?;
        Ok(Self { listener, endpoint, hosts, doorkeeper })
    }

    /// Where it listens (the port is known even when the configuration said 0).
    #[must_use]
    pub fn endpoint(&self) -> SocketAddr {
        self.endpoint
    }

    /// Serves until the token is cancelled; then what is being answered is answered.
    pub async fn serve(self, sources: Sources, shutdown: CancellationToken) {
        door::serve(self.listener, api::router(sources, self.hosts, self.doorkeeper), shutdown).await;
    }
}
