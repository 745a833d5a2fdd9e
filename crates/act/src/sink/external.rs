//! A sink that is handed in from outside, so that a client of something heavy need not be linked here.

use std::pin::Pin;

use selvedge_model::Severity;

use crate::document::{AlertMessage, IncidentDocument};
use crate::error::SendError;
use crate::sink::{Links, Named, Outgoing, Sending, Sink, json};

/// An attempt that is going on.
pub type Publishing<'a> = Pin<Box<dyn Future<Output = Result<(), SendError>> + Send + 'a>>;

/// What is published of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The same over all attempts, and over restarts.
    pub id: String,
    /// The deduplication key: the id of the incident.
    pub key: String,
    /// `firing` or `resolved`.
    pub status: &'static str,
    /// The alert, as in `schemas/alert.v1.schema.json`.
    pub alert: Vec<u8>,
    /// The incident as it is now, as in `schemas/incident.v1.schema.json`.
    pub incident: Vec<u8>,
}

/// Somewhere to publish alerts. It waits for the acknowledgement and for nothing else: the queue, retries and the ledger are
/// those of every sink.
pub trait Publisher: Send + Sync {
    /// One attempt.
    fn publish(&self, publication: Publication) -> Publishing<'_>;
}

/// A sink that is handed in, with its name and what it wants to hear.
pub struct ExternalSink {
    /// How the ledger calls it.
    pub name: String,
    /// Below it nothing is sent.
    pub min_severity: Severity,
    /// Where to.
    pub publisher: Box<dyn Publisher>,
}

impl ExternalSink {
    pub(super) fn named(self, links: Links) -> Named {
        let Self { name, min_severity, publisher } = self;
        Named { name, min_severity, sink: Box::new(External { publisher, links }) }
    }
}

struct External {
    publisher: Box<dyn Publisher>,
    links: Links,
}

impl Sink for External {
    fn send<'a>(&'a self, outgoing: &'a Outgoing, _now: u64) -> Sending<'a> {
        let alert = &outgoing.alert;
        let url = self.links.incident(&alert.incident.id);
        self.publisher.publish(Publication {
            id: outgoing.id.clone(),
            key: alert.incident.id.clone(),
            status: alert.status.name(),
            alert: json(&AlertMessage::new(alert, url)),
            incident: json(&IncidentDocument::from(&alert.incident)),
        })
    }
}
