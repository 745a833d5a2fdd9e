//! The noise of a mesh is there, and as large as the configuration says.

mod common;

use std::time::Duration;

use common::{MONDAY, assert_near, at_rate, moments, number, run, share, sums};
use selvedge_model::{EdgeCounts, EventTime, Measure};
use selvedge_simulate::{
    BenignEvents, Cause, Control, Extent, LatencyNoise, Mesh, MeshConfig, Occasional, Tier, VolumeNoise,
    between,
};

fn requests_of(
    windows: &[(selvedge_model::Window, Vec<selvedge_simulate::WindowOf>)],
    edge: usize,
) -> Vec<f64> {
    windows.iter().map(|(_, of)| number(of[edge].counts.requests)).collect()
}

#[test]
fn usual_rates_are_log_normal_with_the_median_and_the_sigma_of_the_research() {
    let mesh = Mesh::new(MeshConfig::noisy(31, 4_000));
    let logs: Vec<f64> = mesh.edges().iter().map(|edge| edge.usual_rate.ln()).collect();
    let (mean, variance) = moments(&logs);
    assert_near("median", mean.exp(), 0.3, 0.05);
    assert_near("sigma", variance.sqrt(), 2.3, 0.12);
    for tier in [Tier::Rare, Tier::Sparse, Tier::Steady, Tier::Busy] {
        let share = mesh.edges().iter().filter(|edge| edge.tier == tier).count() as f64 / 4_000.0;
        assert!(share > 0.05, "{tier:?}: {share}");
    }
}

#[test]
fn without_noise_counts_are_poisson_and_cells_are_their_quantiles() {
    let mut mesh = Mesh::new(at_rate(5.0, MeshConfig::quiet(32, 3)));
    let windows = run(&mut mesh, 3_000);
    for edge in 0..3 {
        let (mean, variance) = moments(&requests_of(&windows, edge));
        assert_near("mean", mean, 50.0, 0.7);
        assert_near("variance", variance, 50.0, 7.0);
        let mut sum = EdgeCounts::default();
        windows.iter().for_each(|(_, of)| sum.merge(&of[edge].counts));
        let cells = [(Measure::OverMedian, 0.5), (Measure::OverQ90, 0.1), (Measure::OverQ99, 0.01)];
        for (measure, expected) in cells {
            assert_near(&format!("{measure:?}"), share(&sum, measure), expected, 0.01 * expected.sqrt());
        }
        assert_eq!(sum.count(Measure::Requests), sum.requests);
        assert!(sum.count(Measure::OverTwiceQ99) < sum.count(Measure::OverQ99));
        let kib = number(sum.count(Measure::SentKib)) / number(sum.requests);
        // Rounded up in each window: half a KiB for 50 requests.
        let expected = mesh.edges()[edge].request_kib;
        assert_near("KiB a request", kib, expected + 0.01, 0.03 * expected + 0.005);
    }
}

/// A window has two gamma factors of variance 0.1, its minute's and its own: Var = m + m^2 (1.1^2 - 1).
#[test]
fn over_dispersion_widens_counts_as_two_gamma_factors_do() {
    let volume = VolumeNoise { dispersion: between(0.1, 0.1), ..VolumeNoise::none() };
    let mut mesh = Mesh::new(MeshConfig { volume, ..at_rate(10.0, MeshConfig::quiet(33, 10)) });
    let windows = run(&mut mesh, 3_000);
    let of_edges: Vec<(f64, f64)> = (0..10).map(|edge| moments(&requests_of(&windows, edge))).collect();
    let mean = of_edges.iter().map(|(mean, _)| mean).sum::<f64>() / 10.0;
    let variance = of_edges.iter().map(|(_, variance)| variance).sum::<f64>() / 10.0;
    assert_near("mean", mean, 100.0, 1.5);
    assert_near("variance", variance, 100.0 + 10_000.0 * 0.21, 200.0);
}

fn hourly(config: MeshConfig, hours: usize) -> Vec<f64> {
    let mut mesh = Mesh::new(MeshConfig { window: Duration::from_mins(5), ..config });
    (0..hours)
        .map(|_| sums(&mut mesh, 12).iter().map(|counts| number(counts.requests)).sum::<f64>())
        .collect()
}

