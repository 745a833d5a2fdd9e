//! One Alertmanager replica, API v2: a client's duties as Prometheus keeps them.
//!
//! Firing alerts are repeated, resolved ones too for a while, each with an end that lies a few intervals ahead: if we
//! vanish, Alertmanager ends them by itself. Labels are an alert's identity there; when those of an incident change
//! (it became worse), the alert under its old labels is ended in the same request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use selvedge_model::EventTime;
use selvedge_model::time::nanos;
use serde::Serialize;

use crate::alert::{Alert, AlertStatus};
use crate::client::{HttpClient, Post, transient};
use crate::config::AlertmanagerConfig;
use crate::error::{ActError, SendError};
use crate::sink::prometheus::{Labels, annotations, labels};
use crate::sink::{Links, Outgoing, Sending, Sink, json};
use crate::target::Target;
use crate::utc::format_utc;

/// A firing alert ends by itself after this many intervals without a repetition, as with Prometheus.
const INTERVALS_TO_END: u32 = 4;
/// Resolved alerts are repeated for this long, in case Alertmanager was away.
const RESOLVED_FOR: Duration = Duration::from_mins(5);
/// Alerts in one request: some hundred kilobytes.
const BATCH_MAX: usize = 64;

pub(super) struct Alertmanager {
    client: HttpClient,
    target: Target,
    resend_interval: Duration,
    links: Links,
    told_max: usize,
    told: Mutex<BTreeMap<String, Told>>,
}

/// What this replica knows of an incident.
#[derive(Clone)]
struct Told {
    alert: Arc<Alert>,
    /// When it was told the end, by our clock.
    resolved_at: Option<u64>,
}

/// One alert as the API takes it.
#[derive(Serialize)]
struct PostableAlert {
    labels: Labels,
    annotations: BTreeMap<&'static str, String>,
    #[serde(rename = "startsAt")]
    starts_at: String,
    #[serde(rename = "endsAt")]
    ends_at: String,
    #[serde(rename = "generatorURL", skip_serializing_if = "Option::is_none")]
    generator_url: Option<String>,
}

impl Alertmanager {
    pub(super) fn new(
        config: &AlertmanagerConfig,
        target: Target,
        told_max: usize,
        links: Links,
    ) -> Result<Self, ActError> {
        Ok(Self {
            client: HttpClient::new(&config.http, Vec::new())?,
            target,
            resend_interval: config.resend_interval,
            links,
            told_max,
            told: Mutex::new(BTreeMap::new()),
        })
    }

    fn told(&self) -> MutexGuard<'_, BTreeMap<String, Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn postable(&self, alert: &Alert, ends: EventTime) -> PostableAlert {
        let incident = &alert.incident;
        // Event time is the senders' clock, the end may be ours: the start must not lie behind the end.
        let starts = incident.onset.min(ends);
        PostableAlert {
            labels: labels(incident),
            annotations: annotations(incident),
            starts_at: format_utc(starts).to_string(),
            ends_at: format_utc(ends).to_string(),
            generator_url: self.links.incident(&incident.id),
        }
    }

    /// The alert as it stands at `now`.
    fn current(&self, alert: &Alert, now: u64) -> PostableAlert {
        let now = EventTime(now);
        let ends = match alert.status {
            AlertStatus::Firing => now.after(self.resend_interval * INTERVALS_TO_END),
            AlertStatus::Resolved => alert.incident.closed.unwrap_or(alert.at).min(now),
        };
        self.postable(alert, ends)
    }

    /// The alert, and the end of what the incident was told under before.
    fn news(&self, alert: &Alert, now: u64) -> Vec<PostableAlert> {
        let mut alerts = vec![self.current(alert, now)];
        if let Some(told) = self.told().get(&alert.incident.id)
            && told.resolved_at.is_none()
            && labels(&told.alert.incident) != alerts[0].labels
        {
            alerts.push(self.postable(&told.alert, EventTime(now)));
        }
        alerts
    }

    fn remember(&self, alert: &Arc<Alert>, now: u64) {
        let mut told = self.told();
        let id = &alert.incident.id;
        if !told.contains_key(id) && told.len() >= self.told_max {
            let ended = told.iter().filter(|(_, told)| told.resolved_at.is_some());
            let oldest = ended.min_by_key(|(_, told)| told.resolved_at).map(|(id, _)| id.clone());
            match oldest {
                Some(oldest) => told.remove(&oldest),
                None => {
                    tracing::warn!(incident = %id, told_max = self.told_max, "too many alerts fire at once: this one will not be repeated");
                    return;
                }
            };
        }
        let resolved_at = (alert.status == AlertStatus::Resolved).then_some(now);
        told.insert(id.clone(), Told { alert: Arc::clone(alert), resolved_at });
    }

    /// What to repeat at `now`; what was resolved long enough ago is forgotten.
    fn repetition(&self, now: u64) -> Vec<PostableAlert> {
        let mut told = self.told();
        told.retain(|_, told| {
            told.resolved_at.is_none_or(|at| now.saturating_sub(at) <= nanos(RESOLVED_FOR))
        });
        told.values().map(|told| self.current(&told.alert, now)).collect()
    }

    async fn post(&self, alerts: &[PostableAlert], now: u64) -> Result<(), SendError> {
        let headers = http::HeaderMap::new();
        let body = json(&alerts).into();
        self.client.post(Post { target: &self.target, body, headers, now, classify: transient }).await
    }
}

impl Sink for Alertmanager {
    fn send<'a>(&'a self, outgoing: &'a Outgoing, now: u64) -> Sending<'a> {
        let news = self.news(&outgoing.alert, now);
        Box::pin(async move {
            self.post(&news, now).await?;
            self.remember(&outgoing.alert, now);
            Ok(())
        })
    }

    fn recall(&self, alert: &Arc<Alert>, now: u64) {
        self.remember(alert, now);
    }

    fn resend_every(&self) -> Option<Duration> {
        Some(self.resend_interval)
    }

    fn resend(&self, now: u64) -> Sending<'_> {
        let alerts = self.repetition(now);
        Box::pin(async move {
            for batch in alerts.chunks(BATCH_MAX) {
                self.post(batch, now).await?;
            }
            Ok(())
        })
    }
}
