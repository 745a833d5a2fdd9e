//! Enforcement: quarantines made real, and taken back.
//!
//! Turns the live quarantines into resources of proxies ([`xds`]) and into files that others apply ([`yaml_driver`]),
//! and says who has taken them. Owns the xDS port and the folder it writes. Decides nothing: what is denied, for how
//! long and whether it worked is for `policy` and the store. Depends on `model`. Start reading at `xds/mod.rs`.

pub mod xds;
pub mod yaml_driver;
