//! Rows of edges, routes and baselines, from what was learned.

use selvedge_learn::{Baselines, EdgeBaseline, RouteBaseline, RouteKey, Tally};
use selvedge_model::{EdgeKey, Security, Symbol, SymbolTable};

use crate::segment::edge_id;
use crate::watched::rows::{Rows, Value};

/// Nanoseconds of a day.
const DAY_NANOS: f64 = 86_400e9;

/// What is known of every edge, in words. Made on the engine's thread, since it needs the symbols; read anywhere.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    pub(crate) edges: Rows,
    pub(crate) routes: Rows,
    pub(crate) baselines: Rows,
}

impl Learned {
    /// Everything learned, by name.
    #[must_use]
    pub fn of(baselines: &Baselines, symbols: &SymbolTable) -> Self {
        let mut edges: Vec<(&EdgeKey, &EdgeBaseline)> = baselines.edges().collect();
        edges.sort_by_key(|(key, _)| (key.names(symbols), key.external));
        let mut learned = Self::default();
        for (key, baseline) in edges {
            learned.edges.push(edge(key, baseline, symbols));
            learned.baselines.push(known(key, baseline, symbols));
            let mut routes: Vec<(&RouteKey, &RouteBaseline)> = baseline.routes().collect();
            routes.sort_by_key(|(route, _)| (symbols.resolve(route.route), symbols.resolve(route.method)));
            learned
                .routes
                .extend(routes.into_iter().map(|(name, route)| of_route(key, name, route, symbols)));
        }
        learned
    }
}

/// The number of the edge, then the names of its ends.
fn ends(key: &EdgeKey, symbols: &SymbolTable) -> Vec<Value> {
    let mut values = vec![Value::Whole(edge_id(*key, |symbol| symbols.resolve(symbol)))];
    values.extend(key.names(symbols).map(Value::text));
    values
}

fn edge(key: &EdgeKey, baseline: &EdgeBaseline, symbols: &SymbolTable) -> Vec<Value> {
    let mut values = ends(key, symbols);
    values.insert(4, usual(&baseline.source_principals, symbols));
    values.push(usual(&baseline.destination_principals, symbols));
    values.extend([
        Value::Flag(key.external),
        Value::whole(baseline.calls),
        Value::whole(baseline.failed),
        Value::whole(baseline.requests.windows),
        Value::whole(baseline.route_count() as u64),
        Value::milliseconds(baseline.latency.quantile(0.5)),
        Value::milliseconds(baseline.latency.quantile(0.99)),
    ]);
    values.extend(baseline.reported.map(Value::whole));
    values.extend([
        Value::number(baseline.both_share()),
        Value::text(baseline.provenance.name()),
        Value::time(baseline.first),
        Value::time(baseline.last),
    ]);
    values
}

fn of_route(key: &EdgeKey, name: &RouteKey, route: &RouteBaseline, symbols: &SymbolTable) -> Vec<Value> {
    let mut values = ends(key, symbols);
    values.extend([
        Value::text(symbols.resolve(name.method)),
        Value::text(symbols.resolve(name.route)),
        Value::whole(route.calls),
        Value::whole(route.refused),
        Value::whole(route.security[Security::Plaintext as usize]),
        Value::whole(route.security[Security::MutualTls as usize]),
        Value::milliseconds(route.latency.quantile(0.5)),
        Value::milliseconds(route.latency.quantile(0.99)),
    ]);
    values
}

#[expect(clippy::cast_precision_loss, reason = "counts and days stay far below 2^53")]
fn known(key: &EdgeKey, baseline: &EdgeBaseline, symbols: &SymbolTable) -> Vec<Value> {
    let mut values = ends(key, symbols);
    let failed = (baseline.calls > 0).then(|| baseline.failed as f64 / baseline.calls as f64);
    let lifetime = baseline.lifetime_nanos_max;
    values.extend([
        Value::text(baseline.provenance.name()),
        Value::whole(baseline.calls),
        Value::whole(baseline.requests.windows),
        Value::Number(baseline.requests.mean()),
        Value::Number(baseline.requests.variance().max(0.0).sqrt()),
        Value::number(failed),
    ]);
    values.extend([0.5, 0.9, 0.99].map(|q| Value::milliseconds(baseline.latency.quantile(q))));
    values.extend([
        Value::whole(baseline.request_bytes.call_max),
        Value::whole(baseline.response_bytes.call_max),
        Value::whole(baseline.security[Security::Plaintext as usize]),
        Value::whole(baseline.security[Security::Tls as usize]),
        Value::whole(baseline.security[Security::MutualTls as usize]),
        names(&baseline.tls_versions, symbols),
        names(&baseline.source_principals, symbols),
        names(&baseline.destination_principals, symbols),
        names(&baseline.issuers, symbols),
        names(&baseline.user_agents, symbols),
        Value::number((lifetime > 0).then(|| lifetime as f64 / DAY_NANOS)),
        Value::time(baseline.not_after_max),
        Value::time(baseline.first),
        Value::time(baseline.last),
    ]);
    values
}

/// The one seen most often; of equals the first by name.
fn usual(seen: &Tally<Symbol>, symbols: &SymbolTable) -> Value {
    let most = seen
        .iter()
        .filter(|(symbol, _)| symbol.present())
        .max_by_key(|(symbol, count)| (*count, std::cmp::Reverse(symbols.resolve(*symbol))));
    most.map_or(Value::Nothing, |(symbol, _)| Value::text(symbols.resolve(symbol)))
}

fn names(seen: &Tally<Symbol>, symbols: &SymbolTable) -> Value {
    let present = seen.iter().filter(|(symbol, _)| symbol.present());
    let mut names: Vec<String> = present.map(|(symbol, _)| symbols.resolve(symbol).to_owned()).collect();
    names.sort_unstable();
    Value::Texts(names)
}
