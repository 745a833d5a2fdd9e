//! From incidents to quarantines: candidates, backtests, guard rails, life of a lease, and policies as text.
//!
//! Owns everything that decides about a deny before and after it is pushed. Pushes nothing, keeps no file.
//! Never does I/O, never reads a clock. Nothing is planned on the word of an identity that was not verified.
//! Depends on `model` and `learn`. Start reading at `traffic.rs`.

mod cases;
mod dialect;
mod pattern;
mod render;
mod suggest;
mod template;
mod traffic;
mod yaml;

pub use cases::{CaseFile, CaseResult, Expectation};
pub use dialect::{
    HeaderMatch, MeshSettings, Permission, PolicyError, PolicySet, PolicyVerdict, Principal, Rbac,
    RbacAction, RbacPolicy, TextMatch, TextPattern,
};
pub use render::{
    Deployment, ENVOY_STAT_PREFIX, EnvoyRbac, RenderContext, RenderRefusal, Rendered, Target, envoy_rbac,
    render,
};
pub use suggest::{DeniedCalls, Suggestion, suggest};
pub use traffic::{TrafficRow, Truth};
