//! What became of every alert, by sink: bounded, for people to look at while the sinks work.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use selvedge_model::Severity;
use serde::Serialize;

use crate::alert::AlertStatus;
use crate::document::{SeverityWord, UnixNano};

/// Deliveries remembered. Past it the oldest that is settled is forgotten, else the oldest (policy `oldest_settled`).
const DELIVERIES_MAX: usize = 2_000;
/// Characters of an error that are kept.
const ERROR_CHARS_MAX: usize = 500;

/// Where a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// It waits for its first or its next attempt.
    Pending,
    /// The sink took it.
    Delivered,
    /// The sink refused it for good.
    Failed,
    /// Not delivered in the time there was.
    GivenUp,
    /// A newer state of the same incident took its place before it was delivered.
    Coalesced,
    /// Not even tried: the spool was full, or the sink is gone.
    Refused,
}

impl DeliveryStatus {
    /// Snake-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
            Self::Coalesced => "coalesced",
            Self::Refused => "refused",
        }
    }
}

/// One alert on its way to one sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// Id of the delivery, the same over its attempts and over restarts; the `webhook-id`.
    pub id: String,
    /// Where to.
    pub sink: String,
    /// The incident, and the deduplication key.
    pub incident_id: String,
    /// `firing` or `resolved`.
    pub alert: &'static str,
    /// How bad.
    pub severity: SeverityWord,
    /// Where it is.
    pub status: DeliveryStatus,
    /// Attempts made.
    pub attempts: u32,
    /// What the last attempt that failed said; never a secret.
    pub last_error: Option<String>,
    /// When it was handed over.
    pub created_unix_nano: UnixNano,
    /// When something last happened to it.
    pub updated_unix_nano: UnixNano,
    /// Its number in the ledger.
    #[serde(skip)]
    pub(crate) row: Row,
}

/// The number of a delivery in its ledger; grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row(u64);

/// What a new row says.
pub(crate) struct Entry<'a> {
    pub(crate) id: &'a str,
    pub(crate) sink: &'a str,
    pub(crate) incident_id: &'a str,
    pub(crate) alert: AlertStatus,
    pub(crate) severity: Severity,
}

/// What became of every alert. Shared by all sinks and by whoever looks.
#[derive(Debug, Default)]
pub struct DeliveryLedger {
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    next: u64,
    deliveries: VecDeque<Delivery>,
}

impl DeliveryLedger {
    /// Deliveries, newest first.
    #[must_use]
    pub fn recent(&self) -> Vec<Delivery> {
        self.lock().deliveries.iter().rev().cloned().collect()
    }

    /// How many of the recent deliveries there are, by sink and status.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<(String, &'static str), u64> {
        let mut counts = BTreeMap::new();
        for delivery in &self.lock().deliveries {
            *counts.entry((delivery.sink.clone(), delivery.status.name())).or_default() += 1;
        }
        counts
    }

    /// True when nothing waits for an attempt, or for an answer.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.lock().deliveries.iter().all(|delivery| delivery.status != DeliveryStatus::Pending)
    }

    /// Writes a delivery down.
    pub(crate) fn open(&self, entry: &Entry<'_>, status: DeliveryStatus, now: u64) -> Row {
        let mut rows = self.lock();
        if rows.deliveries.len() >= DELIVERIES_MAX {
            let settled = rows.deliveries.iter().position(|other| other.status != DeliveryStatus::Pending);
            rows.deliveries.remove(settled.unwrap_or(0));
        }
        let row = Row(rows.next);
        rows.next += 1;
        rows.deliveries.push_back(Delivery {
            id: entry.id.to_owned(),
            sink: entry.sink.to_owned(),
            incident_id: entry.incident_id.to_owned(),
            alert: entry.alert.name(),
            severity: entry.severity.into(),
            status,
            attempts: 0,
            last_error: None,
            created_unix_nano: UnixNano(now),
            updated_unix_nano: UnixNano(now),
            row,
        });
        row
    }

    /// Writes down an attempt, or an end without one. A delivery that was forgotten stays so.
    pub(crate) fn update(
        &self,
        row: Row,
        status: DeliveryStatus,
        attempts: u32,
        error: Option<&str>,
        now: u64,
    ) {
        let mut rows = self.lock();
        let Ok(at) = rows.deliveries.binary_search_by_key(&row, |delivery| delivery.row) else { return };
        let delivery = &mut rows.deliveries[at];
        delivery.status = status;
        delivery.attempts = attempts;
        delivery.updated_unix_nano = UnixNano(now);
        if let Some(error) = error {
            delivery.last_error = Some(crate::text::clip(error, ERROR_CHARS_MAX));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        // A panic while it was held leaves rows that are whole: each is changed in one step.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>() -> Entry<'a> {
        Entry {
            id: "msg_1",
            sink: "slack",
            incident_id: "i",
            alert: AlertStatus::Firing,
            severity: Severity::High,
        }
    }

    #[test]
    fn a_full_ledger_forgets_what_is_settled_first() {
        let ledger = DeliveryLedger::default();
        let waiting = ledger.open(&entry(), DeliveryStatus::Pending, 1);
        for now in 0..3 * DELIVERIES_MAX as u64 {
            let row = ledger.open(&entry(), DeliveryStatus::Pending, now);
            ledger.update(row, DeliveryStatus::Delivered, 1, None, now);
        }
        let recent = ledger.recent();
        assert_eq!(recent.len(), DELIVERIES_MAX);
        assert_eq!(recent.last().unwrap().row, waiting);
        assert_eq!(ledger.counts()[&("slack".to_owned(), "pending")], 1);
        ledger.update(waiting, DeliveryStatus::Failed, 2, Some("no"), 9);
        let last = ledger.recent().pop().unwrap();
        assert_eq!(
            (last.status, last.attempts, last.last_error.as_deref()),
            (DeliveryStatus::Failed, 2, Some("no"))
        );
    }

    #[test]
    fn an_update_of_a_forgotten_delivery_changes_nothing() {
        let ledger = DeliveryLedger::default();
        let first = ledger.open(&entry(), DeliveryStatus::Delivered, 1);
        for now in 0..DELIVERIES_MAX as u64 {
            ledger.open(&entry(), DeliveryStatus::Delivered, now);
        }
        ledger.update(first, DeliveryStatus::Failed, 1, None, 5);
        assert!(ledger.recent().iter().all(|delivery| delivery.status == DeliveryStatus::Delivered));
    }
}
