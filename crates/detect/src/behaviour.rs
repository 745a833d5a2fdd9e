//! Behaviour of one edge in one closed window: latency, errors, volume, bytes, beats, denials.
//!
//! The seam: [`Behaviour::judge_edge`] is all that the rest of the crate knows. The statistics behind it are
//! conservative defaults that are safe on a minute of history; on edges that are known for two weeks, in a mesh that has a
//! record, `calibrated.rs` judges volume, latency, errors and sent bytes in their place.

use std::time::Duration;

use selvedge_learn::{EdgeBaseline, Moments, RouteKey, describes_request};
use selvedge_model::hash::{FixedMap, FixedSet, fixed_state};
use selvedge_model::time::nanos;
use selvedge_model::{
    CallShape, EdgeKey, EdgeWindow, EventTime, FindingKind, LogHistogram, ShapeStats, Symbol, Window,
};
use serde::{Deserialize, Serialize};

use crate::beacon::Beats;
use crate::case::{Context, human};
use crate::draft::Draft;
use crate::rules::RuleSet;
use crate::statistics::{
    beta_binomial_tail, dispersion, negative_binomial_tail, record_tail, return_period_seconds,
};
use crate::volume;

/// Windows judged together with the current one, so that a slower burn is seen too.
const RECENT_WINDOWS: usize = 2;
/// Deviating calls of the current window without which the past windows are not looked at.
const RECENT_HITS_MIN: u64 = 2;
/// Chance below which a window is not learned although nothing is told yet: a slow burn must not become the baseline
/// that it is judged by. One usual window in a hundred is lost by it.
const SUSPICION: f64 = 1e-2;
/// Windows without which a busiest window means nothing.
pub(crate) const WINDOWS_MIN: u64 = 3;
/// Over-dispersion assumed before an edge shows its own: counts per window spread by half their mean.
const DISPERSION_PRIOR: f64 = 0.25;
/// Windows the prior is worth.
const DISPERSION_PRIOR_WINDOWS: f64 = 10.0;

/// One edge in one closed window.
pub(crate) struct EdgeCase<'a> {
    pub(crate) cx: Context<'a>,
    pub(crate) rules: &'a RuleSet,
    pub(crate) key: EdgeKey,
    pub(crate) window: Window,
    pub(crate) edge: &'a EdgeWindow,
    pub(crate) known: Option<&'a EdgeBaseline>,
}

/// What a window of an edge came to.
#[derive(Default)]
pub(crate) struct Judgement {
    /// What deviates.
    pub(crate) drafts: Vec<Draft>,
    /// Not told, and not to be learned either.
    pub(crate) suspicious: bool,
}

/// State of behaviour between windows.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Behaviour {
    #[serde(with = "selvedge_model::hash::listed")]
    recent: FixedMap<EdgeKey, [Counts; RECENT_WINDOWS]>,
    beats: Beats,
}

/// What one window of an edge had.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Counts {
    window: u64,
    calls: u64,
    failed: u64,
    judged: u64,
    slow: u64,
}

/// Slow calls of a window, by the limits of their routes.
#[derive(Default)]
struct Slowness {
    judged: u64,
    slow: u64,
    known_judged: u64,
    known_slow: u64,
    /// A route that is slow by itself, by name, with its calls and slow calls.
    worst_route: Option<(String, u64, u64)>,
}

/// When a call is slow, and what says so.
struct SlowLimit<'a> {
    nanos: u64,
    route: Option<RouteKey>,
    latency: &'a LogHistogram,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { recent: FixedMap::with_hasher(fixed_state()), beats: Beats::default() }
    }
}

impl<'a> EdgeCase<'a> {
    pub(crate) fn new(
        cx: &Context<'a>,
        rules: &'a RuleSet,
        window: Window,
        key: EdgeKey,
        edge: &'a EdgeWindow,
    ) -> Self {
        Self { cx: *cx, rules, key, window, edge, known: cx.baselines.edge(&key) }
    }

    /// Shapes of requests and connections; failed handshakes are none.
    pub(crate) fn shapes(&self) -> impl Iterator<Item = (&'a CallShape, &'a ShapeStats)> {
        self.edge.shapes.iter().filter(|(shape, _)| !shape.handshake_failure.present())
    }

