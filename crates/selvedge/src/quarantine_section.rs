//! The `quarantine` section: how far the engine may go by itself, and where what it decides is kept and told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use selvedge_enforce::YamlFolder;
use selvedge_enforce::xds::ResourceNames;
use selvedge_enforce::yaml_driver::{GitConfig, YamlConfig, YamlDriver};
use selvedge_engine::{PolicyConfig, PolicyMode};
use selvedge_policy::{Deployment, RenderContext, Target};
use selvedge_receive::{AuthConfig, Secret, TlsConfig};
use serde::Deserialize;

use crate::config::duration;
use crate::tls_files::TlsFiles;
use crate::yaml::nearest;

/// Where proxies ask for their policies unless configured (design section 4).
const ENDPOINT_DEFAULT: &str = "127.0.0.1:4321";

/// `quarantine`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct QuarantineSection {
    /// `off`, `propose` (default), `shadow` or `enforce`.
    mode: Option<String>,
    /// Other modes, by `namespace` or `namespace/workload`.
    overrides: BTreeMap<String, String>,
    /// On: nothing is decided, approved or renewed. What is live stays until its lease ends.
    kill_switch: bool,
    /// `namespace/workload` patterns that are never cut, beside the built-in ones.
    protected: Vec<String>,
    /// Live quarantines at once.
    active_max: Option<usize>,
    /// Leases granted without a person within an hour.
    per_hour_max: Option<usize>,
    /// Share of normal calls that may be denied, 0 to 1.
    blast_radius_max: Option<f64>,
    /// How long a lease lasts (`30m`).
    ttl: Option<String>,
    /// Renewals of one lease on fresh evidence.
    renewals_max: Option<u32>,
    /// How long a quarantine is a dry run before it is enforced (`0s`).
    shadow_for: Option<String>,
    /// Where leases and the audit log are; relative to the configuration file. Without it nothing is enforced.
    folder: Option<PathBuf>,
    /// Where proxies ask.
    xds: XdsSection,
    /// Files of the live quarantines.
    yaml: Option<YamlSection>,
}

/// `quarantine.yaml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct YamlSection {
    /// The folder; relative to the configuration file. It must exist.
    folder: Option<PathBuf>,
    /// `istio` (default), `cilium`, `cluster-network-policy`, `consul` or `envoy`.
    target: Option<String>,
    /// Commits what changes.
    git: bool,
    /// Label of pods that holds the workload's name (`app`).
    selector_label: Option<String>,
    /// Istio's root namespace (`istio-system`).
    root_namespace: Option<String>,
    /// The mesh's trust domain.
    trust_domain: Option<String>,
    /// `sidecar` (default), `ambient` or `waypoint`.
    deployment: Option<String>,
}

/// `quarantine.xds`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct XdsSection {
    /// `address:port` of ADS.
    endpoint: Option<String>,
    /// Name of the resource that inbound listeners ask for.
    inbound: Option<String>,
    /// Name of the resource that outbound listeners ask for.
    outbound: Option<String>,
    /// The token that proxies send.
    bearer_token: Option<Secret>,
    bearer_token_file: Option<PathBuf>,
    /// TLS of ADS.
    tls: Option<TlsFiles>,
    /// Listens on other addresses without both, too: for networks that protect it themselves.
    insecure: bool,
}

/// Where enforcement happens, checked.
#[derive(Debug)]
pub(crate) struct EnforcementSettings {
    pub(crate) folder: PathBuf,
    pub(crate) endpoint: SocketAddr,
    pub(crate) resources: ResourceNames,
    /// Its file is read at the start, so that `check` needs no secrets.
    pub(crate) token: Option<AuthConfig>,
    pub(crate) insecure: bool,
    pub(crate) tls: Option<TlsConfig>,
    /// True when clients must show a certificate.
    pub(crate) clients_verified: bool,
    pub(crate) yaml: Option<YamlFolder>,
}

