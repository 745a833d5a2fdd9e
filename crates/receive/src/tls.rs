//! TLS: certificates from files into a server configuration, swapped when the files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use sha2::{Digest, Sha256};

use crate::config::{ClientTls, TlsConfig, TlsVersion};
use crate::error::ReceiveError;

/// The server side of TLS for one listener, following its files.
pub(crate) struct TlsFiles {
    config: TlsConfig,
    alpn: Vec<Vec<u8>>,
    current: ArcSwap<Loaded>,
}

struct Loaded {
    /// Of all files together: what tells a change.
    digest: [u8; 32],
    server: Arc<ServerConfig>,
}

impl TlsFiles {
    /// Reads the files.
    pub(crate) async fn load(config: &TlsConfig, alpn: &[&str]) -> Result<Self, ReceiveError> {
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let material = Material::read(config).await?;
        let loaded = Loaded { digest: material.digest(), server: material.server(config, &alpn)? };
        Ok(Self { config: config.clone(), alpn, current: ArcSwap::from_pointee(loaded) })
    }

    /// Reads the files again. True when they had changed and new connections use them now; on an error the old
    /// ones stay. Content is compared, not times: files are often swapped by a symbolic link.
    pub(crate) async fn reload(&self) -> Result<bool, ReceiveError> {
        let material = Material::read(&self.config).await?;
        let digest = material.digest();
        if digest == self.current.load().digest {
            return Ok(false);
        }
        let server = material.server(&self.config, &self.alpn)?;
        self.current.store(Arc::new(Loaded { digest, server }));
        Ok(true)
    }

    /// What a new connection uses.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().server)
    }
}

/// The files' contents, read together.
struct Material {
    certificate: (PathBuf, Vec<u8>),
    key: (PathBuf, Vec<u8>),
    client_ca: Option<(PathBuf, Vec<u8>)>,
}

impl Material {
    async fn read(config: &TlsConfig) -> Result<Self, ReceiveError> {
        let client_ca = match &config.client {
            ClientTls::Unverified => None,
            ClientTls::Required { ca_file } => Some(read(ca_file).await?),
        };
        Ok(Self {
            certificate: read(&config.cert_file).await?,
            key: read(&config.key_file).await?,
            client_ca,
        })
    }

    fn digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        let client_ca = self.client_ca.as_ref().map_or(&[][..], |(_, bytes)| bytes);
        for bytes in [&self.certificate.1, &self.key.1, client_ca] {
            hasher.update((bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        }
        hasher.finalize().into()
    }

    fn server(&self, config: &TlsConfig, alpn: &[Vec<u8>]) -> Result<Arc<ServerConfig>, ReceiveError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = match &self.client_ca {
            None => WebPkiClientVerifier::no_client_auth(),
            Some((path, pem)) => client_verifier(path, pem, &provider)?,
        };
        let key = PrivateKeyDer::from_pem_slice(&self.key.1)
            .map_err(|_| ReceiveError::NotPem { path: self.key.0.clone(), wanted: "private key" })?;
        let unusable = |error: rustls::Error| unusable(&self.certificate.0, &error);
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions(config.version_min))
            .map_err(unusable)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates(&self.certificate.0, &self.certificate.1)?, key)
            .map_err(unusable)?;
        server.alpn_protocols = alpn.to_vec();
        Ok(Arc::new(server))
    }
}

async fn read(path: &Path) -> Result<(PathBuf, Vec<u8>), ReceiveError> {
    match tokio::fs::read(path).await {
        Ok(bytes) => Ok((path.to_owned(), bytes)),
        Err(source) => Err(ReceiveError::Unreadable { path: path.to_owned(), source }),
    }
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ReceiveError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(ReceiveError::NotPem { path: path.to_owned(), wanted: "certificate" }),
    }
}

fn client_verifier(
    path: &Path,
    pem: &[u8],
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, ReceiveError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, pem)? {
        roots.add(certificate).map_err(|error| unusable(path, &error))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| ReceiveError::Tls { path: path.to_owned(), reason: error.to_string() })
}

fn versions(minimum: TlsVersion) -> Vec<&'static SupportedProtocolVersion> {
    match minimum {
        TlsVersion::V12 => vec![&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V13 => vec![&rustls::version::TLS13],
    }
}

fn unusable(path: &Path, error: &rustls::Error) -> ReceiveError {
    ReceiveError::Tls { path: path.to_owned(), reason: error.to_string() }
}

impl TlsConfig {
    /// Reads the files once, for a listener of another crate.
    ///
    /// # Errors
    /// A file cannot be read, or is not what it should be.
    pub async fn load(&self) -> Result<Arc<ServerConfig>, ReceiveError> {
        Ok(TlsFiles::load(self, &[]).await?.current())
    }
}