    pub(crate) fn caller(&self) -> String {
        self.key.source.endpoint(Symbol::NONE, self.cx.symbols).label()
    }

    pub(crate) fn callee(&self) -> String {
        self.key.destination.endpoint(Symbol::NONE, self.cx.symbols).label()
    }

    pub(crate) fn window_seconds(&self) -> f64 {
        self.window.end.since(self.window.start).as_secs_f64()
    }

    /// A finding about the calls of the shapes that `deviates` picks, by the most frequent identities among them.
    pub(crate) fn draft(
        &self,
        kind: FindingKind,
        deviates: &dyn Fn(&CallShape, &ShapeStats) -> bool,
    ) -> Draft {
        let picked: Vec<_> = self.shapes().filter(|(shape, stats)| deviates(shape, stats)).collect();
        let first = picked.iter().map(|(_, stats)| stats.first).min().unwrap_or(self.window.start);
        let mut draft = Draft::new(kind, first.max(self.window.start));
        let usual = picked.iter().max_by_key(|(shape, stats)| {
            let name = |symbol| std::cmp::Reverse(self.cx.symbols.resolve(symbol));
            let present = shape.source_principal.present();
            (present, stats.calls, name(shape.source_principal), name(shape.destination_principal))
        });
        if let Some((shape, _)) = usual {
            draft.source_principal = shape.source_principal;
            draft.destination_principal = shape.destination_principal;
        }
        draft.source_identity =
            picked.iter().map(|(shape, _)| shape.source_identity).max().unwrap_or_default();
        draft.exemplars = picked.iter().flat_map(|(_, stats)| stats.exemplars.iter().copied()).collect();
        draft.exemplars.sort_unstable();
        draft
    }
}

impl Behaviour {
    /// Windows of edges that could not be followed for beacons.
    pub(crate) fn unfollowed(&self) -> u64 {
        self.beats.unfollowed()
    }

    /// All checks of behaviour of one edge in one closed window; less what the calibrated layer judges, where it does.
    /// Windows come in order.
    pub(crate) fn judge_edge(&mut self, case: &EdgeCase<'_>, calibrated: bool) -> Judgement {
        let mut drafts = Vec::new();
        let known = case.known.filter(|_| !calibrated);
        let slowness = known.map_or_else(Slowness::default, |known| slowness(case, known));
        let now = counts(case, &slowness);
        let recent = self.remember(case, now);
        if !calibrated {
            drafts.extend(latency_high(case, &slowness, now, recent));
            drafts.extend(error_rate_high(case, now, recent));
            drafts.extend(request_rate_high(case));
            drafts.extend(volume::request_bytes_high(case));
        }
        drafts.extend(volume::response_bytes_high(case));
        drafts.extend(self.beacon(case));
        denied(case, &mut drafts);
        let suspicious = !calibrated && suspicious(case, &slowness, now, recent);
        Judgement { drafts, suspicious }
    }

    /// Forgets edges that are no longer recent.
    pub(crate) fn window_done(&mut self, window: Window) {
        let length = window.end.0 - window.start.0;
        let oldest = window.start.0.saturating_sub(length.saturating_mul(RECENT_WINDOWS as u64));
        self.recent.retain(|_, past| past.iter().any(|counts| counts.window >= oldest));
    }

    /// Keeps the window's counts and gives the sum over it and the recent windows before it. After a gap there are
    /// no recent ones.
    fn remember(&mut self, case: &EdgeCase<'_>, now: Counts) -> Counts {
        let length = case.window.end.0 - case.window.start.0;
        let oldest = case.window.start.0.saturating_sub(length.saturating_mul(RECENT_WINDOWS as u64));
        let past = self.recent.entry(case.key).or_default();
        let mut sum = now;
        for counts in past.iter().filter(|counts| counts.window >= oldest && counts.window < now.window) {
            sum.calls += counts.calls;
            sum.failed += counts.failed;
            sum.judged += counts.judged;
            sum.slow += counts.slow;
        }
        past.rotate_right(1);
        past[0] = now;
        sum
    }

