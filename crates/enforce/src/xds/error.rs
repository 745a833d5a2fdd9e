//! Why the xDS server cannot be set up.

use std::io;
use std::net::SocketAddr;

/// Why the xDS server cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum XdsError {
    /// Anybody could read the quarantines, or claim to be a proxy that has taken them.
    #[error(
        "{address} (xDS) can be reached from other machines, which needs TLS, and a bearer token or verified client \
         certificates; add what is missing or listen on 127.0.0.1"
    )]
    Exposed {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The port is taken, or not ours to take.
    #[error("cannot listen on {address} (xDS)")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}
