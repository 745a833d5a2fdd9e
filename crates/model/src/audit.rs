//! One record of the audit log, as people look at it.

use crate::time::ObservedTime;

/// A record of the audit log. The log itself (`enforce`) says what each action means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditLine {
    /// When, by our wall clock.
    pub time: ObservedTime,
    /// Position in the chain, from 1.
    pub sequence: u64,
    /// Who did it.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// What it is about: a quarantine, an incident, a proxy.
    pub subject: String,
    /// Why, and what else is known.
    pub detail: String,
    /// Hash of this record, which covers the one before.
    pub hash: String,
}
