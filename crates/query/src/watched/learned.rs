//! Rows of edges, routes and baselines, from what was learned.

use selvedge_learn::normal::{LatencyCuts, Norms};
use selvedge_learn::{Baselines, EdgeBaseline, RouteBaseline, RouteKey, Tally};
use selvedge_model::{EdgeKey, Measure, MeasureClass, Security, Symbol, SymbolTable};

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
    /// Everything learned, by name; of edges that only metrics know, in `metrics`.
    #[must_use]
    pub fn of(baselines: &Baselines, metrics: &Baselines, symbols: &SymbolTable) -> Self {
        let mut edges: Vec<_> = baselines.with_measured(metrics).collect();
        edges.sort_by_key(|(key, ..)| (key.names(symbols), key.external));
        let mut learned = Self::default();
        for (key, baseline, known_by, of) in edges {
            let known_by = Value::text(known_by.name());
            learned.edges.push(edge(key, baseline, known_by.clone(), symbols));
            let mut values = known(key, baseline, symbols);
            values.push(known_by);
            values.extend(normal(of.norms(), key));
            learned.baselines.push(values);
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

fn edge(key: &EdgeKey, baseline: &EdgeBaseline, known_by: Value, symbols: &SymbolTable) -> Vec<Value> {
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
        known_by,
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

/// How it is now beside what is usual at this time; nothing while an edge has no normal.
fn normal(norms: &Norms, key: &EdgeKey) -> Vec<Value> {
    let Some(norm) = norms.norm(key) else { return Vec::new() };
    let beside = |measures: &[Measure]| -> [Value; 2] {
        let seen = measures.iter().map(|measure| norm.seen(*measure, norms.window_length()));
        let rates = seen.filter(|seen| seen.exposure > 0.0);
        let rates = rates.map(|seen| [seen.counted / seen.exposure, seen.usual / seen.exposure]);
        let sum = rates.reduce(|[now, usual], [more, more_usual]| [now + more, usual + more_usual]);
        sum.map_or([Value::Nothing, Value::Nothing], |sum| sum.map(Value::Number))
    };
    let mut values = vec![Value::whole(norm.days().into())];
    values.extend(beside(&[Measure::Requests]));
    values.extend(beside(&[Measure::SentKib]));
    values.extend(beside(&[Measure::ServerErrors, Measure::GrpcErrors]));
    let cuts = norms.cuts(key).map(LatencyCuts::nanos);
    values.extend([0, 2].map(|cut| Value::milliseconds(cuts.map(|cuts| cuts[cut]))));
    values.extend(beside(&[Measure::OverQ99]));
    let classes = [
        (MeasureClass::Volume, "volume"),
        (MeasureClass::Bytes, "bytes"),
        (MeasureClass::Latency, "latency"),
        (MeasureClass::Errors, "errors"),
    ];
    let suspected = classes.into_iter().filter(|(class, _)| !norm.calm(*class));
    values.push(Value::Texts(suspected.map(|(_, name)| name.to_owned()).collect()));
    let drifts = Measure::ALL.into_iter().map(|measure| norm.drift(measure));
    values.push(Value::number(drifts.max_by(|left, right| left.abs().total_cmp(&right.abs())).map(f64::exp)));
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
