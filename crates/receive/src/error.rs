//! What can go wrong when the receivers are set up.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the receivers could not be set up, or a changed file not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// Someone else listens there.
    #[error(
        "{address} ({protocol}) is already in use: is another collector or Selvedge running? \
         `ss -ltnp 'sport = :{port}'` names it; {key} moves this receiver", port = address.port()
    )]
    AddressInUse {
        /// `OTLP/gRPC` or `OTLP/HTTP`.
        protocol: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// The configuration key that sets it.
        key: &'static str,
    },
    /// The system does not let us listen there.
    #[error("cannot listen on {address} ({protocol})")]
    Bind {
        /// `OTLP/gRPC` or `OTLP/HTTP`.
        protocol: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A certificate, key or token file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A token file holds nothing.
    #[error("{path} holds no token", path = path.display())]
    EmptyToken {
        /// The file.
        path: PathBuf,
    },
    /// A file does not hold what it should.
    #[error("{path} holds no {wanted} in PEM", path = path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// `certificate` or `private key`.
        wanted: &'static str,
    },
    /// Certificate, key and client CA do not make a TLS server.
    #[error("{path} cannot be used for TLS: {reason}", path = path.display())]
    Tls {
        /// The file most likely to blame.
        path: PathBuf,
        /// What rustls or the verifier said.
        reason: String,
    },
}
