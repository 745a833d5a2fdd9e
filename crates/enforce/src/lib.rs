//! Quarantines in the world: leases that survive a crash, the audit chain, and the enforcement points that deny.
//!
//! Owns what must be on disk before anything is denied (the lease store, the audit log), the xDS port, and the folder of
//! YAML. Decides nothing: what is denied, renewed or lifted comes from `policy`; what proxies say goes back to it.
//! Depends on `model` and `policy`. Start reading at `enforcer.rs`, then `store.rs`, `audit.rs`, `xds/mod.rs`.

pub mod audit;
mod durable;
pub mod enforcer;
pub mod store;
pub mod xds;
pub mod yaml_driver;
pub mod yaml_folder;

pub use enforcer::{Enforcer, EnforcerError, Order};
pub use yaml_folder::YamlFolder;
