//! How big the mesh is, and how noisy: every source of noise of `detection.md` section 2, with a default that is as
//! hard as the research's prototype or harder.
//!
//! "Research" below is that section. Where it names a noise without a figure, the default is ours and says so.

use std::time::Duration;

use selvedge_model::EventTime;

/// Two bounds, both included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Between {
    /// The lower one.
    pub low: f64,
    /// The upper one.
    pub high: f64,
}

/// The bounds `low` and `high`.
#[must_use]
pub const fn between(low: f64, high: f64) -> Between {
    Between { low, high }
}

/// Something that happens at random: exponential gaps, a length, and a strength drawn anew each time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Occasional {
    /// How often a day, on average; 0 is never.
    pub a_day: f64,
    /// Seconds that it lasts, uniform in the logarithm.
    pub seconds: Between,
    /// How strong it is; the field says of what.
    pub strength: Between,
}

/// Everything that a mesh follows from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeshConfig {
    /// All randomness follows from it.
    pub seed: u64,
    /// Number of edges.
    pub edges: usize,
    /// Length of a window; at least a second.
    pub window: Duration,
    /// The first window is the one that holds this time.
    pub start: EventTime,
    /// Usual rates.
    pub rates: Rates,
    /// Seasons, wandering and over-dispersion of the request rate.
    pub volume: VolumeNoise,
    /// Latency.
    pub latency: LatencyNoise,
    /// Errors.
    pub errors: ErrorNoise,
    /// Body bytes.
    pub bytes: ByteNoise,
    /// What happens now and then and is no fault.
    pub events: BenignEvents,
    /// What telemetry does to the truth.
    pub telemetry: TelemetryNoise,
    /// From a time on the mesh is another one, to break what was calibrated on purpose; none by default.
    pub control: Option<Control>,
    /// At most so many labels are kept; later ones are only counted (`Mesh::labels_lost`).
    pub labels_max: usize,
}

/// A negative control (`detection.md` 4, procedure 5): a change of the whole mesh that no calibration foresaw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Control {
    /// Since when, in the minutes that start then or later.
    pub from: EventTime,
    /// Factor on the deviations of all wandering and over-dispersion.
    pub noise: f64,
    /// Share of all records that reporters keep, without saying so.
    pub kept: f64,
}

/// Usual request rates: log-normal over the edges (research: median 0.3 a second, sigma 2.3, from 0.06 to 60,000 a
/// minute).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Median, in requests a second.
    pub median: f64,
    /// Standard deviation of the logarithm.
    pub sigma: f64,
    /// Bounds, in requests a second.
    pub bounds: Between,
}

/// What moves the request rate of an edge. Standard deviations are of the logarithm; each edge draws its own within
/// the bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VolumeNoise {
    /// Amplitude of the daily wave, in the logarithm: 1.0 is a peak 7.4 times the trough (figure ours).
    pub daily: Between,
    /// Amplitude of the 12-hour harmonic (figure ours).
    pub half_daily: Between,
    /// Factor of Saturday and Sunday, reached over 4 hours around midnight (figure ours).
    pub weekend: Between,
    /// AR(1) noise with a memory of 5 to 60 minutes (research names the memory; the size is ours).
    pub short: Between,
    /// AR(1) noise with a memory of 3 to 24 hours (as above).
    pub long: Between,
    /// Over-dispersion: variance of a gamma factor with mean 1 (research: 0.3 to 10 %, a minute). Here a minute has
    /// one, and each window in it another, so that windows of 10 s are as over-dispersed as minutes.
    pub dispersion: Between,
    /// A factor that all edges share, AR(1) with a memory of 20 minutes (research: "a weak shared factor").
    pub shared_short: f64,
    /// The same with a memory of 6 hours.
    pub shared_long: f64,
    /// How much of the shared factors an edge feels (figure ours).
    pub shared_loading: Between,
    /// Growth by the day, drawn anew every 4 weeks (research: within 1 %, for its 6 weeks).
    pub growth: Between,
    /// Share of edges with an hourly or a daily cron (research: 10 %).
    pub crons: f64,
    /// Factor of a cron while it runs (research: 2 to 8), 20 % more or less at each run, starting up to 20 s late.
    pub cron_strength: Between,
    /// How long a cron runs, in seconds (figure ours).
    pub cron_seconds: Between,
}

