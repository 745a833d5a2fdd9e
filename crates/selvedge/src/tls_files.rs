//! Certificate files as sections name them that have TLS of their own: relative to the configuration file.

use std::path::{Path, PathBuf};

use selvedge_receive::{TlsConfig, TlsSection};
use serde::Deserialize;

/// `tls` of a section.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TlsFiles {
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    client_ca_file: Option<PathBuf>,
    min_version: Option<String>,
}

impl TlsFiles {
    /// True when clients must show a certificate.
    pub(crate) fn verifies_clients(&self) -> bool {
        self.client_ca_file.is_some()
    }

    /// What is wrong with it is told under `key`.
    pub(crate) fn check(self, key: &str, folder: &Path, problems: &mut Vec<String>) -> Option<TlsConfig> {
        let beside = |path: Option<PathBuf>| path.map(|path| folder.join(path));
        let section = TlsSection {
            cert_file: beside(self.cert_file),
            key_file: beside(self.key_file),
            client_ca_file: beside(self.client_ca_file),
            reload_interval: None,
            min_version: self.min_version,
        };
        let config = section.check(key);
        config.map_err(|errors| problems.extend(errors.iter().map(ToString::to_string))).ok()
    }
}
