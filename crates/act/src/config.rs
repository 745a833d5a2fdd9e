//! The alert sinks' configuration, checked: every value is usable, and every problem is told with its key.

use std::path::PathBuf;
use std::time::Duration;

use selvedge_model::Severity;

use crate::backoff::RetryPolicy;
use crate::secret::{Secret, SecretSource};
use crate::section::{
    AlertmanagerSection, AlertsSection, JsonlSection, PagerDutySection, RetrySection, SlackSection,
    TerminalSection, WebhookSection,
};
use crate::sink::webhook::signing_key;
use crate::target::{Target, forbidden};

/// An incident with its evidence is some 10 KB: a full spool is 10 MB a sink.
const SPOOL_MAX_DEFAULT: usize = 1_000;
/// As long as Standard Webhooks advises at least.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);
/// As Prometheus does.
const RESEND_INTERVAL_DEFAULT: Duration = Duration::from_mins(1);
/// Alertmanager keeps a firing alert for four intervals; a longer one would let it fire long after we are gone.
const RESEND_INTERVAL_MAX: Duration = Duration::from_mins(10);
const PAGERDUTY_URL: &str = "https://events.pagerduty.com/v2/enqueue";
/// Sinks that print or store take everything that is told at all.
const LOCAL_SEVERITY_DEFAULT: Severity = Severity::Low;
/// Sinks that interrupt people.
const REMOTE_SEVERITY_DEFAULT: Severity = Severity::Medium;
/// Durations above this are mistakes of unit.
const DURATION_MAX: Duration = Duration::from_hours(366 * 24);

/// One thing wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigError {
    /// Dotted path of the key.
    pub key: String,
    /// What is wrong and what to do.
    pub problem: String,
}

/// The sinks, ready to be started.
#[derive(Clone, Debug)]
pub struct ActConfig {
    /// Address under which people reach the API, without a slash at its end; for links in alerts.
    pub external_url: Option<String>,
    /// Incidents that may wait for one sink. Past it newer states still replace older ones of the same incident
    /// (policy `coalesce`), other incidents are refused, counted and told in the log.
    pub spool_max: usize,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Cards for people who watch.
    pub terminal: Option<TerminalConfig>,
    /// A file of JSON lines.
    pub jsonl: Option<JsonlConfig>,
    /// Alertmanager.
    pub alertmanager: Option<AlertmanagerConfig>,
    /// Any HTTP endpoint.
    pub webhook: Option<WebhookConfig>,
    /// PagerDuty.
    pub pagerduty: Option<PagerDutyConfig>,
    /// Slack.
    pub slack: Option<SlackConfig>,
}

impl Default for ActConfig {
    /// The terminal alone.
    fn default() -> Self {
        Self::try_from(AlertsSection::<()>::default())
            .expect("an empty section is valid: every key has a default")
    }
}

impl ActConfig {
    /// Colours the terminal's cards when `allowed`, unless the configuration says whether to.
    pub fn colour_unless_configured(&mut self, allowed: bool) {
        if let Some(terminal) = &mut self.terminal {
            terminal.colour.get_or_insert(allowed);
        }
    }
}

/// A stream of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Cards for people who watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TerminalConfig {
    /// Below it nothing is said.
    pub min_severity: Severity,
    /// Where to.
    pub output: Stream,
    /// With colours; `None` when the configuration does not say, which means without.
    pub colour: Option<bool>,
}

/// A file of JSON lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonlConfig {
    /// Below it nothing is written.
    pub min_severity: Severity,
    /// The file.
    pub path: PathBuf,
}

/// What every HTTP sink has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// Dotted path of the sink's section.
    pub key: &'static str,
    /// Time for one attempt, its answer included.
    pub timeout: Duration,
    /// Certificates to trust instead of the public ones.
    pub ca_file: Option<PathBuf>,
    /// Allow link-local and metadata addresses.
    pub allow_link_local: bool,
    /// Token to send along.
    pub bearer_token: Option<SecretSource>,
}

/// Alertmanager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertmanagerConfig {
    /// Below it nothing is sent.
    pub min_severity: Severity,
    /// Every replica's alerts endpoint.
    pub targets: Vec<Target>,
    /// How often firing alerts are repeated.
    pub resend_interval: Duration,
    /// HTTP.
    pub http: HttpSettings,
}

