//! Quarantines in the world: leases that survive a crash, the audit chain, and the enforcement points they are
//! pushed to.
//!
//! Owns what must be on disk before anything is denied: the lease store and the audit log. Decides nothing:
//! what is denied, renewed or lifted comes from `policy`. Depends on `model`. Start reading at `store.rs`, then
//! `audit.rs`.

pub mod audit;
mod durable;
pub mod store;
