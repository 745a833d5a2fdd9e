//! Who reports, and whom the reporter names as the other end.
//!
//! Order of trust: a verified certificate, what the control plane told the proxy, and only for destinations outside
//! the mesh the client's own word. A caller is never named by an address or a header, because it chose those.

use std::borrow::Cow;

use selvedge_model::{IdentitySource, Party, Side, Symbol, SymbolTable};

use super::host::{Place, outside_host, place_of_cluster, place_of_host};
use super::identity::{Name, name_of_node, name_of_principal, workload_of_pod};
use super::peer_metadata;
use super::reading::{NAME_MAX, Reading, cut};
use crate::field::Field;

/// SPIFFE ids may have 2048 bytes; those in use stay far below this.
pub(crate) const PRINCIPAL_MAX: usize = 512;
/// Service names that SDKs and proxies use when nobody configured one.
const GENERIC_SERVICES: [&str; 4] = ["linkerd-proxy", "istio-proxy", "envoy", "ztunnel"];
/// Names of Kubernetes workloads, in the order of the semantic conventions.
const KUBERNETES: [Field; 5] =
    [Field::K8sDeployment, Field::K8sStatefulSet, Field::K8sDaemonSet, Field::K8sCronJob, Field::K8sJob];

/// Where a record may name its own reporter.
const SELF_FIELDS: [Field; 8] = [
    Field::NodeId,
    Field::IstioService,
    Field::IstioNamespace,
    Field::ReporterNamespace,
    Field::K8sNamespace,
    Field::K8sPod,
    Field::K8sDeployment,
    Field::ServiceName,
];
/// Fields of a verified caller's identity, on the callee's side.
const CALLER_PRINCIPALS: [Field; 3] = [Field::SourcePrincipal, Field::SourceIdentity, Field::ClientId];

/// Who the sender says it is, in the order of `ecosystem.md` 2.6 ("self"). The Kubernetes namespace goes before
/// `service.namespace`: it is the one that identities and other proxies name.
pub(crate) fn reporter(reading: &mut Reading<'_>, symbols: &mut SymbolTable) -> Party {
    let node = reading.text(Field::NodeId);
    let node = node.as_deref().and_then(name_of_node);
    let namespace = reading
        .first_name(&[
            Field::ReporterNamespace,
            Field::K8sNamespace,
            Field::IstioNamespace,
            Field::ServiceNamespace,
        ])
        .or_else(|| node.map(|name| name.namespace.to_owned().into()));
    let namespace = namespace.as_deref().unwrap_or("");
    let service = reading.name(Field::ServiceName);
    let configured = service.as_deref().filter(|name| !is_generic(name));
    let configured = configured.map(|name| strip_namespace(name, namespace).unwrap_or(name));
    let workload = reading.name(Field::ReporterWorkload);
    let workload = match workload.as_deref().or(configured) {
        Some(name) => symbols.intern(cut(name, NAME_MAX)),
        None => self_without_service(reading, node, symbols),
    };
    let source = if workload.present() { IdentitySource::ProxyMetadata } else { IdentitySource::None };
    // The software's own name is better than nothing, and gives way to whatever a record says.
    let (workload, source) = match service.as_deref() {
        Some(generic) if !workload.present() => {
            (symbols.intern(cut(generic, NAME_MAX)), IdentitySource::Header)
        }
        _ => (workload, source),
    };
    Party {
        cluster: reading.symbol(Field::ClusterName, NAME_MAX, symbols),
        namespace: symbols.intern(cut(namespace, NAME_MAX)),
        workload,
        principal: Symbol::NONE,
        source,
        external: false,
    }
}

fn self_without_service(
    reading: &mut Reading<'_>,
    node: Option<Name<'_>>,
    symbols: &mut SymbolTable,
) -> Symbol {
    if let Some(name) = reading.first_name(&KUBERNETES).or_else(|| reading.name(Field::IstioService)) {
        return symbols.intern(cut(&name, NAME_MAX));
    }
    let pod = reading.name(Field::K8sPod);
    let pod = pod.as_deref().map(workload_of_pod).or(node.map(|name| name.workload));
    symbols.intern(cut(pod.unwrap_or(""), NAME_MAX))
}

