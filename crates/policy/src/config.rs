//! What the engine may do by itself, to whom, and how much of it.

use std::collections::BTreeMap;
use std::time::Duration;

use selvedge_model::Endpoint;

use crate::recent::RecentConfig;

/// How far the engine may go by itself. The order is that of boldness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyMode {
    /// Plans nothing.
    Off,
    /// Plans, and waits for a person.
    #[default]
    Propose,
    /// Pushes dry runs.
    Shadow,
    /// Pushes denies.
    Enforce,
}

impl PolicyMode {
    /// All, least bold first.
    pub const ALL: [Self; 4] = [Self::Off, Self::Propose, Self::Shadow, Self::Enforce];

    /// Lower-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Propose => "propose",
            Self::Shadow => "shadow",
            Self::Enforce => "enforce",
        }
    }

    /// From the lower-case name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// Patterns `namespace/workload` with `*` for any run of characters; protected are what a mesh cannot live without, and
/// doors that carry everybody's calls under one identity.
const PROTECTED: [&str; 16] = [
    "kube-system/*",
    "istio-system/*",
    "istio-ingress/*",
    "linkerd/*",
    "linkerd-*/*",
    "consul/*",
    "cert-manager/*",
    "spire*/*",
    "monitoring/*",
    "*/*ingress*",
    "*/*gateway*",
    "*/coredns*",
    "*/kube-dns*",
    "*/istiod*",
    "*/prometheus*",
    "*/selvedge*",
];

/// Configuration of everything that plans, keeps and judges quarantines.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyConfig {
    /// How far the engine may go by itself.
    pub mode: PolicyMode,
    /// Other modes, by `namespace` or `namespace/workload` of the workload where a cut would be enforced.
    pub overrides: BTreeMap<String, PolicyMode>,
    /// Nothing is decided, approved or renewed while it is on. What is live stays until its lease ends.
    pub kill_switch: bool,
    /// Workloads that are never cut, neither as destination nor as caller: `namespace/workload`, `*` for any run of
    /// characters.
    pub protected: Vec<String>,
    /// Live quarantines at once.
    pub active_max: usize,
    /// Quarantines that wait for a person, at once.
    pub proposed_max: usize,
    /// Leases that the engine grants by itself within an hour.
    pub per_hour_max: usize,
    /// Ended quarantines that are remembered; past it the one that ended first is forgotten (policy `oldest`).
    pub ended_max: usize,
    /// Normal calls that a quarantine may deny, as a share of all at the workloads it cuts, 0 to 1.
    pub blast_radius_max: f64,
    /// Callers whose normal calls it may deny.
    pub callers_harmed_max: u64,
    /// Calls before the onset without which a backtest says nothing.
    pub backtest_calls_min: u64,
    /// Open incidents of high severity beyond which something else than an intruder is wrong.
    pub storm_incidents_max: usize,
    /// Share of all edges that may deviate at once, 0 to 1; beyond it the mesh as a whole is ill.
    pub storm_edges_share_max: f64,
    /// How long a lease lasts from its grant or renewal.
    pub ttl: Duration,
    /// How long a proposal waits for a person.
    pub proposal_ttl: Duration,
    /// Renewals of one lease on fresh evidence; then it runs out, and a person decides.
    pub renewals_max: u32,
    /// How long a quarantine is a dry run before it is enforced, in mode `enforce`. Zero enforces at once.
    pub shadow_for: Duration,
    /// When a push is proven, and when it does harm.
    pub proof: ProofConfig,
    /// How much recent traffic is kept to try quarantines on.
    pub recent: RecentConfig,
}

/// When a push counts as taken, and when it does harm.
#[derive(Clone, Debug, PartialEq)]
pub struct ProofConfig {
    /// Calls that start sooner after the push may have been decided by the old policy.
    pub grace: Duration,
    /// How long proxies may take to acknowledge.
    pub acknowledge_within: Duration,
    /// A survivor spoils the proof for this long.
    pub survivor_memory: Duration,
    /// For how long after the push errors of untouched callers are held against it.
    pub harm_within: Duration,
    /// Calls denied under a quarantine's name that it does not match, from which on it does harm.
    pub wrongly_denied_max: u64,
    /// Calls of an untouched caller before and after the push without which its errors say nothing, each.
    pub harm_calls_min: u64,
    /// Failed calls of an untouched caller after the push without which they say nothing.
    pub harm_failed_min: u64,
    /// Rise of its share of failed calls without which it says nothing, 0 to 1.
    pub harm_rise_min: f64,
    /// Chance of so many failed calls, if nothing changed, below which something did.
    pub harm_probability_max: f64,
}

