//! Log statements: templates of what workloads write ([`Miner`]), and which of them the calls of a route usually make
//! ([`Habits`]).
//!
//! Start reading at `tokens.rs`, `miner.rs`; then `habits.rs` (all routes of all workloads), `known.rs` (one statement of one
//! route: its record, and how evidence adds up), `odds.rs` (the formulas).

mod habits;
mod known;
mod miner;
mod odds;
mod tokens;

pub use habits::{Deviant, Deviation, HabitOverflows, Habits};
pub use known::{Class, Tally};
pub use miner::{Miner, StatementId};