fn is_generic(service: &str) -> bool {
    service.starts_with("unknown_service") || GENERIC_SERVICES.contains(&service)
}

/// The reporter of one record: the resource, refined by what the record itself says of its own end.
pub(crate) fn reporter_of_record(
    resource: &Party,
    reading: &mut Reading<'_>,
    side: Side,
    failed: bool,
    symbols: &mut SymbolTable,
) -> Party {
    let mut party = *resource;
    refine(&mut party, reading, symbols);
    // One ztunnel, waypoint or scraper speaks for many workloads: labels of its own end name the one it means.
    let own = match side {
        Side::Server => destination_labels(reading, symbols),
        Side::Client => source_labels(reading, symbols),
        Side::Internal => return party,
    };
    if own.workload.present() {
        let cluster = if own.cluster.present() { own.cluster } else { party.cluster };
        party = Party { cluster, source: IdentitySource::ProxyMetadata, ..own };
    }
    let principal: &[Field] = match side {
        Side::Server => &[Field::DestinationPrincipal, Field::DestinationIdentity],
        _ => &[Field::UpstreamLocalPrincipal, Field::SourceIdentity],
    };
    // In a failed handshake our own certificate was shown all the same; only the peer's word is void.
    party.principal = principal_symbol(reading, principal, symbols);
    if side == Side::Client && !party.principal.present() && !failed {
        party.principal = own_principal_of_client(reading, symbols);
    }
    party
}

/// Fills what the resource left open, and lets a record that names its reporter itself have its way.
fn refine(party: &mut Party, reading: &mut Reading<'_>, symbols: &mut SymbolTable) {
    let explicit = reading.has(Field::ReporterWorkload);
    let named = party.source >= IdentitySource::ProxyMetadata;
    let complete = named && party.namespace.present();
    if !explicit && (complete || !reading.has_any(&SELF_FIELDS)) {
        return;
    }
    let own = reporter(reading, symbols);
    if own.workload.present() && (explicit || !named) {
        party.workload = own.workload;
        party.source = own.source;
    } else if own.namespace.present() && !party.namespace.present() {
        party.workload = without_namespace(party.workload, own.namespace, symbols);
    }
    fill(&mut party.namespace, own.namespace);
    fill(&mut party.cluster, own.cluster);
}

/// `web` of `web.front` in namespace `front`: Istio's default service name is both.
fn without_namespace(workload: Symbol, namespace: Symbol, symbols: &mut SymbolTable) -> Symbol {
    let bare = strip_namespace(symbols.resolve(workload), symbols.resolve(namespace)).map(str::to_owned);
    bare.map_or(workload, |bare| symbols.intern(&bare))
}

fn strip_namespace<'a>(service: &'a str, namespace: &str) -> Option<&'a str> {
    let name = service.strip_suffix(namespace)?.strip_suffix('.')?;
    (!namespace.is_empty() && !name.is_empty()).then_some(name)
}

/// On a CLIENT span the custom tag `source.principal` is the reporter's own identity. On a client-side log record
/// the same words mean the downstream connection, whose local end is the reporter.
fn own_principal_of_client(reading: &mut Reading<'_>, symbols: &mut SymbolTable) -> Symbol {
    let field = if reading.sent(Field::UpstreamPeerPrincipal) || reading.sent(Field::UpstreamLocalPrincipal) {
        Field::DestinationPrincipal
    } else {
        Field::SourcePrincipal
    };
    principal_symbol(reading, &[field], symbols)
}

fn fill(slot: &mut Symbol, value: Symbol) {
    if !slot.present() {
        *slot = value;
    }
}

fn principal_symbol(reading: &mut Reading<'_>, fields: &[Field], symbols: &mut SymbolTable) -> Symbol {
    reading.first_name(fields).map_or(Symbol::NONE, |text| symbols.intern(cut(&text, PRINCIPAL_MAX)))
}

