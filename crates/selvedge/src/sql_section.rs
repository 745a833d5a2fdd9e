//! The `sql` section: what is kept for questions, who may ask, and how much of the machine a question gets.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use selvedge_query::pg::PgUser;
use selvedge_query::{HistoryConfig, SqlConfig, StoreConfig};
use selvedge_receive::{Secret, TlsConfig};
use serde::Deserialize;

use crate::tls_files::TlsFiles;

/// Where the PostgreSQL wire listens unless configured (design section 4).
const ENDPOINT_DEFAULT: &str = "127.0.0.1:4320";
/// Rows of some minutes of a busy mesh must fit; less keeps nothing that is worth asking.
const BYTES_MIN: usize = 16 << 20;
/// A sort of a few thousand rows must fit.
const MEMORY_MIN: usize = 16 << 20;
/// How long history is kept.
const HISTORY_AGE_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How much of it.
const HISTORY_BYTES_DEFAULT: u64 = 10 << 30;
/// Threads of queries that are of use; more would only take from telemetry.
const THREADS_MAX: usize = 4;

/// `sql`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SqlSection {
    /// Off: nothing is kept for SQL, and nobody can ask. Default on.
    enabled: Option<bool>,
    /// `address:port` of the PostgreSQL wire.
    endpoint: Option<String>,
    /// Bytes of recent calls, spans, log records and metric points in memory.
    bytes_max: Option<usize>,
    /// Bytes that all running queries may use together.
    memory_max: Option<usize>,
    /// Time of one query (`30s`).
    time_limit: Option<String>,
    /// Rows of one answer.
    rows_max: Option<usize>,
    /// Queries that run at once.
    concurrent_max: Option<usize>,
    /// Threads that run queries.
    threads: Option<usize>,
    /// Connections of the PostgreSQL wire.
    connections_max: Option<usize>,
    /// The one user of the PostgreSQL wire.
    auth: Option<UserSection>,
    /// TLS of the PostgreSQL wire.
    tls: Option<TlsFiles>,
    /// Listens on other addresses without a user and TLS, too: for networks that protect it themselves.
    insecure: bool,
    /// What is older than memory.
    history: Option<HistorySection>,
}

/// `sql.auth`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UserSection {
    user: Option<String>,
    password: Option<Secret>,
    password_file: Option<PathBuf>,
}

/// `sql.history`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HistorySection {
    /// Where the Parquet files are; relative to the configuration file.
    folder: Option<PathBuf>,
    /// Age past which a file goes (`7d`).
    age_max: Option<String>,
    /// Bytes of all files.
    bytes_max: Option<u64>,
}

/// SQL, checked.
#[derive(Debug)]
pub(crate) struct SqlSettings {
    pub(crate) endpoint: SocketAddr,
    pub(crate) store: StoreConfig,
    pub(crate) queries: SqlConfig,
    pub(crate) history: Option<HistoryConfig>,
    pub(crate) user: Option<User>,
    pub(crate) tls: Option<TlsConfig>,
    pub(crate) tls_required: bool,
    pub(crate) connections_max: usize,
}

/// The one user. The password is read when the listener starts, so that `check` needs no secrets.
#[derive(Debug)]
pub(crate) struct User {
    name: String,
    password: Password,
}

#[derive(Debug)]
enum Password {
    Inline(Secret),
    File(PathBuf),
}

impl User {
    /// The file of the password, when there is one.
    pub(crate) fn password_file(&self) -> Option<&Path> {
        match &self.password {
            Password::Inline(_) => None,
            Password::File(path) => Some(path),
        }
    }

    pub(crate) fn load(&self) -> anyhow::Result<PgUser> {
        let password = match &self.password {
            Password::Inline(secret) => secret.reveal().to_owned(),
            Password::File(path) => std::fs::read_to_string(path)
                .map_err(|error| anyhow::anyhow!("sql.auth.password_file: {}: {error}", path.display()))?
                .trim()
                .to_owned(),
        };
        anyhow::ensure!(!password.is_empty(), "sql.auth: the password is empty");
        Ok(PgUser { name: self.name.clone(), password })
    }
}

