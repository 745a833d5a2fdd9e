//! Quarantines as the text of the enforcement points that exist. Each renderer says exactly what the quarantine
//! says, or refuses and says why: a policy that its enforcement point ignores or reads more widely is worse
//! than none.

mod cilium;
mod consul;
mod envoy;
mod istio;
mod kubernetes;
mod linkerd;
mod object;

use std::fmt;

use selvedge_model::{Cut, Place, Quarantine};

use crate::traffic::TrafficRow;

pub use envoy::{ENVOY_STAT_PREFIX, EnvoyRbac, envoy_rbac};
pub(crate) use istio::{metadata_name_ok, path as istio_path};

/// How Istio stands in front of the workloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deployment {
    /// An Envoy beside each workload.
    #[default]
    Sidecar,
    /// The node's ztunnel only: connections, no requests.
    Ambient,
    /// A waypoint in front of the services.
    Waypoint,
}

/// What a text needs beside the quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderContext {
    /// The label of pods that holds the workload's name.
    pub selector_label: String,
    /// Istio's root namespace.
    pub root_namespace: String,
    /// The mesh's trust domain; empty when it is not known. Where an enforcement point knows callers by name only, a
    /// name is written for identities of this trust domain and refused for others.
    pub trust_domain: String,
    /// How Istio is deployed.
    pub deployment: Deployment,
    /// The workload's port, for enforcement points that must name one (Linkerd).
    pub port: Option<u16>,
    /// Consul's default is to allow what no intention decides.
    pub consul_default_allow: bool,
    /// When the lease runs out, as text (RFC 3339); empty when nothing is leased.
    pub expires_at: String,
    /// When this is rendered, as text (RFC 3339).
    pub now: String,
}

impl Default for RenderContext {
    fn default() -> Self {
        Self {
            selector_label: "app".to_owned(),
            root_namespace: "istio-system".to_owned(),
            trust_domain: String::new(),
            deployment: Deployment::Sidecar,
            port: None,
            consul_default_allow: false,
            expires_at: String::new(),
            now: String::new(),
        }
    }
}

/// An enforcement point that policies can be written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Envoy's RBAC filter.
    Envoy,
    /// Istio's `AuthorizationPolicy`.
    Istio,
    /// Cilium's `CiliumNetworkPolicy`.
    Cilium,
    /// Kubernetes' `ClusterNetworkPolicy`.
    ClusterNetworkPolicy,
    /// Kubernetes' `NetworkPolicy`, which cannot deny.
    NetworkPolicy,
    /// Linkerd's allow lists.
    Linkerd,
    /// Consul's service intentions.
    Consul,
}

impl Target {
    /// All targets.
    pub const ALL: [Self; 7] = [
        Self::Envoy,
        Self::Istio,
        Self::Cilium,
        Self::ClusterNetworkPolicy,
        Self::NetworkPolicy,
        Self::Linkerd,
        Self::Consul,
    ];

    /// Lower-case name, as in file names and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::Istio => "istio",
            Self::Cilium => "cilium",
            Self::ClusterNetworkPolicy => "cluster-network-policy",
            Self::NetworkPolicy => "network-policy",
            Self::Linkerd => "linkerd",
            Self::Consul => "consul",
        }
    }

    /// From the lower-case name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }
}

/// A policy as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Of which enforcement point.
    pub target: Target,
    /// A name for the file, from the quarantine's id and the target.
    pub file_name: String,
    /// YAML documents.
    pub text: String,
    /// What a person should know before applying it.
    pub notes: Vec<String>,
}

/// Why a quarantine cannot be written for an enforcement point.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{quarantine} cannot be rendered for {}: {}", target.name(), reasons.join("; "))]
pub struct RenderRefusal {
    /// The quarantine.
    pub quarantine: String,
    /// The enforcement point.
    pub target: Target,
    /// Everything that stands against it. Never empty.
    pub reasons: Vec<String>,
}

/// Writes a quarantine for an enforcement point. A proposed one is written as it would be enforced. `observed`
/// is recent traffic: only Linkerd needs it, which allows instead of denying.
///
/// # Errors
/// When the enforcement point would ignore or widen it.
pub fn render(
    target: Target,
    quarantine: &Quarantine,
    context: &RenderContext,
    observed: &[TrafficRow],
) -> Result<Rendered, RenderRefusal> {
    let mut draft = Draft::new(target, quarantine);
    if quarantine.state.ended() {
        draft.refuse("it has ended: nothing of it should be anywhere");
    }
    if quarantine.cuts.is_empty() {
        draft.refuse("it cuts nothing");
    }
    let text = match target {
        Target::Envoy => envoy::render(&mut draft),
        Target::Istio => istio::render(&mut draft, context),
        Target::Cilium => cilium::render(&mut draft, context),
        Target::ClusterNetworkPolicy => kubernetes::render(&mut draft, context),
        Target::NetworkPolicy => {
            draft.refuse(
                "NetworkPolicy is additive and can only allow: a deny written with it does nothing where \
                 another policy allows; use ClusterNetworkPolicy, Cilium or the mesh",
            );
            String::new()
        }
        Target::Linkerd => linkerd::render(&mut draft, context, observed),
        Target::Consul => consul::render(&mut draft, context),
    };
    draft.finish(text)
}

/// A text in the making, and what speaks against it.
pub(crate) struct Draft<'q> {
    target: Target,
    pub(crate) quarantine: &'q Quarantine,
    reasons: Vec<String>,
    notes: Vec<String>,
}

impl<'q> Draft<'q> {
    pub(crate) fn new(target: Target, quarantine: &'q Quarantine) -> Self {
        Self { target, quarantine, reasons: Vec::new(), notes: Vec::new() }
    }

    pub(crate) fn refuse(&mut self, reason: impl Into<String>) {
        let reason = reason.into();
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Refuses what a dry run would not be one for.
    pub(crate) fn refuse_shadow(&mut self, why: &str) {
        if self.quarantine.state == selvedge_model::QuarantineState::Shadow {
            self.refuse(format!("it is a shadow, and {why}"));
        }
    }

    pub(crate) fn refusal(self) -> Option<RenderRefusal> {
        let Self { target, quarantine, reasons, .. } = self;
        (!reasons.is_empty()).then(|| RenderRefusal { quarantine: quarantine.id.clone(), target, reasons })
    }

    fn finish(self, text: String) -> Result<Rendered, RenderRefusal> {
        let (target, notes) = (self.target, self.notes.clone());
        let file_name = format!("{}.{}.yaml", self.quarantine.id, target.name());
        match self.refusal() {
            Some(refusal) => Err(refusal),
            None => Ok(Rendered { target, file_name, text, notes }),
        }
    }
}

/// A cut for people.
pub(crate) struct Named<'c>(pub(crate) &'c Cut);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.0.place {
            Place::Inbound => "inbound",
            Place::Outbound => "outbound",
        };
        write!(f, "the {side} cut at {}", self.0.workload.label())
    }
}
