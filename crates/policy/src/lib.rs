//! From incidents to quarantines: candidates, backtests, guard rails, life of a lease, and policies as text.
//!
//! Owns everything that decides about a deny before and after it is pushed. Pushes nothing, keeps no file.
//! Never does I/O, never reads a clock. Nothing is planned on the word of an identity that was not verified.
//! Depends on `model` and `learn`. Start reading at `traffic.rs`, then `respond.rs`.

mod attest;
mod backtest;
mod candidates;
mod cases;
mod config;
mod dialect;
mod events;
mod guard;
mod knowledge;
mod lease;
mod ledger;
mod lifecycle;
mod limits;
mod matching;
mod pattern;
mod proof;
mod recent;
mod render;
mod respond;
mod suggest;
mod template;
mod traffic;
mod yaml;

pub use attest::{Attested, Doubt, attested};
pub use backtest::{Evaluator, Trial, backtest, backtest_cuts};
pub use candidates::{Candidate, Plans, Subject, plans};
pub use cases::{CaseFile, CaseResult, Expectation};
pub use config::{PolicyConfig, PolicyMode, ProofConfig};
pub use dialect::{
    HeaderMatch, MeshSettings, Permission, PolicyError, PolicySet, PolicyVerdict, Principal, Rbac,
    RbacAction, RbacPolicy, TextMatch, TextPattern,
};
pub use events::{ContainmentEvent, PushReport};
pub use guard::{Load, MeshState, Refusal, mode_of, refusals};
pub use knowledge::{Knowledge, Learned};
pub use lease::Now;
pub use ledger::Ledger;
pub use lifecycle::{Change, CommandError, Decision, ENGINE, QuarantineEvent, quarantine_id};
pub use matching::{any_matches, concerns, matches, same_workload};
pub use proof::{Proof, Verdict};
pub use recent::{Recent, RecentConfig, RecentOverflows, Scope, authenticated, began_by, known, proven};
pub use render::{
    Deployment, ENVOY_STAT_PREFIX, EnvoyRbac, RenderContext, RenderRefusal, Rendered, Target, envoy_rbac,
    render,
};
pub use respond::{Answer, Response, respond};
pub use suggest::{DeniedCalls, Suggestion, suggest};
pub use traffic::{TrafficRow, Truth};