impl Default for ProofConfig {
    fn default() -> Self {
        Self {
            // Two seconds of clock skew, and pushes are in effect within 50 ms (`envoy.md` 4).
            grace: Duration::from_secs(2),
            // Proxies acknowledge within 5 ms (`envoy.md` 4); one that has to reconnect needs some seconds.
            acknowledge_within: Duration::from_secs(30),
            survivor_memory: Duration::from_secs(60),
            harm_within: Duration::from_mins(5),
            wrongly_denied_max: 3,
            harm_calls_min: 20,
            harm_failed_min: 5,
            harm_rise_min: 0.05,
            harm_probability_max: 1e-4,
        }
    }
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            mode: PolicyMode::Propose,
            overrides: BTreeMap::new(),
            kill_switch: false,
            protected: PROTECTED.map(str::to_owned).to_vec(),
            active_max: 5,
            proposed_max: 20,
            per_hour_max: 3,
            ended_max: 1_000,
            blast_radius_max: 0.01,
            callers_harmed_max: 1,
            backtest_calls_min: 10,
            storm_incidents_max: 10,
            storm_edges_share_max: 0.2,
            ttl: Duration::from_mins(30),
            proposal_ttl: Duration::from_hours(24),
            renewals_max: 8,
            shadow_for: Duration::ZERO,
            proof: ProofConfig::default(),
            recent: RecentConfig::default(),
        }
    }
}

impl PolicyConfig {
    /// The mode at a workload: its own, else its namespace's, else that of the mesh.
    #[must_use]
    pub fn mode_at(&self, workload: &Endpoint) -> PolicyMode {
        let own = self.overrides.get(&format!("{}/{}", workload.namespace, workload.workload));
        own.or_else(|| self.overrides.get(&workload.namespace)).copied().unwrap_or(self.mode)
    }

    /// The first pattern that protects a workload.
    #[must_use]
    pub fn protects(&self, workload: &Endpoint) -> Option<&str> {
        let name = format!("{}/{}", workload.namespace, workload.workload);
        self.protected.iter().map(String::as_str).find(|pattern| matches_pattern(pattern, &name))
    }
}

/// Whether `text` is of the pattern, in which `*` stands for any run of characters.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(mut part) = parts.next() else { return rest.is_empty() };
    for next in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        part = next;
    }
    rest.ends_with(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (pattern, text, expected) in [
            ("store/cart", "store/cart", true),
            ("store/cart", "store/cart2", false),
            ("store/*", "store/cart", true),
            ("*/*gateway*", "edge/istio-gateway-1", true),
            ("*/*gateway*", "gateway/cart", false),
            ("linkerd-*/*", "linkerd-viz/web", true),
            ("*", "anything/at-all", true),
            ("a*b*a", "a/ba", true),
            ("a*a", "a", false),
            ("*/*a*", "x/a", true),
        ] {
            assert_eq!(matches_pattern(pattern, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_workloads_own_mode_goes_before_its_namespaces_and_the_meshs() {
        let mut config = PolicyConfig { mode: PolicyMode::Enforce, ..PolicyConfig::default() };
        config.overrides.insert("store".to_owned(), PolicyMode::Shadow);
        config.overrides.insert("store/ledger".to_owned(), PolicyMode::Off);
        let at = |namespace: &str, workload: &str| Endpoint {
            namespace: namespace.to_owned(),
            workload: workload.to_owned(),
            ..Endpoint::default()
        };
        assert_eq!(config.mode_at(&at("store", "ledger")), PolicyMode::Off);
        assert_eq!(config.mode_at(&at("store", "cart")), PolicyMode::Shadow);
        assert_eq!(config.mode_at(&at("yard", "courier")), PolicyMode::Enforce);
    }
}
