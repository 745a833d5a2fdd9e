//! Policies that people wrote, as values that can be asked what they would do with a recorded request.
//!
//! Two dialects are read: Istio's `AuthorizationPolicy` and Envoy's RBAC. Answers have three values, because a
//! record may not say enough: which port it was, or which path behind a route template.

mod envoy;
mod envoy_read;
mod facts;
mod istio;
mod istio_read;
mod reader;
mod text_match;

pub use envoy::{HeaderMatch, Permission, Principal, Rbac, RbacAction, RbacPolicy};
pub(crate) use facts::{Facts, OTHER_METHOD, Path, Peer};
pub(crate) use istio_read::literal_byte;
pub use reader::PolicyError;
pub(crate) use reader::{Keys, Reader};
pub use text_match::{TextMatch, TextPattern};

use self::facts::{Missing, all, any, not};
use self::istio::Action;
use crate::traffic::{TrafficRow, Truth};
use crate::yaml::{Kind, Node, documents};

/// Policies of one set; past it a file is refused.
const POLICIES_MAX: usize = 10_000;
/// The name telemetry has for a denial that no policy is to blame for: an ALLOW policy is there, and none
/// matches.
const NO_POLICY: &str = "none";

/// What policies mean depends on the mesh they are applied in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshSettings {
    /// Istio's root namespace: policies in it are for the whole mesh.
    pub root_namespace: String,
    /// What `cluster.local` in principals also stands for; empty when it is only itself.
    pub trust_domain: String,
    /// The label that holds a workload's name, besides the usual ones.
    pub selector_label: String,
}

impl Default for MeshSettings {
    fn default() -> Self {
        Self {
            root_namespace: "istio-system".to_owned(),
            trust_domain: String::new(),
            selector_label: "app".to_owned(),
        }
    }
}

/// Policies that act together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicySet {
    istio: Vec<istio::Policy>,
    /// RBAC filters one behind the other; a file does not say at which proxy, so they are taken for all.
    envoy: Vec<Rbac>,
    notes: Vec<String>,
}

/// What policies do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyVerdict {
    /// It passes.
    Allowed,
    /// It is refused.
    Denied {
        /// By which policy (`namespace/name` for Istio); `none` when no ALLOW policy matches, as Envoy reports
        /// it.
        policy: String,
    },
    /// The record does not say enough.
    Unknown {
        /// Which policy asks for what, in words.
        why: String,
    },
}

