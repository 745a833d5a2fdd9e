//! Files that a configuration names: what a start will read, for whoever wants to look at them before.
//!
//! Every sink is taken apart without `..`: one that gets another file does not compile until it is listed.

use std::path::{Path, PathBuf};

use crate::config::{
    ActConfig, AlertmanagerConfig, HttpSettings, PagerDutyConfig, SlackConfig, WebhookConfig,
};
use crate::secret::SecretSource;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileUse {
    /// Our certificate, with those that lead to it.
    Certificates,
    /// Certificates of which each is trusted by itself.
    Roots,
    /// A key, a token, a password.
    Secret,
}

/// A file that a configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// Dotted path of the key that names it.
    pub key: String,
    /// The file.
    pub path: PathBuf,
    /// What it is for.
    pub for_what: FileUse,
}

impl NamedFile {
    /// A file that `key` names.
    #[must_use]
    pub fn new(key: impl Into<String>, path: &Path, for_what: FileUse) -> Self {
        Self { key: key.into(), path: path.to_owned(), for_what }
    }
}

impl SecretSource {
    /// The file that it is in, if it is in one.
    #[must_use]
    pub fn file(&self) -> Option<NamedFile> {
        match self {
            Self::Inline(_) => None,
            Self::File { key, path } => Some(NamedFile::new(key, path, FileUse::Secret)),
        }
    }
}

impl ActConfig {
    /// Secrets and certificates of all sinks that are on.
    #[must_use]
    pub fn files(&self) -> Vec<NamedFile> {
        let Self {
            external_url: _,
            spool_max: _,
            retry: _,
            terminal: _,
            jsonl: _,
            alertmanager,
            webhook,
            pagerduty,
            slack,
        } = self;
        let mut files = Vec::new();
        if let Some(AlertmanagerConfig { min_severity: _, targets: _, resend_interval: _, http }) =
            alertmanager
        {
            files.extend(http.files());
        }
        if let Some(WebhookConfig { min_severity: _, url, format: _, secrets, http }) = webhook {
            files.extend(http.files());
            files.extend([url].into_iter().chain(secrets).filter_map(SecretSource::file));
        }
        if let Some(PagerDutyConfig { min_severity: _, target: _, routing_key, http }) = pagerduty {
            files.extend(http.files());
            files.extend(routing_key.file());
        }
        if let Some(SlackConfig { min_severity: _, url, http }) = slack {
            files.extend(http.files());
            files.extend(url.file());
        }
        files
    }
}

impl HttpSettings {
    fn files(&self) -> impl Iterator<Item = NamedFile> {
        let Self { key, timeout: _, ca_file, allow_link_local: _, bearer_token } = self;
        let roots = |path: &PathBuf| NamedFile::new(format!("{key}.ca_file"), path, FileUse::Roots);
        ca_file.as_ref().map(roots).into_iter().chain(bearer_token.as_ref().and_then(SecretSource::file))
    }
}
