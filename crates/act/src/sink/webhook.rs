//! Any HTTP endpoint, signed by the Standard Webhooks scheme (<https://www.standardwebhooks.com>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::alert::{Alert, AlertStatus};
use crate::client::{HttpClient, Post, header, transient};
use crate::config::{WebhookConfig, WebhookFormat, usable};
use crate::document::AlertMessage;
use crate::error::{ActError, Retry};
use crate::secret::{Secret, SecretSource};
use crate::sink::{Links, Outgoing, Sending, Sink, json as to_json, prometheus};
use crate::target::Target;
use crate::utc::format_utc;
use selvedge_model::hash::StableHasher;

/// Bytes of a signing key, by the scheme.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// What Go writes for "no time": Alertmanager sends it as the end of what has not ended.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

pub(super) struct Webhook {
    client: HttpClient,
    target: Target,
    format: WebhookFormat,
    keys: Vec<Vec<u8>>,
    links: Links,
}

impl Webhook {
    pub(super) fn new(config: &WebhookConfig, links: Links) -> Result<Self, ActError> {
        let url = config.url.load()?;
        let target = target(&url, &config.url, config)?;
        let mut secrets = Vec::new();
        let mut keys = Vec::new();
        for source in &config.secrets {
            let secret = source.load()?;
            let invalid =
                |problem| ActError::Invalid { key: source.key("alerts.webhook.secret").to_owned(), problem };
            keys.push(signing_key(&secret).map_err(invalid)?);
            secrets.push(secret);
        }
        secrets.push(target.hidden());
        Ok(Self {
            client: HttpClient::new(&config.http, secrets)?,
            target,
            format: config.format,
            keys,
            links,
        })
    }

    fn body(&self, alert: &Alert) -> Vec<u8> {
        match self.format {
            WebhookFormat::Selvedge => {
                to_json(&AlertMessage::new(alert, self.links.incident(&alert.incident.id)))
            }
            WebhookFormat::Alertmanager => to_json(&alertmanager_body(alert, &self.links)),
        }
    }

    fn headers(&self, id: &str, body: &[u8], now: u64) -> HeaderMap {
        let seconds = now / 1_000_000_000;
        let signatures: Vec<String> = self.keys.iter().map(|key| sign(key, id, seconds, body)).collect();
        let mut headers = HeaderMap::new();
        headers.extend(header("webhook-id", id));
        headers.extend(header("webhook-timestamp", &seconds.to_string()));
        if !signatures.is_empty() {
            headers.extend(header("webhook-signature", &signatures.join(" ")));
        }
        headers
    }
}

fn target(url: &Secret, source: &SecretSource, config: &WebhookConfig) -> Result<Target, ActError> {
    usable(url.reveal(), &config.http)
        .map_err(|problem| ActError::Invalid { key: source.key("alerts.webhook.url").to_owned(), problem })
}

impl Sink for Webhook {
    fn send<'a>(&'a self, outgoing: &'a Outgoing, now: u64) -> Sending<'a> {
        let body = self.body(&outgoing.alert);
        let headers = self.headers(&outgoing.id, &body, now);
        let post = Post { target: &self.target, body: body.into(), headers, now, classify };
        Box::pin(self.client.post(post))
    }
}

/// By the scheme 410 means "gone, stop sending". Whoever answers 401, 403 or 404 may be between two deployments; the
/// alert is worth another try.
fn classify(status: StatusCode) -> Retry {
    match status.as_u16() {
        410 => Retry::Disable,
        401 | 403 | 404 | 409 => Retry::Backoff,
        _ => transient(status),
    }
}

/// The key of a `whsec_` secret.
///
/// # Errors
/// What is wrong with it, without repeating it.
pub(crate) fn signing_key(secret: &Secret) -> Result<Vec<u8>, String> {
    let Some(encoded) = secret.reveal().trim().strip_prefix("whsec_") else {
        return Err("must begin with whsec_".to_owned());
    };
    let key = STANDARD.decode(encoded).map_err(|_| "must be base64 after whsec_".to_owned())?;
    if !KEY_BYTES.contains(&key.len()) {
        return Err("must be 24 to 64 bytes in base64 after whsec_".to_owned());
    }
    Ok(key)
}

/// The signature of a delivery: `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body` (Standard Webhooks,
/// "Signature scheme"). `timestamp` is in seconds since the Unix epoch.
#[must_use]
pub fn sign(key: &[u8], id: &str, timestamp: u64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// What Alertmanager sends to webhooks, version 4: on-call tools that know it take it from us too.
fn alertmanager_body(alert: &Alert, links: &Links) -> Value {
    let incident = &alert.incident;
    let labels = prometheus::labels(incident);
    let annotations = prometheus::annotations(incident);
    let ends_at = match (alert.status, incident.closed) {
        (AlertStatus::Resolved, closed) => format_utc(closed.unwrap_or(alert.at)).to_string(),
        (AlertStatus::Firing, _) => NO_TIME.to_owned(),
    };
    json!({
        "version": "4",
        "groupKey": format!("{{}}:{{incident_id=\"{}\"}}", incident.id),
        "truncatedAlerts": 0,
        "status": alert.status.name(),
        "receiver": "selvedge",
        "groupLabels": { "incident_id": incident.id },
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": links.base(),
        "alerts": [{
            "status": alert.status.name(),
            "labels": labels,
            "annotations": annotations,
            "startsAt": format_utc(incident.onset).to_string(),
            "endsAt": ends_at,
            "generatorURL": links.incident(&incident.id).unwrap_or_default(),
            "fingerprint": StableHasher::default().field(incident.id.as_bytes()).hex(),
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn the_signature_agrees_with_the_scheme_s_own_example() {
        let key = signing_key(&secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).unwrap();
        let signature = sign(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_of_another_shape_is_refused_without_repeating_it() {
        for text in ["sesame", "whsec_sesame!", "whsec_c2VzYW1l", "whsk_c2VzYW1l", ""] {
            let problem = signing_key(&secret(text)).unwrap_err();
            assert!(!problem.contains("sesame") && !problem.contains("c2Vz"), "{problem}");
        }
    }

    #[test]
    fn gone_means_gone_and_a_deployment_is_waited_for() {
        let retry = |status| classify(StatusCode::from_u16(status).unwrap());
        assert_eq!(retry(410), Retry::Disable);
        assert_eq!([retry(302), retry(400), retry(422)], [Retry::Never; 3]);
        assert_eq!([retry(404), retry(403), retry(429), retry(502)], [Retry::Backoff; 4]);
    }
}