/// The body of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookFormat {
    /// `schemas/alert.v1.schema.json`.
    Selvedge,
    /// What Alertmanager sends to webhooks, version 4.
    Alertmanager,
}

/// Any HTTP endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Below it nothing is sent.
    pub min_severity: Severity,
    /// The address, which may hold a secret.
    pub url: SecretSource,
    /// The body.
    pub format: WebhookFormat,
    /// Secrets to sign with, each of them; none means unsigned.
    pub secrets: Vec<SecretSource>,
    /// HTTP.
    pub http: HttpSettings,
}

/// PagerDuty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagerDutyConfig {
    /// Below it nothing is sent.
    pub min_severity: Severity,
    /// Where events go.
    pub target: Target,
    /// Integration key.
    pub routing_key: SecretSource,
    /// HTTP.
    pub http: HttpSettings,
}

/// Slack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlackConfig {
    /// Below it nothing is sent.
    pub min_severity: Severity,
    /// Address of the incoming webhook.
    pub url: SecretSource,
    /// HTTP.
    pub http: HttpSettings,
}

impl<K> TryFrom<AlertsSection<K>> for ActConfig {
    type Error = Vec<ConfigError>;

    /// Checks everything and reports everything that is wrong, each with its key; of a sink that is handed in, nothing.
    fn try_from(section: AlertsSection<K>) -> Result<Self, Vec<ConfigError>> {
        let mut check = Check::default();
        let config = Self {
            external_url: check.external_url(section.external_url.as_deref()),
            spool_max: section.spool_max.unwrap_or(SPOOL_MAX_DEFAULT),
            retry: check.retry(&section.retry_on_failure),
            terminal: check.terminal(&section.terminal),
            jsonl: section.jsonl.and_then(|section| check.jsonl(section)),
            alertmanager: section.alertmanager.and_then(|section| check.alertmanager(section)),
            webhook: section.webhook.and_then(|section| check.webhook(section)),
            pagerduty: section.pagerduty.and_then(|section| check.pagerduty(section)),
            slack: section.slack.and_then(|section| check.slack(section)),
        };
        if config.spool_max == 0 {
            check.refuse("alerts.spool_max", "must be at least 1");
        }
        if check.errors.is_empty() { Ok(config) } else { Err(check.errors) }
    }
}

/// Collects what is wrong. A sink that is switched off is not checked: it is a draft.
#[derive(Default)]
struct Check {
    errors: Vec<ConfigError>,
}

impl Check {
    fn refuse(&mut self, key: &str, problem: impl Into<String>) {
        self.errors.push(ConfigError { key: key.to_owned(), problem: problem.into() });
    }

    fn external_url(&mut self, text: Option<&str>) -> Option<String> {
        let text = text?;
        match Target::parse(text) {
            Ok(target) => Some(target.uri().to_string().trim_end_matches('/').to_owned()),
            Err(problem) => {
                self.refuse("alerts.external_url", problem);
                None
            }
        }
    }

    fn retry(&mut self, section: &RetrySection) -> RetryPolicy {
        let default = RetryPolicy::default();
        let key = |name: &str| format!("alerts.retry_on_failure.{name}");
        let duration = |check: &mut Self, name: &str, text: &Option<String>, default| {
            check.duration(&key(name), text.as_deref(), default)
        };
        let policy = RetryPolicy {
            initial_interval: duration(
                self,
                "initial_interval",
                &section.initial_interval,
                default.initial_interval,
            ),
            max_interval: duration(self, "max_interval", &section.max_interval, default.max_interval),
            max_elapsed_time: duration(
                self,
                "max_elapsed_time",
                &section.max_elapsed_time,
                default.max_elapsed_time,
            ),
        };
        if policy.max_interval < policy.initial_interval {
            self.refuse(&key("max_interval"), "must not be shorter than initial_interval");
        }
        policy
    }

    fn terminal(&mut self, section: &TerminalSection) -> Option<TerminalConfig> {
        if section.enabled == Some(false) {
            return None;
        }
        let output = match section.output.as_deref() {
            None | Some("stdout") => Stream::Stdout,
            Some("stderr") => Stream::Stderr,
            Some(other) => {
                self.refuse("alerts.terminal.output", format!("{other:?} is neither stdout nor stderr"));
                Stream::Stdout
            }
        };
        let min_severity =
            self.severity("alerts.terminal", section.min_severity.as_deref(), LOCAL_SEVERITY_DEFAULT);
        Some(TerminalConfig { min_severity, output, colour: section.colour })
    }