#[test]
fn days_have_a_peak_and_weeks_have_a_weekend() {
    let volume = VolumeNoise { daily: between(0.8, 0.8), weekend: between(0.5, 0.5), ..VolumeNoise::none() };
    let hours = hourly(MeshConfig { volume, ..at_rate(5.0, MeshConfig::quiet(34, 20)) }, 168);
    let afternoon: f64 = hours[36..40].iter().sum();
    let night: f64 = hours[24..28].iter().sum();
    assert!(afternoon > 2.5 * night, "{afternoon} by day, {night} by night");
    let day = |day: usize| hours[24 * day..24 * day + 24].iter().sum::<f64>();
    assert_near("Saturday to Tuesday", day(5) / day(1), 0.5, 0.06);
    assert_near("Thursday to Tuesday", day(3) / day(1), 1.0, 0.02);
    let mean = hours.iter().sum::<f64>() / (168.0 * 3_600.0 * 20.0);
    assert_near("mean over the week is the usual rate", mean, 5.0, 0.05);
}

#[test]
fn edges_share_a_factor_and_wander_on_their_own() {
    let shared = VolumeNoise { shared_long: 0.2, shared_loading: between(1.0, 1.0), ..VolumeNoise::none() };
    let own = VolumeNoise { long: between(0.2, 0.2), ..VolumeNoise::none() };
    let correlation = |volume| {
        let config =
            MeshConfig { window: Duration::from_mins(1), volume, ..at_rate(50.0, MeshConfig::quiet(35, 2)) };
        let windows = run(&mut Mesh::new(config), 20_000);
        let logs = |edge| requests_of(&windows, edge).iter().map(|count| count.ln()).collect::<Vec<f64>>();
        let (one, other) = (logs(0), logs(1));
        let ((mean, variance), (other_mean, other_variance)) = (moments(&one), moments(&other));
        let products: Vec<f64> = one.iter().zip(&other).map(|(a, b)| (a - mean) * (b - other_mean)).collect();
        (moments(&products).0 / (variance * other_variance).sqrt(), variance.sqrt())
    };
    let (together, sigma) = correlation(shared);
    assert!(together > 0.9, "shared: {together}");
    assert_near("sigma", sigma, 0.2, 0.06);
    let (apart, sigma) = correlation(own);
    assert!(apart.abs() < 0.5, "own: {apart}");
    assert_near("sigma", sigma, 0.2, 0.06);
}

#[test]
fn latency_follows_load() {
    let mut config = at_rate(50.0, MeshConfig::quiet(36, 8));
    config.volume = VolumeNoise { daily: between(1.0, 1.0), ..VolumeNoise::none() };
    config.latency = LatencyNoise { load: between(0.3, 0.3), ..config.latency };
    let mut mesh = Mesh::new(MeshConfig { window: Duration::from_mins(5), ..config });
    let night = sums(&mut mesh, 48);
    sums(&mut mesh, 8 * 12);
    let day = sums(&mut mesh, 48);
    for (night, day) in night.iter().zip(&day) {
        // The rate by day is that by night to some power of e, and some edges are busy at night.
        let load = (number(day.requests) / number(night.requests)).ln();
        let slower = share(day, Measure::OverMedian) - share(night, Measure::OverMedian);
        assert!(slower / load > 0.1, "slower by {slower} at a load of {load}");
    }
}

/// With all noise, cells are not exactly their quantiles any more, but near them on the whole.
#[test]
fn with_all_noise_cells_stay_near_their_quantiles() {
    let config = MeshConfig { window: Duration::from_mins(1), ..at_rate(5.0, MeshConfig::noisy(37, 60)) };
    let edges = sums(&mut Mesh::new(config), 2 * 1_440);
    let mean = |measure| moments(&edges.iter().map(|counts| share(counts, measure)).collect::<Vec<f64>>()).0;
    assert_near("over median", mean(Measure::OverMedian), 0.5, 0.1);
    assert_near("over q90", mean(Measure::OverQ90), 0.1, 0.05);
    assert_near("over q99", mean(Measure::OverQ99), 0.01, 0.01);
    let failed = mean(Measure::ServerErrors) + mean(Measure::GrpcErrors);
    assert!((0.000_5..0.006).contains(&failed), "errors {failed}");
}

