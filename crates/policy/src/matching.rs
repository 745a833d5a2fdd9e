//! Does a cut match a call? Exactly as the enforcing proxy would decide it, as far as the record says.

use selvedge_model::{Caller, Cut, Endpoint, Operation, Place};

use crate::traffic::{TrafficRow, Truth};

/// In an [`Operation`] at the end of a route: the rest of the path, one segment or more.
const REST: &str = "{*}";

/// Whether the proxy that has `cut` refuses the calls of `row`. The smaller truth of two conditions is that of both.
#[must_use]
pub fn matches(cut: &Cut, row: &TrafficRow) -> Truth {
    let who = match cut.place {
        Place::Inbound => inbound(cut, row),
        Place::Outbound => outbound(cut, row),
    };
    if who == Truth::No { Truth::No } else { who.min(operations(&cut.operations, row)) }
}

/// Whether any of `cuts` matches. The larger truth of two alternatives is that of either.
#[must_use]
pub fn any_matches(cuts: &[Cut], row: &TrafficRow) -> Truth {
    cuts.iter().map(|cut| matches(cut, row)).max().unwrap_or(Truth::No)
}

/// True when `row` is of the traffic that passes the proxy where `cut` is enforced.
#[must_use]
pub fn concerns(cut: &Cut, row: &TrafficRow) -> bool {
    match cut.place {
        Place::Inbound => !row.external && same_workload(&cut.workload, &row.destination),
        Place::Outbound => same_workload(&cut.workload, &row.source),
    }
}

/// The same workload, whatever identity it presents.
#[must_use]
pub fn same_workload(left: &Endpoint, right: &Endpoint) -> bool {
    (&left.cluster, &left.namespace, &left.workload) == (&right.cluster, &right.namespace, &right.workload)
}

/// True when two cuts refuse the same caller at the same place, whatever requests.
pub(crate) fn same_target(left: &Cut, right: &Cut) -> bool {
    left.place == right.place && left.caller == right.caller && same_workload(&left.workload, &right.workload)
}

/// True when some request is refused by both cuts. An empty list is everything.
pub(crate) fn overlap(left: &Cut, right: &Cut) -> bool {
    let hosts = left.hosts.is_empty()
        || right.hosts.is_empty()
        || left.hosts.iter().any(|host| right.hosts.iter().any(|other| host.eq_ignore_ascii_case(other)));
    let operations = left.operations.is_empty()
        || right.operations.is_empty()
        || left.operations.iter().any(|one| right.operations.iter().any(|other| both(one, other)));
    same_target(left, right) && hosts && operations
}

/// True when some request is of both operations.
fn both(left: &Operation, right: &Operation) -> bool {
    let method = left.method.is_empty() || right.method.is_empty() || left.method == right.method;
    let within = |wanted: &str, seen: &str| seen.is_empty() || route(wanted, seen) != Truth::No;
    method && (within(&left.route, &right.route) || within(&right.route, &left.route))
}

fn inbound(cut: &Cut, row: &TrafficRow) -> Truth {
    if !concerns(cut, row) {
        return Truth::No;
    }
    match (&cut.caller, row.authenticated) {
        (Caller::Principal(_), Some(false)) | (Caller::Local, _) | (Caller::Unauthenticated, Some(true)) => {
            Truth::No
        }
        (Caller::Principal(_), _) if row.source.principal.is_empty() => Truth::Unknown,
        (Caller::Principal(principal), _) => truth(*principal == row.source.principal),
        (Caller::Unauthenticated, Some(false)) => Truth::Yes,
        (Caller::Unauthenticated, None) => Truth::Unknown,
    }
}

fn outbound(cut: &Cut, row: &TrafficRow) -> Truth {
    if !concerns(cut, row) || cut.caller != Caller::Local {
        return Truth::No;
    }
    if cut.hosts.is_empty() {
        return Truth::Yes;
    }
    let destination = &row.destination.workload;
    if row.external {
        return truth(cut.hosts.iter().any(|host| host.eq_ignore_ascii_case(destination)));
    }
    // Inside the mesh the record has the workload and not the host that was asked for.
    let named =
        |host: &String| host.split('.').next().is_some_and(|label| label.eq_ignore_ascii_case(destination));
    if cut.hosts.iter().any(named) { Truth::Unknown } else { Truth::No }
}

fn operations(operations: &[Operation], row: &TrafficRow) -> Truth {
    if operations.is_empty() {
        return Truth::Yes;
    }
    let one = |operation: &Operation| method(&operation.method, row).min(route(&operation.route, &row.route));
    operations.iter().map(one).max().unwrap_or(Truth::No)
}