    fn beacon(&mut self, case: &EdgeCase<'_>) -> Option<Draft> {
        let rule = case.rules.beacon()?;
        // A host that was unknown when its first beat came is followed on, even if it was learned meanwhile.
        let stranger = case.known.is_none() || self.beats.follows(&case.key);
        if !case.key.external || !stranger || !case.cx.baselines.mesh().warm() {
            return None;
        }
        let rhythm = self.beats.add(&case.key, &case.edge.arrivals, rule)?;
        let jitter = format!("{:.0}", rhythm.jitter * 100.0);
        let draft = case
            .draft(FindingKind::Beacon, &|_, _| true)
            .summary(format!(
                "{} calls {} every {} (give or take {jitter} %), {} times in a row",
                case.caller(),
                case.callee(),
                human(rhythm.interval),
                rhythm.beats
            ))
            .fact("interval_seconds", rhythm.interval.as_secs(), "")
            .fact("jitter_percent", jitter, "")
            .fact("first_beat_unix_nano", rhythm.first.0, "");
        Some(draft)
    }
}

fn counts(case: &EdgeCase<'_>, slowness: &Slowness) -> Counts {
    let mut counts = Counts {
        window: case.window.start.0,
        judged: slowness.judged,
        slow: slowness.slow,
        ..Counts::default()
    };
    for (shape, stats) in case.shapes().filter(|(shape, _)| describes_request(shape)) {
        counts.calls += stats.calls;
        counts.failed += if shape.failed() { stats.calls } else { 0 };
    }
    counts
}

/// From how many nanoseconds on a call of this shape is slow, with the latencies that say so: those of its route
/// where they are enough (then with the route), else those of the edge.
fn slow_limit<'a>(case: &EdgeCase<'_>, known: &'a EdgeBaseline, shape: &CallShape) -> Option<SlowLimit<'a>> {
    let rule = case.rules.latency_high()?;
    let enough = |latency: &LogHistogram| latency.count() >= rule.baseline_calls_min.0;
    let key = RouteKey::of(shape);
    let (route, latency) = match known.route(key).filter(|route| enough(&route.latency)) {
        Some(route) => (Some(key), &route.latency),
        None => (None, Some(&known.latency).filter(|latency| enough(latency))?),
    };
    let usual = Duration::from_nanos(latency.quantile(0.99)?).mul_f64(rule.factor.0);
    let nanos = nanos(usual.max(Duration::from_millis(rule.floor_ms.0)));
    Some(SlowLimit { nanos, route, latency })
}

fn slowness(case: &EdgeCase<'_>, known: &EdgeBaseline) -> Slowness {
    let mut slowness = Slowness::default();
    let mut routes: FixedMap<RouteKey, (u64, u64)> = FixedMap::with_hasher(fixed_state());
    let mut bases: FixedSet<Option<RouteKey>> = FixedSet::with_hasher(fixed_state());
    for (shape, stats) in case.shapes().filter(|(shape, _)| describes_request(shape)) {
        let Some(limit) = slow_limit(case, known, shape) else { continue };
        let slow = stats.latency.count_above(limit.nanos);
        slowness.judged += stats.calls;
        slowness.slow += slow;
        let route = routes.entry(RouteKey::of(shape)).or_default();
        *route = (route.0 + stats.calls, route.1 + slow);
        if bases.insert(limit.route) {
            slowness.known_judged += limit.latency.count();
            slowness.known_slow += limit.latency.count_above(limit.nanos);
        }
    }
    let text = |key: &RouteKey| {
        let symbols = case.cx.symbols;
        format!("{} {}", symbols.resolve(key.method), symbols.resolve(key.route)).trim().to_owned()
    };
    let worst = routes.iter().map(|(key, (calls, slow))| (text(key), *calls, *slow));
    slowness.worst_route = worst.max_by(|left, right| (left.2, &right.0).cmp(&(right.2, &left.0)));
    slowness
}

/// True when this window, alone or with those before it, fails or is slow more than chance explains.
fn suspicious(case: &EdgeCase<'_>, slowness: &Slowness, now: Counts, recent: Counts) -> bool {
    let Some(known) = case.known else { return false };
    let failing = |counts: Counts| beta_binomial_tail(counts.failed, counts.calls, known.failed, known.calls);
    let slow = |counts: Counts| {
        beta_binomial_tail(counts.slow, counts.judged, slowness.known_slow, slowness.known_judged)
    };
    (now.failed > 0 && failing(now).min(failing(recent)) < SUSPICION)
        || (now.slow > 0 && slow(now).min(slow(recent)) < SUSPICION)
}

