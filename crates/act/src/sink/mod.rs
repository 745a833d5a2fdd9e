//! The sinks: where alerts go. Each knows its own wire shape and what its answers mean; none knows how to wait.

mod alertmanager;
pub(crate) mod external;
mod jsonl;
mod pagerduty;
mod prometheus;
mod slack;
mod terminal;
pub(crate) mod webhook;

use std::io::Write;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use selvedge_model::Severity;

use crate::alert::Alert;
use crate::config::ActConfig;
use crate::error::{ActError, SendError};
use crate::sink::external::ExternalSink;

/// An attempt that is going on.
pub(crate) type Sending<'a> = Pin<Box<dyn Future<Output = Result<(), SendError>> + Send + 'a>>;

/// One alert to send.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    /// The same over all attempts.
    pub(crate) id: String,
    pub(crate) alert: Arc<Alert>,
}

/// Somewhere to send alerts. Times are nanoseconds since the Unix epoch.
pub(crate) trait Sink: Send + Sync {
    /// One attempt.
    fn send<'a>(&'a self, outgoing: &'a Outgoing, now: u64) -> Sending<'a>;

    /// Takes note of an alert that a process before us sent.
    fn recall(&self, _alert: &Arc<Alert>, _now: u64) {}

    /// How often [`Self::resend`] is due, if ever.
    fn resend_every(&self) -> Option<Duration> {
        None
    }

    /// Repeats what the sink must be reminded of.
    fn resend(&self, _now: u64) -> Sending<'_> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A sink with its name and what it wants to hear.
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) min_severity: Severity,
    pub(crate) sink: Box<dyn Sink>,
}

/// A stream that several tasks may hold, written by blocking threads.
#[derive(Clone)]
pub(crate) struct Output(Arc<Mutex<Box<dyn Write + Send>>>);

impl Output {
    pub(crate) fn new(stream: Box<dyn Write + Send>) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }
}

/// Where people can read on about an incident.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    external_url: Option<String>,
}

impl Links {
    pub(crate) fn incident(&self, id: &str) -> Option<String> {
        self.external_url.as_ref().map(|base| format!("{base}/api/v1/incidents/{id}"))
    }

    pub(crate) fn base(&self) -> &str {
        self.external_url.as_deref().unwrap_or_default()
    }
}

/// Every sink of the configuration, and those that are handed in.
pub(crate) fn build(
    config: &ActConfig,
    output: Output,
    external: Vec<ExternalSink>,
) -> Result<Vec<Named>, ActError> {
    let links = Links { external_url: config.external_url.clone() };
    let mut sinks = Vec::new();
    let mut add =
        |name: String, min_severity, sink: Box<dyn Sink>| sinks.push(Named { name, min_severity, sink });
    if let Some(terminal) = &config.terminal {
        let sink = terminal::Terminal::new(output, terminal.colour.unwrap_or(false));
        add("terminal".to_owned(), terminal.min_severity, Box::new(sink));
    }
    if let Some(jsonl) = &config.jsonl {
        add("jsonl".to_owned(), jsonl.min_severity, Box::new(jsonl::Jsonl::new(jsonl, links.clone())?));
    }
    if let Some(alertmanager) = &config.alertmanager {
        for (number, target) in (1..).zip(&alertmanager.targets) {
            let name = match alertmanager.targets.len() {
                1 => "alertmanager".to_owned(),
                // Each replica is a sink of its own: one that is away must not hold up the others.
                _ => format!("alertmanager-{number}"),
            };
            let sink = alertmanager::Alertmanager::new(
                alertmanager,
                target.clone(),
                config.spool_max,
                links.clone(),
            )?;
            add(name, alertmanager.min_severity, Box::new(sink));
        }
    }
    if let Some(webhook) = &config.webhook {
        add(
            "webhook".to_owned(),
            webhook.min_severity,
            Box::new(webhook::Webhook::new(webhook, links.clone())?),
        );
    }
    if let Some(pagerduty) = &config.pagerduty {
        add(
            "pagerduty".to_owned(),
            pagerduty.min_severity,
            Box::new(pagerduty::PagerDuty::new(pagerduty, links.clone())?),
        );
    }
    if let Some(slack) = &config.slack {
        add("slack".to_owned(), slack.min_severity, Box::new(slack::Slack::new(slack, links.clone())?));
    }
    sinks.extend(external.into_iter().map(|sink| sink.named(links.clone())));
    Ok(sinks)
}

/// A value of ours as JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("documents hold only text, numbers and lists of them")
}
