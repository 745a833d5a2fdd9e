//! What every limit of the engine did: its name, its policy, and how often it struck.

/// One limit. All are told, also those that never struck: nobody can watch a counter that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overload {
    /// What is limited.
    pub limit: &'static str,
    /// What happens at the limit.
    pub policy: &'static str,
    /// How often it did.
    pub count: u64,
}

impl Overload {
    pub(crate) const fn new(limit: &'static str, policy: &'static str, count: u64) -> Self {
        Self { limit, policy, count }
    }
}