impl PolicySet {
    /// Reads all policies of a file: YAML documents or JSON, of either dialect.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, Vec<PolicyError>> {
        Self::parse_in(text, file_name, &MeshSettings::default())
    }

    /// Reads all policies of a file, for a mesh with these settings.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub fn parse_in(text: &str, file_name: &str, settings: &MeshSettings) -> Result<Self, Vec<PolicyError>> {
        let mut reader = Reader::new(file_name);
        let mut set = Self::default();
        match documents(text) {
            Ok(documents) => {
                for document in &documents {
                    set.read(&mut reader, document, settings);
                }
                if set.is_empty() && reader.errors.is_empty() && reader.notes.is_empty() {
                    reader.wrong(0, "holds no policy");
                }
            }
            Err((line, message)) => reader.wrong(line, message),
        }
        set.notes = reader.notes;
        if reader.errors.is_empty() { Ok(set) } else { Err(reader.errors) }
    }

    /// Adds the policy of one document.
    pub(crate) fn read(&mut self, reader: &mut Reader<'_>, node: &Node, settings: &MeshSettings) {
        if self.istio.len() + self.envoy.len() >= POLICIES_MAX {
            reader.wrong(node.line, format!("more than {POLICIES_MAX} policies"));
            return;
        }
        let kind = node.get("kind").and_then(Node::text);
        match kind {
            Some("AuthorizationPolicy") => {
                let version = node.get("apiVersion").and_then(Node::text).unwrap_or_default();
                if !matches!(version, "security.istio.io/v1" | "security.istio.io/v1beta1") {
                    let message = format!(
                        "apiVersion `{version}`; known here: security.istio.io/v1, security.istio.io/v1beta1"
                    );
                    reader.wrong(node.line, message);
                }
                self.istio.extend(istio_read::policy(reader, node, settings));
            }
            Some(list) if list.ends_with("List") => {
                if let Some(Node { kind: Kind::List(items), .. }) = node.get("items") {
                    items.iter().for_each(|item| self.read(reader, item, settings));
                }
            }
            Some(other) => match reader::nearest(other, &["AuthorizationPolicy"]) {
                Some(meant) => {
                    reader.wrong(node.line, format!("unknown kind `{other}`; did you mean `{meant}`?"))
                }
                None => reader.note(node.line, &format!("kind {other} is not judged here: ignored")),
            },
            None if envoy_read::looks_like(node) => self.envoy.extend(envoy_read::rbac(reader, node)),
            None => {
                let hint = envoy_read::hint(node);
                reader.wrong(
                    node.line,
                    format!("neither an Istio AuthorizationPolicy nor an Envoy RBAC filter{hint}"),
                );
            }
        }
    }

    /// Adds the policies of another set.
    pub fn extend(&mut self, other: Self) {
        self.istio.extend(other.istio);
        self.envoy.extend(other.envoy);
        self.notes.extend(other.notes);
    }

    /// True when no policy is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.istio.is_empty() && self.envoy.is_empty()
    }

    /// How many policies are in it. An RBAC filter counts as one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.istio.len() + self.envoy.len()
    }

    /// How many RBAC filters are in it. They do not say at which workload they are: it is for the caller to judge only
    /// the calls of that workload.
    #[must_use]
    pub fn rbac_filters(&self) -> usize {
        self.envoy.len()
    }

    /// What people should know of the policies: `file:line: what`.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What becomes of calls like these.
    #[must_use]
    pub fn verdict(&self, row: &TrafficRow) -> PolicyVerdict {
        self.judge(&Facts::of(row))
    }

    pub(crate) fn judge(&self, facts: &Facts<'_>) -> PolicyVerdict {
        let istio = self.istio_verdict(facts);
        if matches!(istio, PolicyVerdict::Denied { .. }) {
            return istio;
        }
        let mut undecided = matches!(istio, PolicyVerdict::Unknown { .. }).then_some(istio);
        for rbac in &self.envoy {
            match rbac_verdict(rbac, facts) {
                denied @ PolicyVerdict::Denied { .. } => return denied,
                PolicyVerdict::Allowed => {}
                unknown @ PolicyVerdict::Unknown { .. } => undecided = undecided.or(Some(unknown)),
            }
        }
        undecided.unwrap_or(PolicyVerdict::Allowed)
    }

    fn istio_verdict(&self, facts: &Facts<'_>) -> PolicyVerdict {
        let mut undecided = Vec::new();
        for policy in
            self.istio.iter().filter(|policy| matches!(policy.action, Action::Deny | Action::Custom))
        {
            let (mut truth, missing) = applies(policy, facts);
            if policy.action == Action::Custom && truth == Truth::Yes {
                truth = Truth::Unknown;
            }
            match truth {
                Truth::Yes => return PolicyVerdict::Denied { policy: policy.name.clone() },
                Truth::Unknown => undecided.push(why(&policy.name, &missing)),
                Truth::No => {}
            }
        }
        let decided = undecided.is_empty();
        let (mut selecting, mut allowing) = (Vec::new(), Vec::new());
        for policy in self.istio.iter().filter(|policy| policy.action == Action::Allow) {
            let mut missing = Missing::default();
            let selects = policy.selects(facts, &mut missing);
            if selects == Truth::No {
                continue;
            }
            let allows = all([selects, policy.matches(facts, &mut missing)]);
            selecting.push(selects);
            allowing.push(allows);
            if selects == Truth::Unknown || allows == Truth::Unknown {
                undecided.push(why(&policy.name, &missing));
            }
        }
        // Refused when an ALLOW policy is there and none matches.
        let refused = all([any(selecting), not(any(allowing))]);
        match refused {
            Truth::Yes => PolicyVerdict::Denied { policy: NO_POLICY.to_owned() },
            Truth::No if decided => PolicyVerdict::Allowed,
            Truth::No | Truth::Unknown => PolicyVerdict::Unknown { why: undecided.join("; ") },
        }
    }
}

/// Whether a policy is for the callee and matches, and what was missing to say so.
fn applies(policy: &istio::Policy, facts: &Facts<'_>) -> (Truth, Missing) {
    let mut missing = Missing::default();
    let selects = policy.selects(facts, &mut missing);
    if selects == Truth::No {
        return (Truth::No, missing);
    }
    (all([selects, policy.matches(facts, &mut missing)]), missing)
}

fn why(policy: &str, missing: &Missing) -> String {
    match missing.words().as_str() {
        "" => format!("{policy} asks a service outside the mesh"),
        words => format!("{policy} asks for {words}, which is not recorded"),
    }
}

fn rbac_verdict(rbac: &Rbac, facts: &Facts<'_>) -> PolicyVerdict {
    let mut missing = Missing::default();
    let (matched, name) = rbac.matched(facts, &mut missing);
    match (rbac.action, matched) {
        (RbacAction::Log, _) | (RbacAction::Allow, Truth::Yes) | (RbacAction::Deny, Truth::No) => {
            PolicyVerdict::Allowed
        }
        (RbacAction::Deny, Truth::Yes) => PolicyVerdict::Denied { policy: name.to_owned() },
        (RbacAction::Allow, Truth::No) => PolicyVerdict::Denied { policy: NO_POLICY.to_owned() },
        (RbacAction::Allow | RbacAction::Deny, Truth::Unknown) => {
            PolicyVerdict::Unknown { why: why(name, &missing) }
        }
    }
}