fn method(wanted: &str, row: &TrafficRow) -> Truth {
    match row.method.as_str() {
        _ if wanted.is_empty() => Truth::Yes,
        "" | "_OTHER" => Truth::Unknown,
        method => truth(method == wanted),
    }
}

/// Whether a path under the template `seen` is one of `wanted`. A variable segment of `seen` may stand for anything.
pub(crate) fn route(wanted: &str, seen: &str) -> Truth {
    if wanted.is_empty() {
        return Truth::Yes;
    }
    if seen.is_empty() {
        return Truth::Unknown;
    }
    let (mut wanted, mut seen) = (wanted.split('/').peekable(), seen.split('/').peekable());
    let mut all = Truth::Yes;
    while let Some(want) = wanted.next() {
        let Some(segment) = seen.next() else { return Truth::No };
        if want == REST && wanted.peek().is_none() {
            return all;
        }
        // `/*` ends a path that was too deep to keep.
        if segment == "*" && seen.peek().is_none() {
            return all.min(Truth::Unknown);
        }
        all = all.min(one_segment(want, segment));
        if all == Truth::No {
            return Truth::No;
        }
    }
    if seen.next().is_some() { Truth::No } else { all }
}

fn one_segment(wanted: &str, seen: &str) -> Truth {
    match (variable(wanted), variable(seen)) {
        (true, _) => Truth::Yes,
        (false, true) => Truth::Unknown,
        (false, false) => truth(wanted == seen),
    }
}

fn variable(segment: &str) -> bool {
    segment.starts_with('{') && segment.ends_with('}')
}

fn truth(holds: bool) -> Truth {
    if holds { Truth::Yes } else { Truth::No }
}

/// Segments that `learn` looks at; what follows is one segment to it.
const LEARNED_DEPTH: usize = 10;
/// Templates this long were cut off by `decode`.
const CUT_OFF: usize = 250;

/// The route of an [`Operation`] that stands for a route as telemetry has it: there `{*}` is one variable segment that
/// was learned, and `*` or a long text ends a path that went on.
pub(crate) fn route_to_cut(seen: &str) -> String {
    let Some(path) = seen.strip_prefix('/') else { return seen.to_owned() };
    let last = path.split('/').count() - 1;
    let mut template = String::with_capacity(seen.len());
    for (at, segment) in path.split('/').enumerate() {
        let goes_on = at == last
            && (seen.len() >= CUT_OFF || segment == "*" || (at + 1 >= LEARNED_DEPTH && segment == REST));
        template.push('/');
        template.push_str(match segment {
            _ if goes_on => REST,
            REST => "{id}",
            other => other,
        });
    }
    template
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_overlap_when_one_request_is_of_both() {
        let operation = |text: &str| {
            let (method, route) = text.split_once(' ').expect("method and route");
            Operation { method: method.to_owned(), route: route.to_owned() }
        };
        for (left, right, expected) in [
            ("GET /a", "GET /a", true),
            ("GET /a", "PUT /a", false),
            (" /a", "PUT /a", true),
            ("GET ", "GET /a", true),
            ("GET /a", "GET /b", false),
            ("GET /a/{id}", "GET /a/7", true),
            ("GET /a/{*}", "GET /a/b/c", true),
            ("GET /a/{id}/x", "GET /a/{id}/y", false),
        ] {
            assert_eq!(both(&operation(left), &operation(right)), expected, "{left} and {right}");
            assert_eq!(both(&operation(right), &operation(left)), expected, "{right} and {left}");
        }
    }

    #[test]
    fn a_learned_route_is_cut_for_what_it_stands_for() {
        for (seen, wanted) in [
            ("/entries", "/entries"),
            ("/people/{*}/baskets", "/people/{id}/baskets"),
            ("/people/{*}", "/people/{id}"),
            ("/a/b/c/d/e/f/g/h/i/{*}", "/a/b/c/d/e/f/g/h/i/{*}"),
            ("/deep/*", "/deep/{*}"),
            ("ledger.v1.Ledger/Add", "ledger.v1.Ledger/Add"),
        ] {
            assert_eq!(route_to_cut(seen), wanted);
            assert!(route(wanted, seen) >= Truth::Unknown, "{seen} is of its own cut");
        }
        let long = format!("/{}", "x".repeat(CUT_OFF));
        assert_eq!(route_to_cut(&format!("/a{long}")), "/a/{*}");
    }
}