fn latency_high(case: &EdgeCase<'_>, slowness: &Slowness, now: Counts, recent: Counts) -> Option<Draft> {
    let (rule, known) = (case.rules.latency_high()?, case.known?);
    let gross = |slow: u64, calls: u64| {
        slow >= rule.slow_calls_min.0 && percent(slow, calls) >= rule.slow_share_min.0 * 100.0
    };
    let on_route = slowness.worst_route.as_ref().is_some_and(|(_, calls, slow)| gross(*slow, *calls));
    let alone = gross(now.slow, now.judged) || on_route;
    let together = now.slow >= RECENT_HITS_MIN && gross(recent.slow, recent.judged);
    let (slow, judged) = match (alone, together) {
        (true, _) => (now.slow, now.judged),
        (false, true) => (recent.slow, recent.judged),
        (false, false) => return None,
    };
    let probability = beta_binomial_tail(slow, judged, slowness.known_slow, slowness.known_judged);
    if probability > rule.tail_probability_max.0 {
        return None;
    }
    let mut latency = LogHistogram::default();
    case.shapes()
        .filter(|(shape, _)| describes_request(shape))
        .for_each(|(_, stats)| latency.merge(&stats.latency));
    let is_slow = |shape: &CallShape, stats: &ShapeStats| {
        slow_limit(case, known, shape).is_some_and(|limit| stats.latency.count_above(limit.nanos) > 0)
    };
    let route = slowness.worst_route.as_ref().map_or("", |(route, ..)| route.as_str());
    let mut draft = case
        .draft(FindingKind::LatencyHigh, &is_slow)
        .summary(format!(
            "{slow} of {judged} calls from {} to {} took several times longer than usual",
            case.caller(),
            case.callee()
        ))
        .fact("latency_ms_p90", milliseconds(&latency, 0.9), milliseconds(&known.latency, 0.9))
        .fact("latency_ms_p50", milliseconds(&latency, 0.5), milliseconds(&known.latency, 0.5))
        .fact("latency_ms_p99", milliseconds(&latency, 0.99), milliseconds(&known.latency, 0.99))
        .fact("slow_calls_percent", whole(percent(slow, judged)), percent_text(slowness))
        .note("slowest_route", route);
    draft.return_period_seconds = Some(return_period_seconds(case.window_seconds(), probability));
    Some(draft)
}

fn error_rate_high(case: &EdgeCase<'_>, now: Counts, recent: Counts) -> Option<Draft> {
    let (rule, known) = (case.rules.error_rate_high()?, case.known?);
    if known.calls < rule.baseline_calls_min.0 {
        return None;
    }
    let usual = percent(known.failed, known.calls);
    let gross = |failed: u64, calls: u64| {
        failed >= rule.failed_min.0 && percent(failed, calls) >= usual + rule.rise_min.0 * 100.0
    };
    let together = now.failed >= RECENT_HITS_MIN && gross(recent.failed, recent.calls);
    let (failed, calls) = match (gross(now.failed, now.calls), together) {
        (true, _) => (now.failed, now.calls),
        (false, true) => (recent.failed, recent.calls),
        (false, false) => return None,
    };
    let probability = beta_binomial_tail(failed, calls, known.failed, known.calls);
    if probability > rule.tail_probability_max.0 {
        return None;
    }
    let mut draft = case
        .draft(FindingKind::ErrorRateHigh, &|shape, _| shape.failed())
        .summary(format!("{failed} of {calls} calls from {} to {} failed", case.caller(), case.callee()))
        .fact("failed_calls_percent", whole(percent(failed, calls)), format!("{usual:.1}"))
        .fact("failed_calls", failed, "")
        .note("failures", &failures(case));
    draft.return_period_seconds = Some(return_period_seconds(case.window_seconds(), probability));
    Some(draft)
}

/// How calls failed, most frequent first: `500 (8), grpc 14 (2)`.
pub(crate) fn failures(case: &EdgeCase<'_>) -> String {
    let mut by_status: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
    for (shape, stats) in case.shapes().filter(|(shape, _)| shape.failed()) {
        let status = match (shape.status, shape.grpc_status) {
            (0, code) if code >= 0 => format!("grpc {code}"),
            (0, _) => "error".to_owned(),
            (status, _) => status.to_string(),
        };
        *by_status.entry(status).or_default() += stats.calls;
    }
    let mut sorted: Vec<(String, u64)> = by_status.into_iter().collect();
    sorted.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
    sorted.iter().map(|(status, calls)| format!("{status} ({calls})")).collect::<Vec<_>>().join(", ")
}