impl QuarantineSection {
    /// What decides, and where it is enforced: nowhere without a folder.
    pub(crate) fn check(
        self,
        folder: &Path,
        problems: &mut Vec<String>,
    ) -> (PolicyConfig, Option<EnforcementSettings>) {
        let mut policy = PolicyConfig::default();
        if let Some(mode) = &self.mode {
            policy.mode = mode_of("quarantine.mode", mode, problems).unwrap_or(policy.mode);
        }
        for (place, mode) in &self.overrides {
            let key = format!("quarantine.overrides.{place}");
            if !place.split('/').all(is_name) || place.split('/').count() > 2 {
                problems.push(format!(
                    "{key}: `{place}` is neither `namespace` nor `namespace/workload`, so it would apply to nothing"
                ));
            }
            if let Some(mode) = mode_of(&key, mode, problems) {
                policy.overrides.insert(place.clone(), mode);
            }
        }
        policy.kill_switch = self.kill_switch;
        for pattern in &self.protected {
            let parts: Vec<&str> = pattern.split('/').collect();
            if parts.len() != 2 || parts.contains(&"") {
                problems.push(format!(
                    "quarantine.protected: `{pattern}` is not of the form `namespace/workload` (`*` is any run of \
                     characters), so it would not protect what it names"
                ));
            }
        }
        policy.protected.extend(self.protected);
        policy.active_max = self.active_max.unwrap_or(policy.active_max);
        policy.per_hour_max = self.per_hour_max.unwrap_or(policy.per_hour_max);
        policy.renewals_max = self.renewals_max.unwrap_or(policy.renewals_max);
        if let Some(share) = self.blast_radius_max {
            if (0.0..=1.0).contains(&share) {
                policy.blast_radius_max = share;
            } else {
                problems.push(format!("quarantine.blast_radius_max: {share} is not a share between 0 and 1"));
            }
        }
        check_durations(&mut policy, self.ttl.as_ref(), self.shadow_for.as_ref(), problems);
        let acts = std::iter::once(&policy.mode).chain(policy.overrides.values());
        if self.folder.is_none() && acts.max().is_some_and(|mode| *mode >= PolicyMode::Shadow) {
            problems.push(
                "quarantine.folder: is required to enforce or shadow: leases and the audit log must outlive the process"
                    .to_owned(),
            );
        }
        if self.folder.is_none() && self.yaml.is_some() {
            problems
                .push("quarantine.folder: is required with yaml: without it nothing is enforced".to_owned());
        }
        let yaml = self.yaml.and_then(|yaml| yaml.check(folder, problems));
        // Also without a folder: what is wrong here would show on the day that enforcement is turned on.
        let own = self.folder.as_ref().map(|own| folder.join(own));
        let xds = self.xds.check(folder, own.clone().unwrap_or_default(), problems);
        let enforcement = xds.filter(|_| own.is_some());
        (policy, enforcement.map(|settings| EnforcementSettings { yaml, ..settings }))
    }
}

impl XdsSection {
    fn check(
        self,
        beside: &Path,
        folder: PathBuf,
        problems: &mut Vec<String>,
    ) -> Option<EnforcementSettings> {
        let text = self.endpoint.unwrap_or_else(|| ENDPOINT_DEFAULT.to_owned());
        let endpoint = text.replace("localhost:", "127.0.0.1:").parse::<SocketAddr>();
        if endpoint.is_err() {
            problems.push(format!(
                "quarantine.xds.endpoint: `{text}` is not an address and a port, such as `{ENDPOINT_DEFAULT}`"
            ));
        }
        let token = match (self.bearer_token, self.bearer_token_file) {
            (Some(token), None) => {
                let token = token.reveal().trim().to_owned();
                if token.is_empty() {
                    problems.push("quarantine.xds.bearer_token: is empty".to_owned());
                }
                Some(AuthConfig::Token(Secret::new(token)))
            }
            (None, Some(file)) => Some(AuthConfig::TokenFile(beside.join(file))),
            (None, None) => None,
            (Some(_), Some(_)) => {
                problems.push(
                    "quarantine.xds: give one of bearer_token and bearer_token_file, not both".to_owned(),
                );
                None
            }
        };
        let clients_verified = self.tls.as_ref().is_some_and(TlsFiles::verifies_clients);
        let tls = self.tls.and_then(|tls| tls.check("quarantine.xds.tls", beside, problems));
        let names = ResourceNames::default();
        let resources = ResourceNames {
            inbound: self.inbound.unwrap_or(names.inbound),
            outbound: self.outbound.unwrap_or(names.outbound),
        };
        if resources.inbound == resources.outbound
            || resources.inbound.is_empty()
            || resources.outbound.is_empty()
        {
            problems.push(format!(
                "quarantine.xds: inbound (`{}`) and outbound (`{}`) must be two names: a proxy could not tell which of \
                 its filters it asks for",
                resources.inbound, resources.outbound
            ));
        }
        let endpoint = endpoint.ok()?;
        let identified = clients_verified || token.is_some();
        if !(endpoint.ip().is_loopback() || tls.is_some() && identified || self.insecure) {
            problems.push(format!(
                "quarantine.xds.endpoint: {endpoint} can be reached from other machines, which needs `tls` and a \
                 bearer token (or tls.client_ca_file); add what is missing, listen on 127.0.0.1, or say `insecure: true`"
            ));
        }
        let insecure = self.insecure;
        let yaml = None;
        Some(EnforcementSettings {
            folder,
            endpoint,
            resources,
            token,
            insecure,
            tls,
            clients_verified,
            yaml,
        })
    }
}