/// The true latency of an edge: a log-normal body and a slow mode. Standard deviations are of the logarithm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatencyNoise {
    /// Spread of the body (figure ours).
    pub body: Between,
    /// Share of requests in the slow mode (research: 2 %).
    pub slow_share: Between,
    /// How many times slower than the body the slow mode is (figure ours).
    pub slow_times: Between,
    /// Spread of the slow mode (figure ours).
    pub slow_spread: Between,
    /// Wandering of the whole distribution (research: 10 to 40 %): half of the variance with a memory of 5 to 60
    /// minutes, half of 3 to 24 hours.
    pub wander: Between,
    /// Wandering of the slow mode's share (research: 40 %), memory 5 to 60 minutes.
    pub slow_wander: f64,
    /// Over-dispersion of the slow mode's share from window to window: slow requests come together (figure ours).
    pub slow_dispersion: Between,
    /// How the whole distribution jitters from window to window, as a share of the wandering (figure ours).
    pub jitter: f64,
    /// Latency follows load: exponent of (rate / usual rate) (research: "coupled to load"; the figure is ours).
    pub load: Between,
    /// A factor that all edges share, memory 30 minutes (figure ours).
    pub shared: f64,
}

/// Error rates: of HTTP edges 4xx and 5xx, of gRPC edges the gRPC status.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErrorNoise {
    /// Median rate of the callee's failures (research: log-normal around 0.1 %).
    pub median: f64,
    /// Median rate of the callers' faults, 4xx (figure ours).
    pub client_median: f64,
    /// Spread of both over the edges (figure ours).
    pub sigma: f64,
    /// AR(1) wandering of the rate, memory 5 to 60 minutes (figure ours).
    pub wander: Between,
    /// Over-dispersion from minute to minute: errors come together (figure ours; the research has at most 10 %).
    pub dispersion: Between,
    /// Share of edges that speak gRPC.
    pub grpc: f64,
}

/// Bytes that the caller sends with each request: log-normal sizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ByteNoise {
    /// Median over the edges of the mean size, in KiB (figures of bytes are ours: the research has none).
    pub median_kib: f64,
    /// Spread of that mean over the edges.
    pub sigma: f64,
    /// Spread of single requests.
    pub request_sigma: Between,
    /// AR(1) wandering of the mean size, memory 3 to 24 hours.
    pub wander: Between,
}

/// What happens and is no fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BenignEvents {
    /// Bursts of requests; the strength is a factor (research: 0.1 a day, 1 to 3 minutes, x2 to x6).
    pub volume: Occasional,
    /// Slow minutes; the strength is the share of requests in the slow mode (research: 30 to 70 %).
    pub latency: Occasional,
    /// Failing minutes; the strength is a factor on the error rate (research: x5 to x25).
    pub errors: Occasional,
    /// Large uploads; the strength is a factor on the size (ours, as volume).
    pub bytes: Occasional,
    /// Deployments of a service a day. An edge has two ends: 1/8 a day gives it one in 4 days, as in the research.
    pub deployments_a_day: f64,
    /// Chance of a deployment to shift the rate of the edges of that service, and as much to shift their latency
    /// (research: 30 % each).
    pub deployment_shifts: f64,
    /// Standard deviation of such a shift in the logarithm (research: 0.2). A tenth of earlier shifts is taken back
    /// with each, so that years do not drift away.
    pub deployment_sigma: f64,
}

/// What telemetry does to the truth. The research's prototype had nothing of it; all figures are ours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TelemetryNoise {
    /// A reporter (the proxies of one callee) is silent: no counts, no heartbeat. The strength is not used.
    pub gaps: Occasional,
    /// All reporters are silent at once, as when the collector restarts. The strength is not used.
    pub collector_gaps: Occasional,
    /// A reporter samples and says so (`WindowOf::kept`); the strength is the share that is kept.
    pub sampling: Occasional,
    /// A reporter samples and says nothing: a negative control, never by default.
    pub unsaid_sampling: Occasional,
    /// A reporter's clock is wrong for a while; the strength is by how many seconds, forward or back. At its start
    /// and end the windows lack or gain the counts of so many seconds.
    pub clock_steps: Occasional,
}

const NEVER: Occasional =
    Occasional { a_day: 0.0, seconds: between(60.0, 180.0), strength: between(1.0, 1.0) };
const NOTHING: Between = between(0.0, 0.0);
const ALWAYS_ONE: Between = between(1.0, 1.0);

/// Monday, 2023-11-13T00:00:00Z: any week will do, and a Monday is easy to read.
const MONDAY: EventTime = EventTime(1_699_833_600_000_000_000);
const WINDOW: Duration = Duration::from_secs(10);
const LABELS_MAX: usize = 1_000_000;

impl MeshConfig {
    /// A mesh with all noise at its default: windows of 10 s from a Monday on.
    #[must_use]
    pub fn noisy(seed: u64, edges: usize) -> Self {
        Self {
            seed,
            edges,
            window: WINDOW,
            start: MONDAY,
            rates: Rates::default(),
            volume: VolumeNoise::default(),
            latency: LatencyNoise::default(),
            errors: ErrorNoise::default(),
            bytes: ByteNoise::default(),
            events: BenignEvents::default(),
            telemetry: TelemetryNoise::default(),
            control: None,
            labels_max: LABELS_MAX,
        }
    }

