//! PagerDuty, Events API v2.

use selvedge_model::{Incident, Severity};
use serde_json::{Value, json};

use crate::alert::{Alert, AlertStatus};
use crate::client::{HttpClient, Post, transient};
use crate::config::PagerDutyConfig;
use crate::document::IncidentDocument;
use crate::error::ActError;
use crate::secret::Secret;
use crate::sink::{Links, Outgoing, Sending, Sink, json as to_json, prometheus};
use crate::target::Target;
use crate::text::{clip, visible};
use crate::utc::format_utc;

/// Limits of the API.
const SUMMARY_CHARS_MAX: usize = 1_024;
const EVENT_BYTES_MAX: usize = 512 << 10;

pub(super) struct PagerDuty {
    client: HttpClient,
    target: Target,
    routing_key: Secret,
    links: Links,
}

impl PagerDuty {
    pub(super) fn new(config: &PagerDutyConfig, links: Links) -> Result<Self, ActError> {
        let routing_key = config.routing_key.load()?;
        let client = HttpClient::new(&config.http, vec![routing_key.clone()])?;
        Ok(Self { client, target: config.target.clone(), routing_key, links })
    }

    fn body(&self, alert: &Alert) -> Vec<u8> {
        let incident = &alert.incident;
        let details = json!(IncidentDocument::from(incident));
        let whole = to_json(&self.event(alert, &details));
        if whole.len() <= EVENT_BYTES_MAX {
            return whole;
        }
        to_json(&self.event(alert, &json!({ "evidence": prometheus::description(incident) })))
    }

    fn event(&self, alert: &Alert, details: &Value) -> Value {
        let incident = &alert.incident;
        let mut event = json!({
            "routing_key": self.routing_key.reveal(),
            "dedup_key": incident.id,
            "event_action": match alert.status {
                AlertStatus::Firing => "trigger",
                AlertStatus::Resolved => "resolve",
            },
        });
        if alert.status == AlertStatus::Firing {
            event["payload"] = payload(incident, details);
            event["client"] = json!("Selvedge");
            if let Some(url) = self.links.incident(&incident.id) {
                event["client_url"] = json!(url);
                event["links"] = json!([{ "href": url, "text": "The incident in Selvedge" }]);
            }
        }
        event
    }
}

fn payload(incident: &Incident, details: &Value) -> Value {
    let edge = incident.edges.first().cloned().unwrap_or_default();
    json!({
        "summary": clip(&visible(&incident.title), SUMMARY_CHARS_MAX),
        "source": edge.source.label(),
        "severity": match incident.severity {
            Severity::Critical => "critical",
            Severity::High => "error",
            Severity::Medium => "warning",
            Severity::Low | Severity::Info => "info",
        },
        "timestamp": format_utc(incident.onset).to_string(),
        "component": edge.destination.label(),
        "group": edge.destination.namespace,
        "class": incident.kinds.first().map(|kind| kind.name()),
        "custom_details": details,
    })
}

impl Sink for PagerDuty {
    fn send<'a>(&'a self, outgoing: &'a Outgoing, now: u64) -> Sending<'a> {
        let body = self.body(&outgoing.alert).into();
        let headers = http::HeaderMap::new();
        Box::pin(self.client.post(Post { target: &self.target, body, headers, now, classify: transient }))
    }
}
