//! What was never seen before: edges, routes, hosts outside the mesh, identities, pairs of namespaces.
//!
//! Nothing is new before the mesh is warm. How surprising something new is depends on how often the same caller or
//! callee shows something new anyway (Good and Turing's estimate of the unseen, `detection.md` 3.6).

use selvedge_learn::{RouteKey, Tally, matches_template};
use selvedge_model::{FindingKind, Node, Symbol};

use crate::case::Case;
use crate::draft::Draft;

/// Mark of a segment that `learn` found to be variable.
const LEARNED_PLACEHOLDER: &str = "{*}";

/// All checks of novelty.
pub(crate) fn judge(case: &Case<'_>, drafts: &mut Vec<Draft>) {
    // Names that found no room are one name for many: neither new nor known.
    let pooled = [case.key.source.workload, case.key.destination.workload].contains(&Symbol::OVERFLOW);
    if !case.warm() || !case.key.destination.known() || pooled {
        return;
    }
    if case.key.external {
        new_egress(case, drafts);
        return;
    }
    new_edge(case, drafts);
    boundary(case, drafts);
    new_route(case, drafts);
    new_principal(case, drafts);
}

/// Chance that the next one is new: how many were seen once, out of how many (Good and Turing; half and one added so
/// that a short history is not taken for certainty).
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn unseen_share(seen_once: u64, total: u64) -> f64 {
    (seen_once as f64 + 0.5) / (total as f64 + 1.0)
}

/// Lowers what is no surprise. In an approved baseline everything new is news.
fn ration(draft: Draft, case: &Case<'_>, seen_once: u64, total: u64, unseen_share_max: f64) -> Draft {
    if case.mesh().approved {
        return draft;
    }
    let share = unseen_share(seen_once, total);
    draft
        .fact(
            "unseen_share_percent",
            format!("{:.2}", share * 100.0),
            format!("{:.2}", unseen_share_max * 100.0),
        )
        .inform_if(share > unseen_share_max * 10.0, "something new is usual here")
        .lower_if(
            share > unseen_share_max && share <= unseen_share_max * 10.0,
            1,
            "something new is not rare here",
        )
}

fn new_edge(case: &Case<'_>, drafts: &mut Vec<Draft>) {
    let Some(rule) = case.rules.new_edge() else { return };
    if case.edge.is_some() {
        return;
    }
    let unserved = served_by_callee(case) == Some(false) && !case.shape.refused();
    let (once, windows) = case.source.map_or((0, 0), |source| (source.callees.singletons(), source.windows));
    let mut draft = case
        .draft(FindingKind::NewEdge)
        .summary(format!("{} called {} for the first time", case.caller(), case.callee()))
        .note("route", &case.route())
        .note("source_identity", case.shape.source_identity.name())
        .raise_if(
            unserved || crosses(case),
            if unserved { "on a route that is new at the callee" } else { "across a boundary" },
        )
        .lower_if(!case.key.source.known(), 1, "nobody knows who called")
        .lower_if(called_by_sibling(case), 1, "the same workload of another cluster calls it")
        .inform_if(case.baselines.full(), "no more edges can be learned");
    if case.source.is_some() {
        draft = ration(draft, case, once, windows, rule.unseen_share_max.0);
    }
    drafts.push(draft);
}

/// Whether the callee ever served the route to anybody; `None` when there is no route or nothing is known of the
/// callee: then every route is new and says nothing.
pub(crate) fn served_by_callee(case: &Case<'_>) -> Option<bool> {
    let destination =
        case.destination.filter(|_| case.shape.route.present() && case.shape.route != Symbol::OVERFLOW)?;
    let served = &destination.routes;
    Some(served.knows(RouteKey::of(case.shape)) || known_by_template(case, served.iter().map(|(key, _)| key)))
}

fn crosses(case: &Case<'_>) -> bool {
    let (source, destination) = (case.key.source, case.key.destination);
    let differ = |left: Symbol, right: Symbol| left.present() && right.present() && left != right;
    differ(source.namespace, destination.namespace) || differ(source.cluster, destination.cluster)
}