#[test]
fn growth_is_by_percent_a_day() {
    let volume = VolumeNoise { growth: between(0.01, 0.01), ..VolumeNoise::none() };
    let hours = hourly(MeshConfig { volume, ..at_rate(20.0, MeshConfig::quiet(38, 5)) }, 20 * 24);
    let day = |day: usize| hours[24 * day..24 * day + 24].iter().sum::<f64>();
    assert_near("after 19 days", (day(19) / day(0)).ln(), 0.19, 0.005);
}

/// What is measured of the counts inside of each label of an edge, and of the usual number of requests in that time.
fn inside(
    config: MeshConfig,
    windows: usize,
    measured: impl Fn(&EdgeCounts, f64) -> f64,
) -> Vec<(Cause, f64)> {
    let mut mesh = Mesh::new(config);
    let all = run(&mut mesh, windows);
    let window = Duration::from_secs(10);
    let inside = mesh.labels().iter().filter_map(|label| {
        let Extent::Edge(edge) = label.extent else { return None };
        let mut sum = EdgeCounts::default();
        let within = |at: EventTime| label.start <= at && at < label.end.before(window);
        let mut count = 0.0;
        for (_, of) in all.iter().filter(|(at, _)| within(at.start)) {
            sum.merge(&of[edge].counts);
            count += 1.0;
        }
        let usual = mesh.edges()[edge].usual_rate * 10.0 * count;
        (count > 3.0).then(|| (label.cause, measured(&sum, usual)))
    });
    inside.collect()
}

fn relative(counts: &EdgeCounts, usual: f64) -> f64 {
    number(counts.requests) / usual
}

fn with_events(a_day: f64, set: impl Fn(&mut BenignEvents, Occasional)) -> MeshConfig {
    let mut config = at_rate(50.0, MeshConfig::quiet(39, 20));
    let usual = BenignEvents::default();
    set(&mut config.events, Occasional { a_day, ..usual.volume });
    config
}

#[test]
fn bursts_slow_minutes_failing_minutes_and_uploads_are_what_their_labels_say() {
    let bursts = inside(with_events(20.0, |events, often| events.volume = often), 1_000, relative);
    assert!(bursts.len() > 20, "{} bursts", bursts.len());
    for (cause, found) in bursts {
        let Cause::Burst(times) = cause else { panic!("{cause:?}") };
        assert!((2.0..=6.0).contains(&times));
        assert_near("burst", found, times, 0.15 * times);
    }
    let latency = BenignEvents::default().latency;
    let slow = with_events(20.0, |events, often| {
        events.latency = Occasional { strength: latency.strength, ..often }
    });
    for (cause, found) in inside(slow, 1_000, |counts, _| share(counts, Measure::OverQ90)) {
        let Cause::Slow(share) = cause else { panic!("{cause:?}") };
        assert!(found > 0.6 * share, "{found} above q90 with {share} in the slow mode");
    }
    let errors = BenignEvents::default().errors;
    let failing =
        with_events(20.0, |events, often| events.errors = Occasional { strength: errors.strength, ..often });
    let failed = inside(failing, 1_000, |counts, _| {
        share(counts, Measure::ServerErrors) + share(counts, Measure::GrpcErrors)
    });
    let mean = moments(&failed.iter().map(|(_, share)| *share).collect::<Vec<f64>>()).0;
    assert!(mean > 0.01, "{mean} of requests fail in failing minutes");
    assert!(
        failed
            .iter()
            .all(|(cause, _)| matches!(cause, Cause::Failing(times) if (5.0..=25.0).contains(times)))
    );
    let uploads = with_events(20.0, |events, often| events.bytes = often);
    for (cause, found) in inside(uploads, 1_000, relative) {
        assert!(matches!(cause, Cause::Upload(_)));
        assert_near("requests of an upload", found, 1.0, 0.1);
    }
}

