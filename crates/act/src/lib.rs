//! Incidents in, people told: plans alerts, delivers them to each sink, and keeps a ledger of what became of them.
//!
//! Owns the JSON documents of incidents, findings, actions and alerts (`schemas/` are made from them), the incident
//! card, and every outgoing connection of the program. Never decides what is an incident, never blocks its caller,
//! never prints a secret, never follows a redirect. Depends on `model` and on `correlate`'s word for a change.
//! Start reading at `plan.rs`, then `delivery.rs`, then a sink under `sink/`.

mod alert;
mod ask;
mod backoff;
pub mod card;
mod client;
mod config;
mod delivery;
pub mod document;
mod error;
mod files;
mod group;
mod ledger;
mod plan;
pub mod quarantine_document;
mod queue;
pub mod reporter_document;
#[cfg(test)]
mod sample;
mod secret;
mod section;
mod sink;
mod target;
mod test_fire;
#[cfg(test)]
mod tests;
mod text;
mod utc;

pub use alert::{Alert, AlertStatus};
pub use ask::{Answer, AskError, Asker, Piece};
pub use backoff::RetryPolicy;
pub use config::{
    ActConfig, AlertmanagerConfig, ConfigError, HttpSettings, JsonlConfig, PagerDutyConfig, SlackConfig,
    Stream, TerminalConfig, WebhookConfig, WebhookFormat,
};
pub use delivery::{Dispatcher, WallClock};
pub use error::{ActError, Retry, SendError};
pub use files::{FileUse, NamedFile};
pub use ledger::{Delivery, DeliveryLedger, DeliveryStatus};
pub use plan::plan;
pub use secret::{Secret, SecretSource};
pub use section::{
    AlertmanagerSection, AlertsSection, JsonlSection, PagerDutySection, RetrySection, SlackSection,
    TerminalSection, WebhookSection,
};
pub use sink::external::{ExternalSink, Publication, Publisher, Publishing};
pub use sink::webhook::sign;
pub use target::Target;
pub use test_fire::{TestFailure, test_fire};
pub use text::{clip, visible, wrap};
