//! Which version of itself a reporter says it runs: what tells a deployment from a fault.
//!
//! Only what a sender says of itself counts, and nobody vouches for it: whoever can send in a workload's name can say that
//! it was deployed. `learn` bounds what that is worth.

use selvedge_model::{Party, Side, Symbol, SymbolTable};

use super::identity::{template_hash_of_pod, template_hash_of_replica_set};
use super::reading::{Reading, cut};
use crate::field::Field;

/// The hash of the pod's template, which changes with every change of what runs in the pod.
const TEMPLATE: &str = "pod-template-hash=";
/// What the application says of itself.
const SERVICE: &str = "service.version=";
/// What Istio calls a canonical revision: a label of the pod.
const REVISION: &str = "revision=";
/// Longest text that says what a version is by.
const KIND_MAX: usize = TEMPLATE.len();
/// Longest version: Kubernetes' labels have 63 bytes at most. A longer one is cut.
const VERSION_MAX: usize = 64;

/// What a resource says of its version.
pub(crate) fn of_resource(reading: &mut Reading<'_>, symbols: &mut SymbolTable) -> Symbol {
    said(reading, true, symbols)
}

/// What a record says of the version of its `reporter`, whose resource is `resource`'s.
pub(crate) fn of_record(
    resource: &Party,
    reporter: &Party,
    reading: &mut Reading<'_>,
    side: Side,
    symbols: &mut SymbolTable,
) -> Symbol {
    let (revision, own): (Field, &[Field]) = match side {
        Side::Client => {
            (Field::SourceRevision, &[Field::SourceWorkload, Field::SourceService, Field::ZtunnelSource])
        }
        Side::Server => {
            (Field::DestinationRevision, &[Field::DestinationWorkload, Field::ZtunnelDestination])
        }
        Side::Internal => return Symbol::NONE,
    };
    if let Some(revision) = reading.name(revision) {
        return named(REVISION, &revision, symbols);
    }
    // A waypoint or scraper speaks for another: what it says of itself is not the other's.
    if reporter.workload != resource.workload && reading.has_any(own) {
        return Symbol::NONE;
    }
    // Pods differ where versions do not, so their names are read only where they were looked at anyway: else every pod's
    // records would be a pattern of their own.
    let pods = reading.looked_at() & Field::NodeId.bit() != 0;
    said(reading, pods, symbols)
}

/// The finest that is said: a template's hash changes with every deployment, a revision is often `latest` for ever.
fn said(reading: &mut Reading<'_>, pods: bool, symbols: &mut SymbolTable) -> Symbol {
    if pods && let Some(version) = template(reading, symbols) {
        return version;
    }
    for (field, kind) in [(Field::ServiceVersion, SERVICE), (Field::Revision, REVISION)] {
        if let Some(version) = reading.name(field) {
            return named(kind, &version, symbols);
        }
    }
    Symbol::NONE
}

fn template(reading: &mut Reading<'_>, symbols: &mut SymbolTable) -> Option<Symbol> {
    if let Some(hash) = reading.name(Field::PodTemplateHash) {
        return Some(named(TEMPLATE, &hash, symbols));
    }
    let replica_set = reading.name(Field::K8sReplicaSet);
    if let Some(hash) = replica_set.as_deref().and_then(template_hash_of_replica_set) {
        return Some(named(TEMPLATE, hash, symbols));
    }
    let pod = reading.name(Field::K8sPod);
    if let Some(hash) = pod.as_deref().and_then(template_hash_of_pod) {
        return Some(named(TEMPLATE, hash, symbols));
    }
    // `sidecar~10.0.0.7~web-7d4b9c6f5d-x2x4z.front~front.svc.cluster.local`.
    let node = reading.text(Field::NodeId)?;
    let (pod, _) = node.split('~').nth(2)?.rsplit_once('.')?;
    template_hash_of_pod(pod).map(|hash| named(TEMPLATE, hash, symbols))
}

/// `kind` and `version` as one symbol, without a detour over the heap.
fn named(kind: &'static str, version: &str, symbols: &mut SymbolTable) -> Symbol {
    let version = cut(version, VERSION_MAX);
    let mut text = [0; KIND_MAX + VERSION_MAX];
    let length = kind.len() + version.len();
    text[..kind.len()].copy_from_slice(kind.as_bytes());
    text[kind.len()..length].copy_from_slice(version.as_bytes());
    std::str::from_utf8(&text[..length]).map_or(Symbol::NONE, |text| symbols.intern(text))
}