/// True when a workload of the same name and namespace in another cluster calls the same callee.
fn called_by_sibling(case: &Case<'_>) -> bool {
    let same =
        |left: &Node, right: &Node| (left.namespace, left.workload) == (right.namespace, right.workload);
    let (source, destination) = (case.key.source, case.key.destination);
    source.known()
        && case.mesh().sources_named(source.workload).filter(|other| same(other, &source)).any(|other| {
            let callees = case.mesh().source(other).map(|known| &known.callees);
            callees.is_some_and(|callees| callees.iter().any(|(callee, _)| same(&callee, &destination)))
        })
}

fn boundary(case: &Case<'_>, drafts: &mut Vec<Draft>) {
    let (source, destination) = (case.key.source, case.key.destination);
    let pair = ((source.cluster, source.namespace), (destination.cluster, destination.namespace));
    let named = source.namespace.present() && destination.namespace.present();
    if case.rules.boundary_violation().is_none()
        || !named
        || !crosses(case)
        || case.mesh().namespace_pairs.knows(pair)
    {
        return;
    }
    let place = |node: Node| {
        let cluster = case.text(node.cluster);
        let namespace = case.text(node.namespace);
        if cluster.is_empty() { namespace.to_owned() } else { format!("{cluster}/{namespace}") }
    };
    let draft = case
        .draft(FindingKind::BoundaryViolation)
        .subject(format!("{} -> {}", place(source), place(destination)))
        .summary(format!(
            "{} called {}; no call ever crossed between these namespaces",
            case.caller(),
            case.callee()
        ))
        .note("route", &case.route());
    drafts.push(draft);
}

/// True when the edge is known for what was asked: served before, or refused as it was before.
fn knows_route(case: &Case<'_>) -> bool {
    let key = RouteKey::of(case.shape);
    case.edge.is_some_and(|edge| {
        edge.route(key).is_some_and(|route| route.served() || case.shape.refused())
            || known_by_template(case, edge.routes().map(|(key, _)| *key))
    })
}

/// True when the call is one of those that the callee gets every day: its edge is known for it, or its edge is known and
/// the callee serves it to others.
pub(crate) fn ordinary(case: &Case<'_>) -> bool {
    knows_route(case) || (case.edge.is_some() && served_by_callee(case) == Some(true))
}

fn new_route(case: &Case<'_>, drafts: &mut Vec<Draft>) {
    let Some(rule) = case.rules.new_route() else { return };
    let Some(served) = served_by_callee(case) else { return };
    if knows_route(case) || case.shape.denied_by.present() || (case.edge.is_none() && served) {
        return;
    }
    let method = case.text(case.shape.method);
    let asks_only = matches!(method, "HEAD" | "OPTIONS") && served_by_other_method(case);
    let (once, calls) =
        case.destination.map_or((0, 0), |known| (known.routes.singletons(), known.routes.total()));
    let draft = case
        .draft(FindingKind::NewRoute)
        .subject(case.route())
        .summary(format!(
            "{} asked {} for {}, which it never did before",
            case.caller(),
            case.callee(),
            case.route()
        ))
        .note("status", &case.shape.status.to_string())
        .fact(
            "callee_serves_route",
            if served { "to others" } else { "now" },
            if served { "to others" } else { "never" },
        )
        .lower_if(case.shape.refused(), 1, "the callee refused it")
        .inform_if(served || asks_only, "the callee serves it to others");
    drafts.push(ration(draft, case, once, calls, rule.unseen_share_max.0));
}

fn served_by_other_method(case: &Case<'_>) -> bool {
    case.destination.is_some_and(|known| known.routes.iter().any(|(key, _)| key.route == case.shape.route))
}