    /// The same mesh without any noise but that of counting: Poisson requests, fixed distributions, no event.
    #[must_use]
    pub fn quiet(seed: u64, edges: usize) -> Self {
        Self {
            volume: VolumeNoise::none(),
            latency: LatencyNoise {
                wander: NOTHING,
                slow_wander: 0.0,
                slow_dispersion: NOTHING,
                jitter: 0.0,
                load: NOTHING,
                shared: 0.0,
                ..LatencyNoise::default()
            },
            errors: ErrorNoise { wander: NOTHING, dispersion: NOTHING, ..ErrorNoise::default() },
            bytes: ByteNoise { wander: NOTHING, ..ByteNoise::default() },
            events: BenignEvents::none(),
            telemetry: TelemetryNoise::none(),
            ..Self::noisy(seed, edges)
        }
    }
}

impl VolumeNoise {
    /// A constant rate.
    #[must_use]
    pub fn none() -> Self {
        Self {
            daily: NOTHING,
            half_daily: NOTHING,
            weekend: ALWAYS_ONE,
            short: NOTHING,
            long: NOTHING,
            dispersion: NOTHING,
            shared_short: 0.0,
            shared_long: 0.0,
            shared_loading: NOTHING,
            growth: NOTHING,
            crons: 0.0,
            ..Self::default()
        }
    }
}

impl BenignEvents {
    /// Nothing happens.
    #[must_use]
    pub fn none() -> Self {
        Self {
            volume: NEVER,
            latency: NEVER,
            errors: NEVER,
            bytes: NEVER,
            deployments_a_day: 0.0,
            ..Self::default()
        }
    }
}

impl TelemetryNoise {
    /// Telemetry is complete.
    #[must_use]
    pub fn none() -> Self {
        Self {
            gaps: NEVER,
            collector_gaps: NEVER,
            sampling: NEVER,
            unsaid_sampling: NEVER,
            clock_steps: NEVER,
        }
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self { median: 0.3, sigma: 2.3, bounds: between(0.001, 1_000.0) }
    }
}

impl Default for VolumeNoise {
    fn default() -> Self {
        Self {
            daily: between(0.2, 1.0),
            half_daily: between(0.0, 0.3),
            weekend: between(0.4, 1.0),
            short: between(0.05, 0.25),
            long: between(0.05, 0.25),
            dispersion: between(0.003, 0.1),
            shared_short: 0.05,
            shared_long: 0.1,
            shared_loading: between(0.0, 1.5),
            growth: between(-0.01, 0.01),
            crons: 0.1,
            cron_strength: between(2.0, 8.0),
            cron_seconds: between(60.0, 600.0),
        }
    }
}

impl Default for LatencyNoise {
    fn default() -> Self {
        Self {
            body: between(0.3, 0.8),
            slow_share: between(0.01, 0.04),
            slow_times: between(3.0, 10.0),
            slow_spread: between(0.3, 0.6),
            wander: between(0.1, 0.4),
            slow_wander: 0.4,
            slow_dispersion: between(0.05, 0.3),
            jitter: 0.2,
            load: between(0.0, 0.3),
            shared: 0.05,
        }
    }
}

impl Default for ErrorNoise {
    fn default() -> Self {
        Self {
            median: 0.001,
            client_median: 0.003,
            sigma: 1.0,
            wander: between(0.1, 0.4),
            dispersion: between(0.1, 0.5),
            grpc: 0.4,
        }
    }
}

impl Default for ByteNoise {
    fn default() -> Self {
        Self { median_kib: 1.5, sigma: 1.2, request_sigma: between(0.5, 1.2), wander: between(0.05, 0.2) }
    }
}

impl Default for BenignEvents {
    fn default() -> Self {
        let blip = |low, high| Occasional {
            a_day: 0.1,
            seconds: between(60.0, 180.0),
            strength: between(low, high),
        };
        Self {
            volume: blip(2.0, 6.0),
            latency: blip(0.3, 0.7),
            errors: blip(5.0, 25.0),
            bytes: blip(2.0, 6.0),
            deployments_a_day: 0.125,
            deployment_shifts: 0.3,
            deployment_sigma: 0.2,
        }
    }
}

impl Default for TelemetryNoise {
    fn default() -> Self {
        let minutes = |low: f64, high: f64| between(60.0 * low, 60.0 * high);
        Self {
            gaps: Occasional { a_day: 1.0 / 7.0, seconds: minutes(1.0, 15.0), strength: ALWAYS_ONE },
            collector_gaps: Occasional {
                a_day: 1.0 / 14.0,
                seconds: minutes(1.0, 10.0),
                strength: ALWAYS_ONE,
            },
            sampling: Occasional {
                a_day: 1.0 / 28.0,
                seconds: minutes(120.0, 720.0),
                strength: between(0.1, 0.5),
            },
            unsaid_sampling: NEVER,
            clock_steps: Occasional {
                a_day: 1.0 / 7.0,
                seconds: minutes(10.0, 360.0),
                strength: between(0.2, 5.0),
            },
        }
    }
}