impl YamlSection {
    fn check(self, beside: &Path, problems: &mut Vec<String>) -> Option<YamlFolder> {
        let target = self.target.as_deref().unwrap_or("istio");
        // Linkerd's allow lists are made of the callers seen, which is for `quarantine preview`.
        let known =
            Target::parse(target).filter(|target| !matches!(target, Target::Linkerd | Target::NetworkPolicy));
        if known.is_none() {
            let known = ["istio", "cilium", "cluster-network-policy", "consul", "envoy"];
            problems.push(none_of("quarantine.yaml.target", target, &known));
        }
        let deployment = match self.deployment.as_deref() {
            None | Some("sidecar") => Deployment::Sidecar,
            Some("ambient") => Deployment::Ambient,
            Some("waypoint") => Deployment::Waypoint,
            Some(other) => {
                let known = ["sidecar", "ambient", "waypoint"];
                problems.push(none_of("quarantine.yaml.deployment", other, &known));
                return None;
            }
        };
        let Some(folder) = self.folder else {
            problems.push("quarantine.yaml.folder: is required with yaml".to_owned());
            return None;
        };
        let defaults = RenderContext::default();
        let context = RenderContext {
            selector_label: self.selector_label.unwrap_or(defaults.selector_label),
            root_namespace: self.root_namespace.unwrap_or(defaults.root_namespace),
            trust_domain: self.trust_domain.unwrap_or(defaults.trust_domain),
            deployment,
            ..RenderContext::default()
        };
        let git = self.git.then(GitConfig::default);
        let driver = YamlDriver::new(YamlConfig { folder: beside.join(folder), git });
        Some(YamlFolder { driver, target: known?, context })
    }
}

fn mode_of(key: &str, text: &str, problems: &mut Vec<String>) -> Option<PolicyMode> {
    let mode = PolicyMode::parse(text);
    if mode.is_none() {
        problems.push(none_of(key, text, &PolicyMode::ALL.map(PolicyMode::name)));
    }
    mode
}

/// How long leases and dry runs last.
fn check_durations(
    policy: &mut PolicyConfig,
    ttl: Option<&String>,
    shadow_for: Option<&String>,
    problems: &mut Vec<String>,
) {
    if let Some(ttl) = duration("quarantine.ttl", ttl, problems) {
        if ttl.as_secs() == 0 {
            problems.push("quarantine.ttl: a lease must last a second at least".to_owned());
        }
        policy.ttl = ttl;
    }
    if let Some(shadow) = duration("quarantine.shadow_for", shadow_for, problems) {
        if shadow >= policy.ttl {
            problems.push(format!(
                "quarantine.shadow_for: {shadow:?} is no less than quarantine.ttl, {:?}: the lease would end before \
                 anything is enforced",
                policy.ttl
            ));
        }
        policy.shadow_for = shadow;
    }
}

/// Whether a namespace or a workload can be called so. A pattern can not: overrides are looked up, not matched.
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(|letter: char| letter.is_whitespace() || letter == '*')
}

/// A word that is not known, and the one that was probably meant.
fn none_of(key: &str, text: &str, known: &[&str]) -> String {
    let hint = nearest(text, known).map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
    format!("{key}: `{text}` is none of {}{hint}", known.join(", "))
}