fn request_rate_high(case: &EdgeCase<'_>) -> Option<Draft> {
    let rule = case.rules.request_rate_high()?;
    let mesh = case.cx.baselines.mesh();
    let enough = |moments: &&Moments| moments.windows >= WINDOWS_MIN;
    let own = case.known.map(|known| &known.requests).filter(enough);
    let at_callee = || mesh.destination(&case.key.destination).map(|callee| &callee.requests).filter(enough);
    let usual = own.or_else(|| at_callee().filter(|_| mesh.warm()))?;
    let told = case.shapes().map(|(shape, stats)| shape.sampling.stands_for(stats.calls));
    let count = told.fold(case.edge.shapes_overflowed, u64::saturating_add);
    if count <= rule.requests_floor.0 || as_f64(count) <= as_f64(usual.max) * rule.factor.0 {
        return None;
    }
    let spread =
        dispersion(usual.mean(), usual.variance(), usual.windows, DISPERSION_PRIOR, DISPERSION_PRIOR_WINDOWS);
    let probability = negative_binomial_tail(count, usual.mean().max(1.0), spread);
    if probability > rule.tail_probability_max.0 {
        return None;
    }
    let per_second = |count: u64| format!("{:.1}", as_f64(count) / case.window_seconds());
    let mut draft = case
        .draft(FindingKind::RequestRateHigh, &|_, _| true)
        .summary(format!(
            "{} sent {count} requests to {} within {:.0} s; the most before were {}",
            case.caller(),
            case.callee(),
            case.window_seconds(),
            usual.max
        ))
        .fact("requests_per_second", per_second(count), per_second(usual.max))
        .fact("requests_in_window", count, usual.max);
    draft.onset = busiest_start(case).max(case.window.start);
    draft.return_period_seconds = Some(return_period_seconds(case.window_seconds(), probability));
    Some(draft)
}

/// Start of the shape with the most calls: what floods, not what was there before.
fn busiest_start(case: &EdgeCase<'_>) -> EventTime {
    let busiest = case.shapes().max_by_key(|(_, stats)| (stats.calls, std::cmp::Reverse(stats.first)));
    busiest.map_or(case.window.start, |(_, stats)| stats.first)
}

fn denied(case: &EdgeCase<'_>, drafts: &mut Vec<Draft>) {
    let Some(rule) = case.rules.denied_burst() else { return };
    let mut by_policy: std::collections::BTreeMap<&str, u64> = std::collections::BTreeMap::new();
    for (shape, stats) in case.shapes().filter(|(shape, _)| shape.denied_by.present()) {
        *by_policy.entry(case.cx.symbols.resolve(shape.denied_by)).or_default() += stats.calls;
    }
    for (policy, calls) in by_policy.into_iter().filter(|(_, calls)| *calls >= rule.calls_min.0) {
        let by = |shape: &CallShape, _: &ShapeStats| case.cx.symbols.resolve(shape.denied_by) == policy;
        let draft = case
            .draft(FindingKind::DeniedBurst, &by)
            .subject(policy)
            .summary(format!(
                "policy {policy} denied {calls} calls from {} to {}",
                case.caller(),
                case.callee()
            ))
            .fact("denied_calls", calls, "");
        drafts.push(draft);
    }
}

fn milliseconds(latency: &LogHistogram, quantile: f64) -> String {
    latency.quantile(quantile).map_or_else(String::new, |nanos| whole(as_f64(nanos) / 1e6))
}

fn percent_text(slowness: &Slowness) -> String {
    format!("{:.1}", percent(slowness.known_slow, slowness.known_judged))
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

pub(crate) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * as_f64(part) / as_f64(whole) }
}

#[expect(clippy::cast_precision_loss, reason = "counts, bytes and nanoseconds far below 2^52")]
pub(crate) fn as_f64(value: u64) -> f64 {
    value as f64
}

/// What the largest of a history says about `observed`: how often such a window is expected.
pub(crate) fn record_return_period(case: &EdgeCase<'_>, windows: u64, factor: f64) -> f64 {
    return_period_seconds(case.window_seconds(), record_tail(windows, factor))
}
