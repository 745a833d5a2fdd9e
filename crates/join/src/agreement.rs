//! Do two sides speak of the same two parties? Ids can be chosen by a client, so they never decide alone.

use std::time::Duration;

use selvedge_model::{IdentitySource, Observation, Party, Security, Symbol};

/// How far two clocks, and the network between them, may put the callee's view outside of the caller's.
pub(crate) const PAIR_SKEW_MAX: Duration = Duration::from_secs(5);
/// How far a retry's view at the callee may lie outside of the caller's view: it happened while the caller waited.
pub(crate) const RETRY_SKEW_MAX: Duration = Duration::from_millis(500);

/// What one side calls a party, against what that party says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Agreement {
    /// Verified identities differ: two parties.
    Contradicts,
    /// The names differ. A service and the workload behind it may, so this alone refutes no exact link.
    NamesDiffer,
    /// One of them does not say.
    Unknown,
    /// The same.
    Agrees,
}

/// Compares `named` (what the other side says of a party) with `own` (what the party says of itself).
pub(crate) fn identity(named: &Party, own: &Party) -> Agreement {
    if named.principal.present() && own.principal.present() {
        return if named.principal == own.principal { Agreement::Agrees } else { Agreement::Contradicts };
    }
    // Forwarded addresses and headers lie; what they say neither proves nor refutes.
    let vouched = named.source >= IdentitySource::ProxyMetadata;
    if differ(named.namespace, own.namespace) {
        return if vouched { Agreement::Contradicts } else { Agreement::NamesDiffer };
    }
    if differ(named.workload, own.workload) {
        return Agreement::NamesDiffer;
    }
    if vouched && own.workload.present() && named.workload == own.workload {
        return Agreement::Agrees;
    }
    Agreement::Unknown
}

/// Both ends of a call as both sides name them: the caller's agreement and the callee's. A connection that is
/// mutual TLS at one end and plaintext at the other is two connections.
pub(crate) fn ends(client: &Observation, server: &Observation) -> (Agreement, Agreement) {
    if client.security == Security::MutualTls && server.security == Security::Plaintext {
        return (Agreement::Contradicts, Agreement::Contradicts);
    }
    (identity(&server.peer, &client.reporter), identity(&client.peer, &server.reporter))
}

/// True when a link by span id may stand: `Some(agrees)` where `agrees` means that the caller is confirmed.
pub(crate) fn exact(client: &Observation, server: &Observation) -> Option<bool> {
    let (source, destination) = ends(client, server);
    (source > Agreement::Contradicts && destination > Agreement::Contradicts)
        .then_some(source == Agreement::Agrees)
}

/// True when a callee's and a caller's view may be paired without a link by span id. `strict` also wants a
/// confirmed caller, and the same route and status; that is enough to count the call before the watermark.
pub(crate) fn pairable(client: &Observation, server: &Observation, strict: bool) -> bool {
    if server.parent_span_id.present() && client.span_id.present() {
        return false; // The link would have been exact.
    }
    let same_request = client.request_id.present() && client.request_id == server.request_id;
    if !same_request && client.request_id.present() && server.request_id.present() {
        return false;
    }
    let (source, destination) = ends(client, server);
    let named = source == Agreement::Agrees && destination == Agreement::Agrees;
    if source < Agreement::Unknown || destination < Agreement::Unknown || !(same_request || named) {
        return false;
    }
    let same_route = agree(client.route, server.route);
    let confirmed = source == Agreement::Agrees && client.status == server.status;
    let like = if strict { same_route && confirmed } else { same_route || named };
    like && agree(client.method, server.method) && nested(server, client, PAIR_SKEW_MAX)
}

/// True when two records of one side can be one hop without a span id in common.
pub(crate) fn same_hop(left: &Observation, right: &Observation) -> bool {
    left.request_id.present()
        && left.request_id == right.request_id
        && left.reporter.workload == right.reporter.workload
        && agree(left.method, right.method)
        && agree(left.route, right.route)
        && overlap(left, right, Duration::ZERO)
}

/// True when two records of one side report from the same workload.
pub(crate) fn same_reporter(left: &Observation, right: &Observation) -> bool {
    left.reporter.workload.present()
        && left.reporter.workload == right.reporter.workload
        && agree(left.reporter.namespace, right.reporter.namespace)
}

/// True when `inner` happened while `outer` did, give or take `slack`.
pub(crate) fn nested(inner: &Observation, outer: &Observation, slack: Duration) -> bool {
    outer.start <= inner.start.after(slack) && inner.end <= outer.end.after(slack)
}

/// True when the two share a moment, give or take `slack`.
pub(crate) fn overlap(left: &Observation, right: &Observation, slack: Duration) -> bool {
    left.start <= right.end.after(slack) && right.start <= left.end.after(slack)
}

/// True unless both are given and not the same.
pub(crate) fn agree(left: Symbol, right: Symbol) -> bool {
    !differ(left, right)
}

fn differ(left: Symbol, right: Symbol) -> bool {
    left.present() && right.present() && left != right
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(workload: u32, principal: u32, source: IdentitySource) -> Party {
        Party {
            namespace: Symbol(5),
            workload: Symbol(workload),
            principal: Symbol(principal),
            source,
            ..Party::default()
        }
    }

    #[test]
    fn verified_identities_decide_before_names() {
        use IdentitySource::{Address, MtlsCertificate, ProxyMetadata};
        let cases = [
            (party(1, 9, MtlsCertificate), party(2, 9, ProxyMetadata), Agreement::Agrees),
            (party(1, 9, MtlsCertificate), party(1, 8, ProxyMetadata), Agreement::Contradicts),
            (party(1, 0, ProxyMetadata), party(1, 8, ProxyMetadata), Agreement::Agrees),
            (party(1, 0, ProxyMetadata), party(2, 8, ProxyMetadata), Agreement::NamesDiffer),
            (party(1, 0, Address), party(1, 8, ProxyMetadata), Agreement::Unknown),
            (Party::default(), party(1, 8, ProxyMetadata), Agreement::Unknown),
        ];
        for (named, own, expected) in cases {
            assert_eq!(identity(&named, &own), expected, "{named:?} against {own:?}");
        }
    }

    #[test]
    fn another_namespace_is_another_party() {
        let here = party(1, 0, IdentitySource::ProxyMetadata);
        let there = Party { namespace: Symbol(6), ..here };
        assert_eq!(identity(&there, &here), Agreement::Contradicts);
    }
}