    fn jsonl(&mut self, section: JsonlSection) -> Option<JsonlConfig> {
        if section.enabled == Some(false) {
            return None;
        }
        let min_severity =
            self.severity("alerts.jsonl", section.min_severity.as_deref(), LOCAL_SEVERITY_DEFAULT);
        let Some(path) = section.path.filter(|path| !path.as_os_str().is_empty()) else {
            self.refuse("alerts.jsonl.path", "is missing: name the file to write to");
            return None;
        };
        Some(JsonlConfig { min_severity, path })
    }

    fn alertmanager(&mut self, section: AlertmanagerSection) -> Option<AlertmanagerConfig> {
        const KEY: &str = "alerts.alertmanager";
        if section.enabled == Some(false) {
            return None;
        }
        if section.urls.is_empty() {
            self.refuse("alerts.alertmanager.urls", "is missing: name every replica");
        }
        let resend_key = "alerts.alertmanager.resend_interval";
        let resend_interval =
            self.duration(resend_key, section.resend_interval.as_deref(), RESEND_INTERVAL_DEFAULT);
        if resend_interval > RESEND_INTERVAL_MAX {
            self.refuse(resend_key, "must be at most 10m, or alerts end between two of them");
        }
        let token = self.token(KEY, section.bearer_token, section.bearer_token_file);
        let http =
            self.http(KEY, section.timeout.as_deref(), section.ca_file, section.allow_link_local, token);
        let mut targets = Vec::new();
        for (index, url) in section.urls.iter().enumerate() {
            let key = format!("alerts.alertmanager.urls[{index}]");
            let target = self.target(&key, url, &http);
            match target.map(|target| target.join("/api/v2/alerts")) {
                Some(Ok(target)) if targets.contains(&target) => self.refuse(&key, "is there twice"),
                Some(Ok(target)) => targets.push(target),
                Some(Err(problem)) => self.refuse(&key, problem),
                None => {}
            }
        }
        let min_severity = self.severity(KEY, section.min_severity.as_deref(), REMOTE_SEVERITY_DEFAULT);
        Some(AlertmanagerConfig { min_severity, targets, resend_interval, http })
    }

    fn webhook(&mut self, section: WebhookSection) -> Option<WebhookConfig> {
        const KEY: &str = "alerts.webhook";
        if section.enabled == Some(false) {
            return None;
        }
        let format = match section.format.as_deref() {
            None | Some("selvedge") => WebhookFormat::Selvedge,
            Some("alertmanager") => WebhookFormat::Alertmanager,
            Some(other) => {
                self.refuse(
                    "alerts.webhook.format",
                    format!("{other:?} is neither selvedge nor alertmanager"),
                );
                WebhookFormat::Selvedge
            }
        };
        let inline = section.secret.into_iter().chain(section.secrets);
        let mut secrets: Vec<SecretSource> = inline.map(SecretSource::Inline).collect();
        for problem in secrets.iter().filter_map(|secret| signing_key(&secret.load().ok()?).err()) {
            self.refuse("alerts.webhook.secret", problem);
        }
        let file = |name: &str, path| SecretSource::File { key: format!("{KEY}.{name}"), path };
        secrets.extend(section.secret_file.map(|path| file("secret_file", path)));
        secrets.extend(section.secret_files.into_iter().map(|path| file("secret_files", path)));
        let token = self.token(KEY, section.bearer_token, section.bearer_token_file);
        let http =
            self.http(KEY, section.timeout.as_deref(), section.ca_file, section.allow_link_local, token);
        let min_severity = self.severity(KEY, section.min_severity.as_deref(), REMOTE_SEVERITY_DEFAULT);
        let url = self.secret_url(section.url, section.url_file, &http)?;
        Some(WebhookConfig { min_severity, url, format, secrets, http })
    }

    fn pagerduty(&mut self, section: PagerDutySection) -> Option<PagerDutyConfig> {
        const KEY: &str = "alerts.pagerduty";
        if section.enabled == Some(false) {
            return None;
        }
        let http =
            self.http(KEY, section.timeout.as_deref(), section.ca_file, section.allow_link_local, None);
        let min_severity = self.severity(KEY, section.min_severity.as_deref(), REMOTE_SEVERITY_DEFAULT);
        let target =
            self.target("alerts.pagerduty.url", section.url.as_deref().unwrap_or(PAGERDUTY_URL), &http);
        let routing_key = self.required(KEY, "routing_key", section.routing_key, section.routing_key_file);
        Some(PagerDutyConfig { min_severity, target: target?, routing_key: routing_key?, http })
    }

