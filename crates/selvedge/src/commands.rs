//! One module a command.

pub(crate) mod alerts;
pub(crate) mod audit;
pub(crate) mod baseline;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod policy;
pub(crate) mod quarantine;
pub(crate) mod replay;
pub(crate) mod rules;
pub(crate) mod run;
pub(crate) mod simulate;
pub(crate) mod sql;
