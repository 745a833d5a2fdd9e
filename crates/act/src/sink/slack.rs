//! Slack, incoming webhook: one message for each alert.

use selvedge_model::{Incident, Severity};
use serde_json::{Value, json};

use crate::alert::{Alert, AlertStatus};
use crate::card::suspect_name;
use crate::client::{HttpClient, Post, transient};
use crate::config::{SlackConfig, usable};
use crate::error::ActError;
use crate::sink::{Links, Outgoing, Sending, Sink, json as to_json};
use crate::target::Target;
use crate::text::{clip, visible};
use crate::utc::{format_duration, format_utc};

/// Limits of Slack's blocks, in characters; a field has 2000 and a fallback text is cut at 40000.
const HEADER_CHARS_MAX: usize = 150;
const SECTION_CHARS_MAX: usize = 3_000;
const FIELD_CHARS_MAX: usize = 500;
/// Suspects that are named; a button leads to the others.
const SUSPECTS_MAX: usize = 3;

pub(super) struct Slack {
    client: HttpClient,
    target: Target,
    links: Links,
}

impl Slack {
    pub(super) fn new(config: &SlackConfig, links: Links) -> Result<Self, ActError> {
        let url = config.url.load()?;
        let target = usable(url.reveal(), &config.http).map_err(|problem| ActError::Invalid {
            key: config.url.key("alerts.slack.url").to_owned(),
            problem,
        })?;
        Ok(Self { client: HttpClient::new(&config.http, vec![target.hidden()])?, target, links })
    }
}

impl Sink for Slack {
    fn send<'a>(&'a self, outgoing: &'a Outgoing, now: u64) -> Sending<'a> {
        let body = to_json(&message(&outgoing.alert, &self.links)).into();
        let headers = http::HeaderMap::new();
        Box::pin(self.client.post(Post { target: &self.target, body, headers, now, classify: transient }))
    }
}

fn message(alert: &Alert, links: &Links) -> Value {
    let incident = &alert.incident;
    let title = visible(&incident.title);
    let (word, sign) = match alert.status {
        AlertStatus::Resolved => ("resolved", ":white_check_mark:"),
        AlertStatus::Firing => (incident.severity.name(), sign(incident.severity)),
    };
    let mut blocks = vec![json!({
        "type": "header",
        "text": { "type": "plain_text", "text": clip(&format!("{sign} {title}"), HEADER_CHARS_MAX), "emoji": true },
    })];
    if alert.status == AlertStatus::Firing {
        blocks.extend(section("Why", &incident.highlights));
        blocks.push(json!({ "type": "section", "fields": fields(incident) }));
        blocks.extend(section("Next", &incident.runbook));
    }
    blocks.push(json!({ "type": "context", "elements": [markdown(&context(alert, word))] }));
    if let Some(url) = links.incident(&incident.id) {
        let text = json!({ "type": "plain_text", "text": "Open the incident" });
        blocks
            .push(json!({ "type": "actions", "elements": [{ "type": "button", "text": text, "url": url }] }));
    }
    json!({ "text": escape(&format!("[{word}] {title}")), "blocks": blocks })
}

fn sign(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => ":rotating_light:",
        Severity::Medium => ":warning:",
        Severity::Low | Severity::Info => ":information_source:",
    }
}

fn markdown(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": clip(text, SECTION_CHARS_MAX) })
}

fn section(heading: &str, lines: &[String]) -> Option<Value> {
    if lines.is_empty() {
        return None;
    }
    let lines: Vec<String> = lines.iter().map(|line| format!("• {}", escape(line))).collect();
    Some(json!({ "type": "section", "text": markdown(&format!("*{heading}*\n{}", lines.join("\n"))) }))
}

fn fields(incident: &Incident) -> Vec<Value> {
    let edge = match incident.edges.as_slice() {
        [] => "unknown".to_owned(),
        [edge] => edge.label(),
        [edge, more @ ..] => format!("{} and {} more", edge.label(), more.len()),
    };
    let suspects: Vec<String> = incident.suspects.iter().take(SUSPECTS_MAX).map(suspect_name).collect();
    let fields =
        [("Edge", edge), ("Suspects", suspects.join(", ")), ("ATT&CK", incident.techniques.join(", "))];
    fields
        .iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| {
            markdown(&clip(&format!("*{}*\n{}", escape(name), escape(text)), FIELD_CHARS_MAX))
        })
        .collect()
}

fn context(alert: &Alert, word: &str) -> String {
    let incident = &alert.incident;
    let end = incident.closed.unwrap_or(alert.at);
    let lasted = format_duration(end.since(incident.onset));
    format!(
        "*{word}* · since {} · {lasted} · incident `{}`",
        format_utc(incident.onset).for_people(),
        escape(&incident.id)
    )
}

/// As Slack asks for: these three are its markup.
fn escape(text: &str) -> String {
    visible(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn links() -> Links {
        Links { external_url: Some("https://selvedge.example".to_owned()) }
    }

    #[test]
    fn a_message_stays_within_slack_s_limits_whatever_the_telemetry_says() {
        let mut alert = sample::alert("i", AlertStatus::Firing);
        alert.incident.title = "<!channel> & ".repeat(500);
        alert.incident.highlights = vec!["<http://evil.example|click>".repeat(1_000)];
        let message = message(&alert, &links());
        let blocks = message["blocks"].as_array().unwrap();
        assert!(blocks.len() <= 50);
        let header = blocks[0]["text"]["text"].as_str().unwrap();
        assert!(header.chars().count() <= HEADER_CHARS_MAX);
        for block in &blocks[1..] {
            let text = block["text"]["text"].as_str().unwrap_or_default();
            assert!(text.chars().count() <= SECTION_CHARS_MAX);
            assert!(!text.contains("<http"), "{text}");
        }
        assert!(!message["text"].as_str().unwrap().contains("<!channel>"));
    }

    #[test]
    fn a_resolved_message_is_short_and_links_back() {
        let message = message(&sample::alert("i", AlertStatus::Resolved), &links());
        let kinds: Vec<&str> =
            message["blocks"].as_array().unwrap().iter().map(|b| b["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["header", "context", "actions"]);
        assert_eq!(message["blocks"][2]["elements"][0]["url"], "https://selvedge.example/api/v1/incidents/i");
    }
}
