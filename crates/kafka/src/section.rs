//! The sections `receivers.kafka` and `alerts.kafka` as written, under the names of the OpenTelemetry Collector's
//! `kafkareceiver`. Unchecked: `config.rs` does that.

use std::path::PathBuf;

use selvedge_act::Secret;
use serde::{Deserialize, Deserializer};

/// `receivers.kafka`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReceiverSection {
    /// Where to begin: `host:port` each. Required.
    pub brokers: Vec<String>,
    /// Consumer group. Default `selvedge`.
    pub group_id: Option<String>,
    /// How we are called in the broker's logs and quotas. Default `selvedge`.
    pub client_id: Option<String>,
    /// Static membership: a name that no other member has, so that a restart within the session timeout moves no partition.
    pub group_instance_id: Option<String>,
    /// Where to begin where the group has committed nothing: `latest` (default) or `earliest`.
    pub initial_offset: Option<String>,
    /// How long a member may be silent before its partitions are given away. Default `10s`.
    pub session_timeout: Option<String>,
    /// How often offsets are committed.
    pub autocommit: AutocommitSection,
    /// Spans. Without any of the three all are read; with some only those.
    #[serde(deserialize_with = "present")]
    pub traces: Option<SignalSection>,
    /// Metrics.
    #[serde(deserialize_with = "present")]
    pub metrics: Option<SignalSection>,
    /// Logs.
    #[serde(deserialize_with = "present")]
    pub logs: Option<SignalSection>,
    /// Largest message in bytes, after decompression; a larger one is a dead letter. Default 20 MiB.
    pub max_message_bytes: Option<u64>,
    /// TLS.
    pub tls: Option<TlsSection>,
    /// Who we are.
    pub auth: Option<AuthSection>,
}

/// A key that is there counts, even when nothing is written after it.
fn present<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Some(Option::deserialize(deserializer)?.unwrap_or_default()))
}

/// `receivers.kafka.traces`, `metrics`, `logs`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignalSection {
    /// Default `otlp_spans`, `otlp_metrics`, `otlp_logs`.
    pub topics: Vec<String>,
    /// One topic, as older Collectors have it.
    pub topic: Option<String>,
    /// `otlp_proto` (default) or `otlp_json`.
    pub encoding: Option<String>,
}

/// `receivers.kafka.autocommit`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AutocommitSection {
    /// Default `1s`.
    pub interval: Option<String>,
}

/// `tls`. Present, it is on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSection {
    /// True: no TLS after all.
    pub insecure: bool,
    /// Certificates to trust instead of the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, PEM, for brokers that ask for one.
    pub cert_file: Option<PathBuf>,
    /// Its private key, PEM.
    pub key_file: Option<PathBuf>,
}

/// `auth`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthSection {
    /// SASL.
    pub sasl: Option<SaslSection>,
}

/// `auth.sasl`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SaslSection {
    /// Required.
    pub username: Option<String>,
    /// The password; better as `${env:NAME}`.
    pub password: Option<Secret>,
    /// A file that holds it.
    pub password_file: Option<PathBuf>,
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`. Required.
    pub mechanism: Option<String>,
}

/// `alerts.kafka`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SinkSection {
    /// Default true.
    pub enabled: Option<bool>,
    /// Default `low`: a topic interrupts nobody.
    pub min_severity: Option<String>,
    /// Where to begin: `host:port` each. Required.
    pub brokers: Vec<String>,
    /// Where alerts go (`schemas/alert.v1.schema.json`). Default `selvedge_alerts`.
    pub topic: Option<String>,
    /// Where the incident itself goes, too, if anywhere (`schemas/incident.v1.schema.json`): its newest state under its id,
    /// for a compacted topic.
    pub incidents_topic: Option<String>,
    /// Default `selvedge`.
    pub client_id: Option<String>,
    /// Time for one attempt, its acknowledgement included. Default `15s`.
    pub timeout: Option<String>,
    /// TLS.
    pub tls: Option<TlsSection>,
    /// Who we are.
    pub auth: Option<AuthSection>,
}