/// A template that was learned lately stands for the literal routes that taught it.
fn known_by_template(case: &Case<'_>, mut known: impl Iterator<Item = RouteKey>) -> bool {
    let template = case.text(case.shape.route);
    template.contains(LEARNED_PLACEHOLDER)
        && known
            .any(|key| key.method == case.shape.method && matches_template(template, case.text(key.route)))
}

fn new_egress(case: &Case<'_>, drafts: &mut Vec<Draft>) {
    let Some(rule) = case.rules.new_egress() else { return };
    let host = case.key.destination.workload;
    if case.edge.is_some() || !case.key.source.known() {
        return;
    }
    let name = case.text(host);
    let hosts = case.source.map(|source| &source.hosts);
    let stayed_inside = case.source.is_some_and(|source| source.hosts.is_empty());
    let related = hosts.is_some_and(|hosts| knows_domain_of(case, hosts, name));
    let (once, calls) = hosts.map_or((0, 0), |hosts| (hosts.singletons(), hosts.total()));
    let bare = is_address(name);
    let draft = case
        .draft(FindingKind::NewEgress)
        .subject(name)
        .summary(format!("{} called {name}, a host outside the mesh that it never called", case.caller()))
        .note("route", &case.route())
        .fact(
            "request_bytes",
            case.stats.request_bytes,
            case.source.map_or(0, |source| source.egress_window_max),
        )
        .raise_if(
            stayed_inside || bare,
            if bare { "the host is a bare address" } else { "it never left the mesh before" },
        )
        .lower_if(case.mesh().hosts.knows(host), 1, "other workloads call the host")
        .lower_if(related && !bare, 1, "it calls other hosts of the same domain");
    // A caller without outside traffic has no habit to ration by.
    let rationed = calls > 0;
    drafts.push(if rationed { ration(draft, case, once, calls, rule.unseen_share_max.0) } else { draft });
}

/// True when a known host has the same last two labels. Public suffixes of two labels make strangers relatives; that
/// lowers a finding, it never hides one.
fn knows_domain_of(case: &Case<'_>, hosts: &Tally<Symbol>, name: &str) -> bool {
    let domain = |name: &str| {
        let mut labels = name.rsplit('.');
        Some((labels.next()?.to_owned(), labels.next()?.to_owned()))
    };
    let wanted = domain(name);
    wanted.is_some() && hosts.iter().any(|(host, _)| domain(case.text(host)) == wanted)
}

fn is_address(host: &str) -> bool {
    let bare = host.trim_start_matches('[').split(']').next().unwrap_or(host);
    bare.parse::<std::net::IpAddr>().is_ok()
}

fn new_principal(case: &Case<'_>, drafts: &mut Vec<Draft>) {
    let (Some(rule), Some(edge)) = (case.rules.new_principal(), case.edge) else { return };
    let ends = [
        (case.shape.source_principal, &edge.source_principals, case.caller()),
        (case.shape.destination_principal, &edge.destination_principals, case.callee()),
    ];
    for (principal, known, who) in ends {
        if !principal.present() || known.knows(principal) || known.total() < rule.calls_min.0 {
            continue;
        }
        let usual = known.iter().map(|(principal, _)| case.text(principal)).min().unwrap_or_default();
        let draft = case
            .draft(FindingKind::NewPrincipal)
            .subject(case.text(principal))
            .summary(format!(
                "{who} presented the identity {}, never seen on this edge",
                case.text(principal)
            ))
            .fact("principal", case.text(principal), usual);
        drafts.push(draft);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unseen_is_likely_where_most_was_seen_once_and_unlikely_after_a_long_history() {
        assert!(unseen_share(0, 0) > 0.4);
        assert!(unseen_share(50, 100) > 0.4);
        assert!(unseen_share(0, 1_000) < 0.001);
    }

    #[test]
    fn bare_addresses_are_told_from_names() {
        for address in ["169.254.169.254", "2001:db8::1", "[2001:db8::1]"] {
            assert!(is_address(address), "{address}");
        }
        assert!(!is_address("api.example") && !is_address("10.example"));
    }
}
