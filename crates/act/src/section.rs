//! The `alerts` section as written. Unchecked: `config.rs` does that.

use std::path::PathBuf;

use serde::Deserialize;

use crate::secret::Secret;

/// `alerts`. `K` is the section of a sink that is handed in from outside, where there is one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, bound(deserialize = "K: Default + Deserialize<'de>"))]
pub struct AlertsSection<K = ()> {
    /// Address under which people reach the API, for links in alerts: `https://selvedge.example`.
    pub external_url: Option<String>,
    /// Incidents that may wait for one sink. Default 1000.
    pub spool_max: Option<usize>,
    /// When to try again.
    pub retry_on_failure: RetrySection,
    /// Standard output or standard error; on unless switched off.
    pub terminal: TerminalSection,
    /// A file of JSON lines.
    pub jsonl: Option<JsonlSection>,
    /// Alertmanager, API v2.
    pub alertmanager: Option<AlertmanagerSection>,
    /// Any HTTP endpoint, signed by the Standard Webhooks scheme.
    pub webhook: Option<WebhookSection>,
    /// PagerDuty, Events API v2.
    pub pagerduty: Option<PagerDutySection>,
    /// Slack, incoming webhook.
    pub slack: Option<SlackSection>,
    /// A topic of Kafka. Checked and opened by whoever hands it in.
    pub kafka: Option<K>,
}

/// `alerts.retry_on_failure`, with the OpenTelemetry Collector's names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySection {
    /// Default `1s`.
    pub initial_interval: Option<String>,
    /// Default `5m`.
    pub max_interval: Option<String>,
    /// Default `24h`.
    pub max_elapsed_time: Option<String>,
}

/// `alerts.terminal`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TerminalSection {
    /// Default true.
    pub enabled: Option<bool>,
    /// Default `low`.
    pub min_severity: Option<String>,
    /// `stdout` (default) or `stderr`.
    pub output: Option<String>,
    /// Default: when the output is a terminal that wants it.
    pub colour: Option<bool>,
}

/// `alerts.jsonl`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JsonlSection {
    /// Default true.
    pub enabled: Option<bool>,
    /// Default `low`.
    pub min_severity: Option<String>,
    /// The file; appended to, and opened anew for each alert, so that it can be rotated.
    pub path: Option<PathBuf>,
}

/// `alerts.alertmanager`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertmanagerSection {
    /// Default true.
    pub enabled: Option<bool>,
    /// Default `medium`.
    pub min_severity: Option<String>,
    /// Every replica, by itself: never a load balancer. Without `/api/v2/alerts`.
    pub urls: Vec<String>,
    /// How often firing alerts are repeated. Default `1m`.
    pub resend_interval: Option<String>,
    /// Token for a proxy in front of it.
    pub bearer_token: Option<Secret>,
    /// File that holds the token.
    pub bearer_token_file: Option<PathBuf>,
    /// Default `15s`.
    pub timeout: Option<String>,
    /// Certificates to trust instead of the public ones, PEM.
    pub ca_file: Option<PathBuf>,
    /// Allow link-local and metadata addresses. Default false.
    pub allow_link_local: bool,
}

/// `alerts.webhook`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookSection {
    /// Default true.
    pub enabled: Option<bool>,
    /// Default `medium`.
    pub min_severity: Option<String>,
    /// Where to post to.
    pub url: Option<Secret>,
    /// File that holds the address, when it is a secret.
    pub url_file: Option<PathBuf>,
    /// `selvedge` (default) or `alertmanager` (the body that Alertmanager sends to webhooks, version 4).
    pub format: Option<String>,
    /// Secret to sign with: `whsec_` and base64.
    pub secret: Option<Secret>,
    /// File that holds it.
    pub secret_file: Option<PathBuf>,
    /// Several secrets, while one is rotated: each signs.
    pub secrets: Vec<Secret>,
    /// Files that hold them.
    pub secret_files: Vec<PathBuf>,
    /// Bearer token to send along.
    pub bearer_token: Option<Secret>,
    /// File that holds the token.
    pub bearer_token_file: Option<PathBuf>,
    /// Default `15s`.
    pub timeout: Option<String>,
    /// Certificates to trust instead of the public ones, PEM.
    pub ca_file: Option<PathBuf>,
    /// Allow link-local and metadata addresses. Default false.
    pub allow_link_local: bool,
}

/// `alerts.pagerduty`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PagerDutySection {
    /// Default true.
    pub enabled: Option<bool>,
    /// Default `medium`.
    pub min_severity: Option<String>,
    /// Integration key of the service.
    pub routing_key: Option<Secret>,
    /// File that holds it.
    pub routing_key_file: Option<PathBuf>,
    /// Default `https://events.pagerduty.com/v2/enqueue`; in Europe `https://events.eu.pagerduty.com/v2/enqueue`.
    pub url: Option<String>,
    /// Default `15s`.
    pub timeout: Option<String>,
    /// Certificates to trust instead of the public ones, PEM.
    pub ca_file: Option<PathBuf>,
    /// Allow link-local and metadata addresses. Default false.
    pub allow_link_local: bool,
}

/// `alerts.slack`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlackSection {
    /// Default true.
    pub enabled: Option<bool>,
    /// Default `medium`.
    pub min_severity: Option<String>,
    /// Address of the incoming webhook. It is a secret.
    pub url: Option<Secret>,
    /// File that holds it.
    pub url_file: Option<PathBuf>,
    /// Default `15s`.
    pub timeout: Option<String>,
    /// Certificates to trust instead of the public ones, PEM.
    pub ca_file: Option<PathBuf>,
    /// Allow link-local and metadata addresses. Default false.
    pub allow_link_local: bool,
}