#[test]
fn crons_come_by_the_clock_on_a_tenth_of_the_edges() {
    let mut config = at_rate(50.0, MeshConfig::quiet(40, 100));
    config.volume.crons = 0.1;
    let mut mesh = Mesh::new(config);
    run(&mut mesh, 8_640);
    let mut edges: Vec<usize> = Vec::new();
    let mut minutes = std::collections::BTreeMap::<usize, std::collections::BTreeSet<u64>>::new();
    for label in mesh.labels() {
        let (Cause::Cron(_), Extent::Edge(edge)) = (label.cause, label.extent) else { panic!("{label:?}") };
        edges.push(edge);
        let second = label.start.0 / 1_000_000_000 - MONDAY;
        minutes.entry(edge).or_default().insert(second / 60 % 60);
    }
    edges.sort_unstable();
    let runs = edges.len();
    edges.dedup();
    assert!((4..=18).contains(&edges.len()), "{} edges with a cron", edges.len());
    assert!(runs > 24, "{runs} runs");
    assert!(minutes.values().all(|minutes| minutes.len() == 1), "{minutes:?}");
    config.volume.crons = 1.0;
    for (cause, found) in inside(config, 1_000, relative) {
        let Cause::Cron(times) = cause else { panic!("{cause:?}") };
        assert_near("cron", found, times, 0.12 * times);
    }
}

#[test]
fn a_deployment_is_seen_by_the_edges_of_its_service_and_shifts_them() {
    let mut config = at_rate(100.0, MeshConfig::quiet(41, 12));
    config.events = BenignEvents { deployments_a_day: 4.0, deployment_shifts: 1.0, ..BenignEvents::none() };
    config.events.deployment_sigma = 0.5;
    let mut mesh = Mesh::new(config);
    let all = run(&mut mesh, 2_160);
    let labels = mesh.labels();
    assert!(labels.len() > 3);
    let mut deployed = 0;
    for (index, spec) in mesh.edges().iter().enumerate() {
        let ours: Vec<_> = labels
            .iter()
            .filter(
                |label| matches!(label.extent, Extent::Service(s) if s == spec.caller || s == spec.callee),
            )
            .collect();
        let seen: Vec<EventTime> =
            all.iter().filter(|(_, of)| of[index].deployed).map(|(window, _)| window.start).collect();
        assert_eq!(seen.len(), ours.len(), "edge {index}");
        for (seen, label) in seen.iter().zip(&ours) {
            assert!(seen.since(label.start) < Duration::from_secs(10) && label.start <= *seen);
        }
        deployed += seen.len();
        // Half an hour after its first deployment, and before its second, the edge is where the label says.
        let Some(Cause::Deployment { rate, .. }) = ours.first().map(|label| label.cause) else { continue };
        let settled = ours[0].start.after(Duration::from_mins(30));
        let until = ours.get(1).map_or(EventTime(u64::MAX), |label| label.start);
        let after: Vec<f64> = all
            .iter()
            .filter(|(window, _)| settled <= window.start && window.start < until)
            .map(|(_, of)| number(of[index].counts.requests))
            .collect();
        if after.len() > 30 {
            assert_near("shift", (moments(&after).0 / 1_000.0).ln(), rate, 0.03);
        }
    }
    assert!(deployed > 10, "{deployed} edges saw a deployment");
}

#[test]
fn a_negative_control_changes_the_noise_and_the_kept_records_from_its_time_on() {
    let volume = VolumeNoise { short: between(0.1, 0.1), ..VolumeNoise::none() };
    let config =
        MeshConfig { window: Duration::from_mins(1), volume, ..at_rate(100.0, MeshConfig::quiet(42, 4)) };
    let from = common::after(60 * 1_500);
    let control = Some(Control { from, noise: 3.0, kept: 0.5 });
    let usual = run(&mut Mesh::new(config), 3_000);
    let broken = run(&mut Mesh::new(MeshConfig { control, ..config }), 3_000);
    for edge in 0..4 {
        let logs =
            |windows: &[_]| requests_of(windows, edge).iter().map(|count| count.ln()).collect::<Vec<f64>>();
        let half = usual.len() / 2;
        assert_eq!(usual[..half], broken[..half]);
        let ((usual_mean, usual), (mean, variance)) =
            (moments(&logs(&usual[half..])), moments(&logs(&broken[half..])));
        assert_near("deviation", (variance / usual).sqrt(), 3.0, 0.4);
        assert_near("kept", mean - usual_mean, 0.5_f64.ln(), 0.2);
    }
}
