//! The words of Selvedge, as types: times, ids, symbols, observations, calls, findings, incidents, actions.
//!
//! Turns nothing into anything: every other crate speaks in these values.
//! Owns the vocabulary (`ARCHITECTURE.md`) and the small mergeable accumulators that several stages share.
//! Never does I/O, never reads a clock, knows no wire shape (OTLP, JSON, YAML).
//! Depends on no other crate of the workspace. Start reading at `observation.rs`, then `call.rs`, then `finding.rs`.

pub mod action;
pub mod audit;
pub mod call;
pub mod call_path;
pub mod edge;
pub mod edge_window;
pub mod fate;
pub mod finding;
pub mod gauge;
pub mod hash;
pub mod histogram;
pub mod id;
pub mod incident;
pub mod log_window;
pub mod measure;
pub mod metric;
pub mod observation;
pub mod quarantine;
pub mod sampling;
mod shared;
pub mod symbol;
pub mod tables;
pub mod time;

pub use action::{Action, ActionKind};
pub use audit::AuditLine;
pub use call::{Call, CallShape, Reported};
pub use call_path::{CallPath, FirstOnPath, PathStats};
pub use edge::{Edge, EdgeKey, Endpoint, Node};
pub use edge_window::{EdgeWindow, Exemplar, ShapeStats};
pub use fate::{Fate, FateLedger, SignalKind};
pub use finding::{Evidence, Finding, FindingKind, Severity};
pub use gauge::{GaugeKey, GaugePoint, SideCount};
pub use histogram::LogHistogram;
pub use id::{RequestId, SpanId, TraceId};
pub use incident::{Calibration, Incident, IncidentStatus, QuarantineRef, Suspect};
pub use log_window::{LogWindow, RouteCalls, Sample, ServedRoute};
pub use measure::{EdgeCounts, Measure, MeasureClass};
pub use metric::{Meaning, MetricPoint, MetricValue, Temporality};
pub use observation::{
    Certificate, ForwardedIdentity, IdentitySource, Observation, ObservationKind, Party, Security, Side,
    Timing,
};
pub use quarantine::{
    Backtest, BacktestCaller, Caller, Cut, Operation, Place, Progress, QUARANTINE_ID_PREFIX, Quarantine,
    QuarantineState,
};
pub use sampling::Sampling;
pub use shared::Shared;
pub use symbol::{Symbol, SymbolTable, TableId};
pub use time::{EventTime, ObservedTime, SteadyTime, Window};