impl SqlSection {
    /// `None` when it is off, or when there are problems.
    pub(crate) fn check(self, folder: &Path, problems: &mut Vec<String>) -> Option<SqlSettings> {
        if self.enabled == Some(false) {
            return None;
        }
        let history = self.history.and_then(|history| history.check(folder, problems));
        let store = StoreConfig { history: history.is_some(), ..StoreConfig::default() };
        let store = StoreConfig {
            bytes_max: at_least("bytes_max", self.bytes_max, store.bytes_max, BYTES_MIN, problems),
            ..store
        };
        let defaults = SqlConfig { threads: threads(), ..SqlConfig::default() };
        let time_max = super::config::duration("sql.time_limit", self.time_limit.as_ref(), problems);
        let queries = SqlConfig {
            threads: at_least("threads", self.threads, defaults.threads, 1, problems),
            memory_bytes_max: at_least(
                "memory_max",
                self.memory_max,
                defaults.memory_bytes_max,
                MEMORY_MIN,
                problems,
            ),
            rows_max: at_least("rows_max", self.rows_max, defaults.rows_max, 1, problems),
            time_max: time_max.unwrap_or(defaults.time_max),
            running_max: at_least("concurrent_max", self.concurrent_max, defaults.running_max, 1, problems),
            ..defaults
        };
        let connections_max = at_least("connections_max", self.connections_max, 64, 1, problems);
        let protected = self.auth.is_some() && self.tls.is_some() || self.insecure;
        let user = self.auth.and_then(|auth| auth.check(folder, problems));
        let tls = self.tls.and_then(|tls| tls.check("sql.tls", folder, problems));
        let endpoint = endpoint(self.endpoint, protected, problems)?;
        // With TLS off loopback nobody gets in without it.
        let tls_required = tls.is_some() && !endpoint.ip().is_loopback();
        Some(SqlSettings { endpoint, store, queries, history, user, tls, tls_required, connections_max })
    }
}

fn endpoint(text: Option<String>, protected: bool, problems: &mut Vec<String>) -> Option<SocketAddr> {
    let text = text.unwrap_or_else(|| ENDPOINT_DEFAULT.to_owned()).replace("localhost:", "127.0.0.1:");
    let Ok(endpoint) = text.parse::<SocketAddr>() else {
        problems.push(format!(
            "sql.endpoint: `{text}` is not an address and a port, such as `{ENDPOINT_DEFAULT}`"
        ));
        return None;
    };
    if !endpoint.ip().is_loopback() && !protected {
        problems.push(format!(
            "sql.endpoint: {endpoint} can be reached from other machines, which needs both `tls` (cert_file, \
             key_file) and `auth` (user, and password or password_file); add what is missing, listen on 127.0.0.1, or \
             say `insecure: true`"
        ));
    }
    Some(endpoint)
}

fn at_least(
    key: &str,
    value: Option<usize>,
    default: usize,
    least: usize,
    problems: &mut Vec<String>,
) -> usize {
    let value = value.unwrap_or(default);
    if value < least {
        problems.push(format!("sql.{key}: {value} is too little, the least is {least}"));
    }
    value
}

/// Half of the machine at most: the other half is telemetry's.
fn threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (cores / 2).clamp(1, THREADS_MAX)
}

impl UserSection {
    fn check(self, folder: &Path, problems: &mut Vec<String>) -> Option<User> {
        let password = match (self.password, self.password_file) {
            (Some(password), None) => Some(Password::Inline(password)),
            (None, Some(file)) => Some(Password::File(folder.join(file))),
            _ => {
                problems.push("sql.auth: give exactly one of password and password_file".to_owned());
                None
            }
        };
        let name = self.user.filter(|name| !name.is_empty());
        if name.is_none() {
            problems.push("sql.auth.user: is required with auth".to_owned());
        }
        Some(User { name: name?, password: password? })
    }
}

impl HistorySection {
    fn check(self, folder: &Path, problems: &mut Vec<String>) -> Option<HistoryConfig> {
        let age_max = super::config::duration("sql.history.age_max", self.age_max.as_ref(), problems);
        let Some(own) = self.folder else {
            problems.push("sql.history.folder: is required with history".to_owned());
            return None;
        };
        Some(HistoryConfig {
            folder: folder.join(own),
            age_max: age_max.unwrap_or(HISTORY_AGE_DEFAULT),
            bytes_max: self.bytes_max.unwrap_or(HISTORY_BYTES_DEFAULT),
        })
    }
}