/// The caller by the identity that it showed: verified, unless the handshake failed.
pub(crate) fn caller_by_principal(reading: &mut Reading<'_>, symbols: &mut SymbolTable) -> Party {
    party_of_principal(reading.first_name(&CALLER_PRINCIPALS).as_deref(), symbols)
}

/// The text of the identity that the caller showed.
pub(crate) fn caller_principal<'r>(reading: &mut Reading<'r>) -> Option<Cow<'r, str>> {
    reading.first_name(&CALLER_PRINCIPALS)
}

/// The callee by the identity that it showed to a client-side reporter.
pub(crate) fn callee_by_principal(reading: &mut Reading<'_>, span: bool, symbols: &mut SymbolTable) -> Party {
    let fields = [Field::UpstreamPeerPrincipal, Field::DestinationIdentity, Field::ServerId];
    let principal = reading.first_name(&fields);
    // A client-side log's `destination_principal` is the local end of the downstream connection: the reporter.
    let principal =
        if span { principal.or_else(|| reading.name(Field::DestinationPrincipal)) } else { principal };
    party_of_principal(principal.as_deref(), symbols)
}

/// A party that a certificate names; nobody when there is none.
pub(crate) fn party_of_principal(principal: Option<&str>, symbols: &mut SymbolTable) -> Party {
    let Some(principal) = principal.map(|principal| cut(principal, PRINCIPAL_MAX)) else {
        return Party::default();
    };
    let name = name_of_principal(principal);
    let party = named(name.namespace, name.workload, IdentitySource::MtlsCertificate, symbols);
    Party { principal: symbols.intern(principal), ..party }
}

/// The caller, on the callee's side, when no certificate names it.
pub(crate) fn caller(reading: &mut Reading<'_>, symbols: &mut SymbolTable) -> Party {
    let labels = source_labels(reading, symbols);
    if labels.workload.present() {
        return labels;
    }
    match reading.text(Field::DownstreamPeer) {
        // The peer sent this itself, and without a certificate nobody checked it.
        Some(text) => metadata_party(&text, IdentitySource::Header, symbols),
        None => Party::default(),
    }
}

/// The callee, on the caller's side, when no certificate names it.
pub(crate) fn callee(reading: &mut Reading<'_>, symbols: &mut SymbolTable) -> Party {
    let labels = destination_labels(reading, symbols);
    if labels.workload.present() {
        return labels;
    }
    if let Some(text) = reading.text(Field::UpstreamPeer) {
        let party = metadata_party(&text, IdentitySource::ProxyMetadata, symbols);
        if party.workload.present() {
            return party;
        }
    }
    if let Some(cluster) = reading.first_name(&[Field::UpstreamCluster, Field::UpstreamClusterName]) {
        match place_of_cluster(&cluster) {
            Place::Unrouted => return unrouted(reading, symbols),
            Place::Nowhere => {}
            place => return party_of_place(place, IdentitySource::ProxyMetadata, symbols),
        }
    }
    if let Some(host) = reading.first_name(&[Field::DestinationService, Field::ZtunnelService]) {
        return party_of_place(place_of_host(&host), IdentitySource::ProxyMetadata, symbols);
    }
    if let Some(service) = reading.name(Field::DestinationServiceName) {
        let namespace = reading.name_symbol(&[Field::DestinationNamespace], symbols);
        return Party { namespace, ..named("", &service, IdentitySource::ProxyMetadata, symbols) };
    }
    callee_by_application(reading, symbols)
}

/// What the caller's own SDK says: nobody vouches for it.
fn callee_by_application(reading: &mut Reading<'_>, symbols: &mut SymbolTable) -> Party {
    if let Some(service) = reading.name(Field::PeerService) {
        let namespace = reading.name_symbol(&[Field::PeerNamespace], symbols);
        return Party { namespace, ..named("", &service, IdentitySource::Header, symbols) };
    }
    let hosts = [Field::ServerAddress, Field::Authority];
    match reading.first_name(&hosts).or_else(|| authority_of_url(reading)) {
        Some(host) => party_of_place(place_of_host(&host), IdentitySource::Header, symbols),
        None => Party::default(),
    }
}

