//! The `alerts` section of the configuration.

use std::time::Duration;

use selvedge_model::Severity;

use crate::config::{ActConfig, Stream, WebhookFormat};
use crate::files::FileUse;
use crate::section::AlertsSection;
use crate::tests::{config, section};

#[test]
fn without_configuration_there_is_the_terminal() {
    let config = ActConfig::default();
    let terminal = config.terminal.as_ref().unwrap();
    assert_eq!(
        (terminal.min_severity, terminal.output, terminal.colour),
        (Severity::Low, Stream::Stdout, None)
    );
    assert!(config.jsonl.is_none() && config.alertmanager.is_none() && config.slack.is_none());
    assert_eq!(config.spool_max, 1_000);
}

#[test]
fn every_key_is_read() {
    let config = config(
        r#"
external_url: https://selvedge.example/
spool_max: 5
retry_on_failure: {initial_interval: 2s, max_interval: 1m, max_elapsed_time: 1h}
terminal: {output: stderr, colour: true, min_severity: high}
jsonl: {path: /var/log/alerts.jsonl}
alertmanager: {urls: ["http://am-1:9093", "https://am-2/prefix"], resend_interval: 30s, bearer_token: t}
webhook:
  url: https://hooks.example/x
  format: alertmanager
  secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
  secrets: [whsec_c2VsdmVkZ2UtZW5kLXRvLWVuZC10ZXN0LXNlY3JldA==]
  secret_file: /run/secret
  timeout: 3s
pagerduty: {routing_key: k, url: "https://events.eu.pagerduty.com/v2/enqueue", min_severity: critical}
slack: {url_file: /run/slack, ca_file: /run/ca.pem, allow_link_local: true}
"#,
    );
    assert_eq!(config.external_url.as_deref(), Some("https://selvedge.example"));
    assert_eq!(config.retry.max_interval, Duration::from_mins(1));
    assert_eq!(config.terminal.unwrap().output, Stream::Stderr);
    let alertmanager = config.alertmanager.unwrap();
    let targets: Vec<String> = alertmanager.targets.iter().map(|target| target.uri().to_string()).collect();
    assert_eq!(targets, ["http://am-1:9093/api/v2/alerts", "https://am-2/prefix/api/v2/alerts"]);
    assert_eq!(
        (alertmanager.min_severity, alertmanager.resend_interval),
        (Severity::Medium, Duration::from_secs(30))
    );
    let webhook = config.webhook.unwrap();
    assert_eq!((webhook.format, webhook.secrets.len()), (WebhookFormat::Alertmanager, 3));
    assert_eq!(webhook.http.timeout, Duration::from_secs(3));
    assert_eq!(config.pagerduty.unwrap().min_severity, Severity::Critical);
    assert!(config.slack.unwrap().http.allow_link_local);
}

#[test]
fn every_file_that_a_sink_reads_is_listed_with_its_key() {
    let config = config(
        r#"
alertmanager: {urls: ["http://am:9093"], bearer_token_file: /am, ca_file: /am.pem}
webhook: {url_file: /hook, secret_files: [/new, /old], ca_file: /hook.pem, bearer_token: t}
pagerduty: {routing_key_file: /pager, ca_file: /pager.pem}
slack: {url_file: /slack, ca_file: /slack.pem}
"#,
    );
    let files = config.files();
    let listed: Vec<_> =
        files.iter().map(|one| (&*one.key, one.path.to_str().unwrap(), one.for_what)).collect();
    assert_eq!(
        listed,
        [
            ("alerts.alertmanager.ca_file", "/am.pem", FileUse::Roots),
            ("alerts.alertmanager.bearer_token_file", "/am", FileUse::Secret),
            ("alerts.webhook.ca_file", "/hook.pem", FileUse::Roots),
            ("alerts.webhook.url_file", "/hook", FileUse::Secret),
            ("alerts.webhook.secret_files", "/new", FileUse::Secret),
            ("alerts.webhook.secret_files", "/old", FileUse::Secret),
            ("alerts.pagerduty.ca_file", "/pager.pem", FileUse::Roots),
            ("alerts.pagerduty.routing_key_file", "/pager", FileUse::Secret),
            ("alerts.slack.ca_file", "/slack.pem", FileUse::Roots),
            ("alerts.slack.url_file", "/slack", FileUse::Secret),
        ]
    );
    assert_eq!(ActConfig::default().files(), []);
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_key() {
    let errors = ActConfig::try_from(section(
        r#"
external_url: selvedge
spool_max: 0
retry_on_failure: {initial_interval: 5m, max_interval: 1s}
terminal: {output: printer, min_severity: bad}
jsonl: {}
alertmanager: {urls: ["http://169.254.169.254", "am:9093", "http://a", "http://a/"], resend_interval: 1h}
webhook: {url: "http://h", format: xml, secret: sesame, timeout: soon}
pagerduty: {}
slack: {url: "http://h", url_file: f}
"#,
    ))
    .unwrap_err();
    let keys: Vec<&str> = errors.iter().map(|error| error.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "alerts.external_url",
            "alerts.retry_on_failure.max_interval",
            "alerts.terminal.output",
            "alerts.terminal.min_severity",
            "alerts.jsonl.path",
            "alerts.alertmanager.resend_interval",
            "alerts.alertmanager.urls[0]",
            "alerts.alertmanager.urls[1]",
            "alerts.alertmanager.urls[3]",
            "alerts.webhook.format",
            "alerts.webhook.secret",
            "alerts.webhook.timeout",
            "alerts.pagerduty.routing_key",
            "alerts.slack.url_file",
            "alerts.spool_max",
        ]
    );
    assert!(errors.iter().all(|error| !error.to_string().contains("sesame")));
}

#[test]
fn a_sink_that_is_switched_off_is_not_checked() {
    let config = config(
        "{terminal: {enabled: false}, jsonl: {enabled: false}, alertmanager: {enabled: false}, webhook: {enabled: false, secret: x}, pagerduty: {enabled: false}, slack: {enabled: false}}",
    );
    assert!(config.terminal.is_none() && config.jsonl.is_none() && config.alertmanager.is_none());
    assert!(config.webhook.is_none() && config.pagerduty.is_none() && config.slack.is_none());
}

#[test]
fn an_unknown_key_is_an_error() {
    for yaml in [
        "{slak: {}}",
        "{slack: {uri: x}}",
        "{terminal: {color: true}}",
        "{retry_on_failure: {enabled: true}}",
    ] {
        assert!(serde_saphyr::from_str::<AlertsSection>(yaml).is_err(), "{yaml}");
    }
}
