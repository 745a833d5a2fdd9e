//! What the proxies should have: the live quarantines, by workload.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::config::rbac::v3::Principal;
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac as RbacFilter;
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};
use selvedge_model::{Cut, Place, Quarantine, QuarantineState};
use sha2::{Digest, Sha256};

use super::config::ResourceNames;
use super::node::Workload;
use super::rbac::{self, Policies};

/// Cuts of all workloads. The guard rails of `policy` stay far below; past it cuts are refused (policy `refuse`).
const CUTS_MAX: usize = 4096;
/// Changes when the same quarantines are said in another way, so that proxies get the new form.
const FORM: u8 = 1;

/// The live quarantines as filters can say them. Made once per change, shared by all streams.
#[derive(Clone, Debug, Default)]
pub struct PolicyWorld {
    pieces: BTreeMap<(String, String), Vec<Piece>>,
    refused: Vec<Unenforceable>,
}

/// A cut that no filter says, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unenforceable {
    /// The quarantine it belongs to; its other cuts stand.
    pub quarantine: String,
    /// Why, as a phrase.
    pub reason: &'static str,
}

/// One cut at one workload.
#[derive(Clone, Debug)]
struct Piece {
    at: Workload,
    place: Place,
    quarantine: String,
    enforced: bool,
    principal: Principal,
}

impl PolicyWorld {
    /// Of the quarantines that proxies should have: those in `shadow` and `enforced`. Others are left out.
    #[must_use]
    pub fn of(quarantines: &[Quarantine]) -> Self {
        let mut world = Self::default();
        let mut count = 0;
        for quarantine in quarantines.iter().filter(|quarantine| quarantine.state.live()) {
            for cut in &quarantine.cuts {
                count += 1;
                if let Err(reason) = world.add(quarantine, cut, count) {
                    world.refused.push(Unenforceable { quarantine: quarantine.id.clone(), reason });
                }
            }
        }
        world
    }

    /// Cuts that no filter says. They are not enforced over xDS.
    #[must_use]
    pub fn refused(&self) -> &[Unenforceable] {
        &self.refused
    }

    /// Ids of the quarantines that a workload's proxies should have, on either side.
    #[must_use]
    pub fn quarantines<'a>(&'a self, workload: &'a Workload) -> BTreeSet<&'a str> {
        self.at(workload).map(|piece| piece.quarantine.as_str()).collect()
    }

    /// True when something of the workload is cut.
    pub(crate) fn concerns(&self, workload: &Workload) -> bool {
        self.at(workload).next().is_some()
    }

    fn add(&mut self, quarantine: &Quarantine, cut: &Cut, count: usize) -> Result<(), &'static str> {
        if count > CUTS_MAX {
            return Err("there are too many cuts");
        }
        if cut.workload.workload.is_empty() || cut.workload.namespace.is_empty() {
            return Err("the workload that enforces it is not known");
        }
        let principal = rbac::principal(cut)?;
        let at = Workload {
            cluster: cut.workload.cluster.clone(),
            namespace: cut.workload.namespace.clone(),
            workload: cut.workload.workload.clone(),
        };
        let pieces = self.pieces.entry((at.namespace.clone(), at.workload.clone())).or_default();
        pieces.push(Piece {
            at,
            place: cut.place,
            quarantine: quarantine.id.clone(),
            enforced: quarantine.state == QuarantineState::Enforced,
            principal,
        });
        Ok(())
    }

    fn at<'a>(&'a self, workload: &'a Workload) -> impl Iterator<Item = &'a Piece> {
        let key = (workload.namespace.clone(), workload.workload.clone());
        self.pieces.get(&key).into_iter().flatten().filter(|piece| piece.at.is(workload))
    }

    /// The resource of one side of a workload's proxies.
    fn resource(&self, workload: &Workload, place: Place, name: &str) -> Resource {
        let (mut enforced, mut shadow) = (Policies::new(), Policies::new());
        for piece in self.at(workload).filter(|piece| piece.place == place) {
            let policies = if piece.enforced { &mut enforced } else { &mut shadow };
            let principals = policies.entry(piece.quarantine.clone()).or_default();
            if !principals.contains(&piece.principal) {
                principals.push(piece.principal.clone());
            }
        }
        Resource {
            version: version(name, &enforced, &shadow),
            quarantines: enforced.keys().chain(shadow.keys()).cloned().collect(),
            config: wrapped(name, &rbac::filter(&enforced, &shadow)),
        }
    }

    /// What a workload's proxy gets of the names it asks for.
    pub(crate) fn view(&self, workload: &Workload, names: &ResourceNames) -> View {
        let resource = |name: &String, place| (name.clone(), self.resource(workload, place, name));
        View {
            resources: BTreeMap::from([
                resource(&names.inbound, Place::Inbound),
                resource(&names.outbound, Place::Outbound),
            ]),
        }
    }
}

/// Everything one proxy may ask for.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) resources: BTreeMap<String, Resource>,
}

/// One resource, ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) version: String,
    pub(crate) quarantines: BTreeSet<String>,
    pub(crate) config: Any,
}

/// A hash of what the resource says. Not of its bytes: protobuf maps have no order.
fn version(name: &str, enforced: &Policies, shadow: &Policies) -> String {
    let mut content = Content::new(&[FORM]);
    content.add(name.as_bytes());
    for (mark, policies) in [(b"enforced", enforced), (b"shadow\0\0", shadow)] {
        for (quarantine, principals) in policies {
            content.add(mark);
            content.add(quarantine.as_bytes());
            content.add(&rbac::policy(principals).encode_to_vec());
        }
    }
    content.hex()
}

/// A hash over parts.
pub(crate) struct Content(Sha256);

impl Content {
    pub(crate) fn new(first: &[u8]) -> Self {
        let mut content = Self(Sha256::new());
        content.add(first);
        content
    }

    /// The length goes in too, so that no two lists of parts read alike.
    pub(crate) fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// 128 bits as lower-case hex.
    pub(crate) fn hex(self) -> String {
        let digest = self.0.finalize();
        digest[..16].iter().fold(String::with_capacity(32), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes everything");
            text
        })
    }
}

fn wrapped(name: &str, filter: &RbacFilter) -> Any {
    packed(&TypedExtensionConfig { name: name.to_owned(), typed_config: Some(packed(filter)) })
}

fn packed<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

#[cfg(test)]
mod tests;
