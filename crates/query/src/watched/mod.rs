//! What is known and found, as the engine hands it over: rows of the small tables.

mod columns;
mod contained;
mod found;
mod learned;
mod rows;

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::error::ArrowError;
use selvedge_model::tables::{
    AUDIT, BASELINES, EDGES, FATES, FINDINGS, INCIDENTS, QUARANTINES, ROUTES, TableDef,
};
use selvedge_model::{AuditLine, FateLedger, Finding, Incident, Quarantine};

pub(crate) use columns::COLUMNS;
pub use learned::Learned;
use rows::Rows;

/// Replaced as a whole whenever the engine has news; parts that did not change are shared.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Edges, routes and baselines.
    pub learned: Arc<Learned>,
    /// Recent findings, oldest first.
    pub findings: Arc<Vec<Finding>>,
    /// Incidents kept, by opening time.
    pub incidents: Arc<Vec<Incident>>,
    /// Quarantines that are remembered, by id.
    pub quarantines: Arc<Vec<Quarantine>>,
    /// The latest records of the audit log, oldest first.
    pub audit: Arc<Vec<AuditLine>>,
    /// What became of every signal.
    pub ledger: FateLedger,
}

/// All small tables.
pub(crate) const SMALL: [&TableDef; 9] =
    [&EDGES, &ROUTES, &BASELINES, &FINDINGS, &INCIDENTS, &QUARANTINES, &AUDIT, &FATES, &COLUMNS];

impl Watched {
    /// The rows of a small table, by its name; `None` when there is no such table.
    pub(crate) fn batch(&self, name: &str) -> Option<Result<RecordBatch, ArrowError>> {
        let table = SMALL.into_iter().find(|table| table.name == name)?;
        let none = Rows::new();
        let found;
        let rows: &Rows = match name {
            "edges" => &self.learned.edges,
            "routes" => &self.learned.routes,
            "baselines" => &self.learned.baselines,
            "findings" => {
                found = found::findings(&self.findings, &self.incidents);
                &found
            }
            "incidents" => {
                found = found::incidents(&self.incidents);
                &found
            }
            "fates" => {
                found = found::fates(&self.ledger);
                &found
            }
            "columns" => {
                found = columns::rows();
                &found
            }
            "quarantines" => {
                found = contained::quarantines(&self.quarantines);
                &found
            }
            "audit" => {
                found = contained::audit(&self.audit);
                &found
            }
            _ => &none,
        };
        Some(rows::batch(table, rows))
    }
}