/// A destination that the proxy let pass: outside the mesh, and named by the host that the client asked for.
fn unrouted(reading: &mut Reading<'_>, symbols: &mut SymbolTable) -> Party {
    let (host, source) = match reading.first_name(&[Field::Authority]).or_else(|| authority_of_url(reading)) {
        Some(host) => (host, IdentitySource::Header),
        None => (reading.name(Field::UpstreamHost).unwrap_or_default(), IdentitySource::Address),
    };
    Party { external: true, ..named("", &outside_host(&host), source, symbols) }
}

fn authority_of_url<'r>(reading: &mut Reading<'r>) -> Option<Cow<'r, str>> {
    let url = reading.text(Field::Url)?;
    let (_, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next().filter(|host| !host.is_empty())?;
    Some(host.to_owned().into())
}

/// A place as a party.
pub(crate) fn party_of_place(place: Place<'_>, source: IdentitySource, symbols: &mut SymbolTable) -> Party {
    match place {
        Place::Mesh(name) => named(name.namespace, name.workload, source, symbols),
        Place::Outside(host) => Party { external: true, ..named("", &host, source, symbols) },
        Place::Unrouted => Party { external: true, ..Party::default() },
        Place::Nowhere => Party::default(),
    }
}

/// The caller's end by labels.
pub(crate) fn source_labels(reading: &mut Reading<'_>, symbols: &mut SymbolTable) -> Party {
    let control_plane = [Field::SourceWorkload, Field::SourceService];
    let (workload, source) = labelled(reading, &control_plane, Field::ZtunnelSource, symbols);
    if !workload.present() {
        return Party::default();
    }
    Party {
        cluster: reading.name_symbol(&[Field::SourceCluster], symbols),
        namespace: reading.name_symbol(&[Field::SourceNamespace, Field::ZtunnelSourceNamespace], symbols),
        workload,
        source,
        ..Party::default()
    }
}

/// The callee's end by labels.
pub(crate) fn destination_labels(reading: &mut Reading<'_>, symbols: &mut SymbolTable) -> Party {
    let control_plane = [Field::DestinationWorkload];
    let (workload, source) = labelled(reading, &control_plane, Field::ZtunnelDestination, symbols);
    if !workload.present() {
        return Party::default();
    }
    let namespace = [Field::DestinationNamespace, Field::ZtunnelDestinationNamespace];
    Party {
        cluster: reading.name_symbol(&[Field::DestinationCluster], symbols),
        namespace: reading.name_symbol(&namespace, symbols),
        workload,
        source,
        ..Party::default()
    }
}

/// ztunnel finds a workload by its address when there is no identity.
fn labelled(
    reading: &mut Reading<'_>,
    control_plane: &[Field],
    ztunnel: Field,
    symbols: &mut SymbolTable,
) -> (Symbol, IdentitySource) {
    let workload = reading.name_symbol(control_plane, symbols);
    if workload.present() {
        return (workload, IdentitySource::ProxyMetadata);
    }
    (reading.name_symbol(&[ztunnel], symbols), IdentitySource::Address)
}

fn metadata_party(text: &str, source: IdentitySource, symbols: &mut SymbolTable) -> Party {
    let metadata = peer_metadata::parse(text);
    if metadata.workload.is_empty() {
        return Party::default();
    }
    let cluster = symbols.intern(cut(metadata.cluster, NAME_MAX));
    Party { cluster, ..named(metadata.namespace, metadata.workload, source, symbols) }
}

fn named(namespace: &str, workload: &str, source: IdentitySource, symbols: &mut SymbolTable) -> Party {
    let workload = symbols.intern(cut(workload, NAME_MAX));
    Party {
        namespace: symbols.intern(cut(namespace, NAME_MAX)),
        workload,
        source: if workload.present() { source } else { IdentitySource::None },
        ..Party::default()
    }
}
