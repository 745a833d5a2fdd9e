//! What one edge normally does, measure by measure, and how far a window is from it.
//!
//! Every measure is a count out of an exposure (`model::measure`). Per edge and measure: a base times a season (hours of
//! the week), a level of the last half hour, the edge's own over-dispersion, an envelope of comparable times, a trusted
//! level that moves slowly. What is still normal (the composite null) is
//! `mu_up = base season max(level, envelope) (1 + margin)`, and downwards likewise. Two scores:
//!
//! - **quick**, every window: half the deviance of the last 1, 3 and 6 windows against the null. For short strong
//!   effects.
//! - **slow**, every minute: an e-detector in logarithms, `M = max(0, M) + min(ln LR, 3) - ln max(1, mean_S)` for each
//!   alternative, `T = ln mean e^M`; and the silence since the last request. For what lasts.
//!
//! - **drift**, every day: the base against a trusted level that moves by 0.6 % a day. For slow poisoning.
//!
//! The first two are standardised by the edge's own record. They are no probabilities: thresholds come from the pooled record of
//! the mesh (`detect::calibration`). [`EdgeNorm::judge`] comes before [`EdgeNorm::learn`], always. Learning is trimmed,
//! stops under suspicion (`T >= 8`), and accepts what goes on after four hours; a new version gets an amnesty.
//!
//! [`Norms`] drives the edges of a mesh by closed windows; [`counts_of`] makes counts of a window. Latency is cut at the
//! edge's own quantiles, which live beside its normal (`counting.rs`) and are frozen.
//! Source: the research report on detection (sections 3.2 and 3.3), Shin, Ramdas, Rinaldo (e-detectors).

mod counting;
mod edge;
mod envelope;
mod evidence;
mod hot;
mod learning;
pub(crate) mod maths;
mod norms;
mod parameters;
mod presence;
mod quick;
mod record;
mod scores;
mod season;
mod usual;
mod view;

pub use counting::{LatencyCuts, counts_of};
pub use edge::{DRIFT_MAX, DRIFT_MAX_TIMES, EdgeNorm, Sample, Teaching};
pub use norms::{Drift, Ended, NormOverflows, Norms, Reading};
pub use scores::{SCORE_MIN, SIGNALS, Scores, signals_of};
pub use view::Seen;

#[cfg(test)]
mod tests;
