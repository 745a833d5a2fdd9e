//! A call out of its two sides' views.

use selvedge_model::time::nanos;
use selvedge_model::{
    Call, CallShape, Certificate, EdgeKey, ForwardedIdentity, IdentitySource, Node, Observation,
    ObservationKind, Party, Reported, Security, Side, Symbol,
};

/// Builds the call that `client` and `server` (at least one of them) speak of.
///
/// Names: each end by its own reporter, else by the other side. Principals: by the other side, which verified it,
/// else by its own word. Transport: the callee's word, else the caller's. Times: the callee's, because network and
/// queueing at the caller are not its latency. The rest: the callee's access log, else the caller's, else spans.
pub(crate) fn build(
    client: Option<&Observation>,
    server: Option<&Observation>,
    reported: Reported,
) -> Option<Call> {
    let primary = logged(server).or(logged(client)).or(server).or(client)?;
    let other =
        [client, server].into_iter().flatten().find(|view| view.side != primary.side).unwrap_or(primary);
    let timed = server.unwrap_or(primary);
    let span_id = client.map(|view| view.span_id).filter(|id| id.present()).unwrap_or(timed.span_id);
    Some(Call {
        edge: edge(client, server),
        shape: shape(client, server, primary, other, reported),
        trace_id: if primary.trace_id.present() { primary.trace_id } else { other.trace_id },
        span_id,
        start: client.unwrap_or(timed).start,
        end: timed.end,
        duration_nanos: nanos(timed.duration()),
        request_bytes: or(primary.request_bytes, other.request_bytes, 0),
        response_bytes: or(primary.response_bytes, other.response_bytes, 0),
    })
}

/// Builds the call of a record that stands alone: one without ids, or a refused connection.
pub(crate) fn build_alone(record: &Observation) -> Option<Call> {
    if record.side == Side::Client {
        build(Some(record), None, Reported::ClientOnly)
    } else {
        build(None, Some(record), Reported::ServerOnly)
    }
}

fn logged(view: Option<&Observation>) -> Option<&Observation> {
    view.filter(|view| view.kind != ObservationKind::Span)
}

fn edge(client: Option<&Observation>, server: Option<&Observation>) -> EdgeKey {
    let destination = destination(client, server);
    EdgeKey {
        source: source(client, server).map_or_else(Node::default, Node::of),
        destination: destination.map_or_else(Node::default, Node::of),
        external: destination.is_some_and(|party| party.external),
    }
}

/// Who called. Nobody, when the callee refused the handshake: what was shown there proves nothing.
fn source<'a>(client: Option<&'a Observation>, server: Option<&'a Observation>) -> Option<&'a Party> {
    let own = client.map(|view| &view.reporter).filter(|party| party.workload.present());
    own.or_else(|| server.filter(|view| !view.handshake_failure.present()).map(|view| &view.peer))
}

fn destination<'a>(client: Option<&'a Observation>, server: Option<&'a Observation>) -> Option<&'a Party> {
    let own = server.map(|view| &view.reporter).filter(|party| party.workload.present());
    own.or_else(|| client.map(|view| &view.peer))
}

fn shape(
    client: Option<&Observation>,
    server: Option<&Observation>,
    primary: &Observation,
    other: &Observation,
    reported: Reported,
) -> CallShape {
    let callee = server.unwrap_or(primary);
    let caller = client.unwrap_or(primary);
    let refused = name(callee.handshake_failure, caller.handshake_failure);
    CallShape {
        method: name(primary.method, other.method),
        route: name(primary.route, other.route),
        status: or(primary.status, other.status, 0),
        grpc_status: or(primary.grpc_status, other.grpc_status, -1),
        error: primary.error,
        source_principal: if refused.present() { Symbol::NONE } else { source_principal(client, server) },
        destination_principal: destination_principal(client, server),
        source_identity: source_identity(client, server),
        security: or(callee.security, caller.security, Security::Unknown),
        tls_version: name(callee.tls_version, caller.tls_version),
        tls_cipher: name(callee.tls_cipher, caller.tls_cipher),
        sni: name(callee.sni, caller.sni),
        certificate: or(callee.certificate, caller.certificate, Certificate::default()),
        handshake_failure: refused,
        claimed_principal: name(callee.claimed_principal, caller.claimed_principal),
        forwarded: or(callee.forwarded, caller.forwarded, ForwardedIdentity::None),
        user_agent: name(primary.user_agent, other.user_agent),
        protocol: name(primary.protocol, other.protocol),
        denied_by: name(callee.denied_by, caller.denied_by),
        shadow_denied_by: name(callee.shadow_denied_by, caller.shadow_denied_by),
        reported,
        repaired: primary.repaired > 0 || other.repaired > 0,
        sampling: primary.sampling.min(other.sampling),
    }
}

fn source_principal(client: Option<&Observation>, server: Option<&Observation>) -> Symbol {
    let verified = server.map_or(Symbol::NONE, |view| view.peer.principal);
    name(verified, client.map_or(Symbol::NONE, |view| view.reporter.principal))
}

fn destination_principal(client: Option<&Observation>, server: Option<&Observation>) -> Symbol {
    let verified = client.map_or(Symbol::NONE, |view| view.peer.principal);
    name(verified, server.map_or(Symbol::NONE, |view| view.reporter.principal))
}

/// The best proof of who called: when both sides reported, the certificate that the callee verified counts as well.
fn source_identity(client: Option<&Observation>, server: Option<&Observation>) -> IdentitySource {
    let own = client.map(|view| &view.reporter).filter(|party| party.workload.present());
    let seen = server.filter(|view| !view.handshake_failure.present()).map(|view| &view.peer);
    let seen = seen.map_or(IdentitySource::None, |party| party.source);
    match own {
        Some(party) if seen == IdentitySource::MtlsCertificate => party.source.max(seen),
        Some(party) => party.source,
        None => seen,
    }
}

fn name(first: Symbol, second: Symbol) -> Symbol {
    or(first, second, Symbol::NONE)
}

fn or<T: PartialEq>(first: T, second: T, absent: T) -> T {
    if first == absent { second } else { first }
}