    fn slack(&mut self, section: SlackSection) -> Option<SlackConfig> {
        const KEY: &str = "alerts.slack";
        if section.enabled == Some(false) {
            return None;
        }
        let http =
            self.http(KEY, section.timeout.as_deref(), section.ca_file, section.allow_link_local, None);
        let min_severity = self.severity(KEY, section.min_severity.as_deref(), REMOTE_SEVERITY_DEFAULT);
        let url = self.secret_url(section.url, section.url_file, &http)?;
        Some(SlackConfig { min_severity, url, http })
    }

    fn http(
        &mut self,
        key: &'static str,
        timeout: Option<&str>,
        ca_file: Option<PathBuf>,
        allow_link_local: bool,
        bearer_token: Option<SecretSource>,
    ) -> HttpSettings {
        let timeout = self.duration(&format!("{key}.timeout"), timeout, TIMEOUT_DEFAULT);
        HttpSettings { key, timeout, ca_file, allow_link_local, bearer_token }
    }

    fn severity(&mut self, key: &str, text: Option<&str>, default: Severity) -> Severity {
        let Some(text) = text else { return default };
        Severity::parse(text).unwrap_or_else(|| {
            let names = Severity::ALL.map(Severity::name).join(", ");
            self.refuse(&format!("{key}.min_severity"), format!("{text:?} is none of {names}"));
            default
        })
    }

    fn duration(&mut self, key: &str, text: Option<&str>, default: Duration) -> Duration {
        let Some(text) = text else { return default };
        match humantime::parse_duration(text) {
            Ok(duration) if !duration.is_zero() && duration <= DURATION_MAX => return duration,
            Ok(_) => self.refuse(key, format!("{text:?} must be more than nothing and at most a year")),
            Err(error) => self.refuse(key, format!("{text:?} is not a duration such as 30s or 1h: {error}")),
        }
        default
    }

    fn target(&mut self, key: &str, url: &str, http: &HttpSettings) -> Option<Target> {
        match usable(url, http) {
            Ok(target) => Some(target),
            Err(problem) => {
                self.refuse(key, problem);
                None
            }
        }
    }

    /// An address that is a secret; checked here when it stands in the configuration.
    fn secret_url(
        &mut self,
        url: Option<Secret>,
        file: Option<PathBuf>,
        http: &HttpSettings,
    ) -> Option<SecretSource> {
        let source = self.required(http.key, "url", url, file)?;
        if let SecretSource::Inline(url) = &source {
            self.target(&format!("{}.url", http.key), url.reveal(), http)?;
        }
        Some(source)
    }

    fn token(&mut self, key: &str, inline: Option<Secret>, file: Option<PathBuf>) -> Option<SecretSource> {
        if inline.is_none() && file.is_none() {
            None
        } else {
            self.required(key, "bearer_token", inline, file)
        }
    }

    /// A secret that stands in the configuration or in a file, and not in both.
    fn required(
        &mut self,
        key: &str,
        name: &str,
        inline: Option<Secret>,
        file: Option<PathBuf>,
    ) -> Option<SecretSource> {
        match (inline, file) {
            (Some(secret), None) if secret.reveal().trim().is_empty() => {
                self.refuse(&format!("{key}.{name}"), "is empty");
            }
            (Some(secret), None) => return Some(SecretSource::Inline(secret)),
            (None, Some(path)) => {
                return Some(SecretSource::File { key: format!("{key}.{name}_file"), path });
            }
            (None, None) => self.refuse(&format!("{key}.{name}"), format!("is missing; or give {name}_file")),
            (Some(_), Some(_)) => {
                self.refuse(&format!("{key}.{name}_file"), format!("stands beside {name}: give one"))
            }
        }
        None
    }
}

/// An address that may be sent to.
pub(crate) fn usable(url: &str, http: &HttpSettings) -> Result<Target, String> {
    let target = Target::parse(url)?;
    match target.ip() {
        Some(address) if !http.allow_link_local && forbidden(address) => Err(format!(
            "{address} is a link-local or metadata address; allow_link_local: true would allow it"
        )),
        _ => Ok(target),
    }
}
