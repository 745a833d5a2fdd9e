//! What an edge usually does at a minute: season, wandering, growth, versions. Faults leave it alone.

use std::f64::consts::TAU;

use crate::config::{Between, MeshConfig, between};
use crate::draw::{Draw, Purpose, float};
use crate::topology::EdgeSpec;

const SHORT_MINUTES: Between = between(5.0, 60.0);
const LONG_MINUTES: Between = between(180.0, 1_440.0);
const SHARED_SHORT_MINUTES: f64 = 20.0;
const SHARED_LONG_MINUTES: f64 = 360.0;
const SHARED_LATENCY_MINUTES: f64 = 30.0;
const DAY_MINUTES: u64 = 1_440;
/// Growth is drawn anew after so many minutes: four weeks.
const GROWTH_MINUTES: u64 = 28 * DAY_MINUTES;
/// The busiest hour of the mesh, and how edges differ (standard deviation in hours).
const PEAK_HOUR: f64 = 14.0;
const PEAK_SIGMA: f64 = 2.0;
/// The weekend comes and goes over so many hours on each side of midnight.
const WEEKEND_SLOPE_HOURS: f64 = 2.0;
/// A rolling update moves this share of the way each minute: nine tenths are there after seven.
const ROLLOUT_A_MINUTE: f64 = 0.3;
/// What stays of earlier shifts when a deployment adds one (config: `deployment_sigma`).
const SHIFT_KEPT: f64 = 0.9;
/// Latency follows load within these bounds of ln(rate / usual rate).
pub(crate) const LOAD: Between = between(-2.0, 3.0);

/// Autoregressive noise of order 1 in steps of a minute, with a fixed stationary deviation.
#[derive(Clone, Copy, Debug)]
struct Wander {
    value: f64,
    keep: f64,
    push: f64,
}

impl Wander {
    /// Starts in its stationary distribution.
    fn new(sigma: f64, minutes: f64, draw: &mut Draw) -> Self {
        let keep = (-1.0 / minutes).exp();
        Self { value: sigma * draw.normal(), keep, push: sigma * (1.0 - keep * keep).sqrt() }
    }

    fn step(&mut self, draw: &mut Draw) -> f64 {
        self.value = self.keep * self.value + self.push * draw.normal();
        self.value
    }
}

/// What all edges feel.
#[derive(Clone, Debug)]
pub(crate) struct SharedWeather {
    draw: Draw,
    short: Wander,
    long: Wander,
    slow: Wander,
    /// Logarithm of the shared factor on rates.
    pub(crate) rate: f64,
    /// Logarithm of the shared factor on latency.
    pub(crate) latency: f64,
    /// Factor on all deviations: 1 but under a negative control.
    pub(crate) noise: f64,
}

impl SharedWeather {
    pub(crate) fn new(config: &MeshConfig) -> Self {
        let mut draw = Draw::new(config.seed, Purpose::Shared, 0);
        let short = Wander::new(config.volume.shared_short, SHARED_SHORT_MINUTES, &mut draw);
        let long = Wander::new(config.volume.shared_long, SHARED_LONG_MINUTES, &mut draw);
        let slow = Wander::new(config.latency.shared, SHARED_LATENCY_MINUTES, &mut draw);
        Self { draw, short, long, slow, rate: 0.0, latency: 0.0, noise: 1.0 }
    }

    pub(crate) fn step(&mut self) {
        self.rate = self.short.step(&mut self.draw) + self.long.step(&mut self.draw);
        self.latency = self.slow.step(&mut self.draw);
    }
}

/// Daily and weekly season: logarithm of a factor with mean 1 over a week.
#[derive(Clone, Copy, Debug)]
struct Season {
    daily: f64,
    half_daily: f64,
    peak: f64,
    half_peak: f64,
    weekend: f64,
    mean: f64,
}

impl Season {
    fn new(config: &MeshConfig, draw: &mut Draw) -> Self {
        let volume = &config.volume;
        let mut season = Self {
            daily: draw.within(volume.daily),
            half_daily: draw.within(volume.half_daily),
            peak: PEAK_HOUR + PEAK_SIGMA * draw.normal(),
            half_peak: 12.0 * draw.uniform(),
            weekend: draw.log_within(volume.weekend).ln(),
            mean: 0.0,
        };
        let week = (0..7 * DAY_MINUTES).step_by(30).map(|minute| season.at(minute).exp());
        let (sum, count) = week.fold((0.0, 0.0), |(sum, count), factor| (sum + factor, count + 1.0));
        season.mean = (sum / count).ln();
        season
    }

    fn at(&self, minute: u64) -> f64 {
        let hour = float(minute % DAY_MINUTES) / 60.0;
        let daily = self.daily * (TAU * (hour - self.peak) / 24.0).cos();
        let half = self.half_daily * (TAU * (hour - self.half_peak) / 12.0).cos();
        daily + half + self.weekend * weekend(minute) - self.mean
    }
}

/// How much of a weekend it is at a minute since the epoch: 1 on Saturday and Sunday, with slopes.
fn weekend(minute: u64) -> f64 {
    // The epoch was a Thursday, so the middle of a weekend, the first second of a Sunday, is 72 hours into its week.
    let hours = float(minute % (7 * DAY_MINUTES)) / 60.0;
    let from_middle = ((hours - 72.0 + 84.0) % 168.0 - 84.0).abs();
    (0.5 + (24.0 - from_middle) / (2.0 * WEEKEND_SLOPE_HOURS)).clamp(0.0, 1.0)
}

/// What an edge usually does at one minute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Minute {
    /// Requests a second.
    pub(crate) rate: f64,
    /// Logarithm of (rate / usual rate), without the over-dispersion of this minute.
    pub(crate) load: f64,
    /// Over-dispersion of the request rate.
    pub(crate) dispersion: f64,
    /// Factor on deviations within the minute.
    pub(crate) noise: f64,
    /// Added to the logarithm of all latencies, beside what load adds.
    pub(crate) scale: f64,
    /// Share of the slow mode.
    pub(crate) slow_share: f64,
    /// Rates of 4xx, 5xx and gRPC failures.
    pub(crate) failing: [f64; 3],
    /// Mean size of a request, in KiB.
    pub(crate) kib: f64,
}

/// The weather of one edge.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    draw: Draw,
    season: Season,
    short: Wander,
    long: Wander,
    fast_latency: Wander,
    slow_latency: Wander,
    slow_share: Wander,
    failing: Wander,
    size: Wander,
    loading: f64,
    dispersion: f64,
    error_dispersion: f64,
    growth: Growth,
    rate_shift: Shift,
    latency_shift: Shift,
}

/// Slow growth: a piecewise constant slope.
#[derive(Clone, Copy, Debug)]
struct Growth {
    bounds: Between,
    a_minute: f64,
    epoch: u64,
    value: f64,
}

/// What versions have changed: the logarithm, and where a rolling update moves it to.
#[derive(Clone, Copy, Debug, Default)]
struct Shift {
    value: f64,
    target: f64,
}

impl Shift {
    fn by(&mut self, shift: f64) {
        if shift != 0.0 {
            self.target = SHIFT_KEPT * self.target + shift;
        }
    }

    fn step(&mut self) -> f64 {
        self.value += ROLLOUT_A_MINUTE * (self.target - self.value);
        self.value
    }
}

impl Growth {
    fn step(&mut self, minute: u64, draw: &mut Draw) -> f64 {
        if self.epoch != minute / GROWTH_MINUTES {
            self.epoch = minute / GROWTH_MINUTES;
            self.a_minute = draw.within(self.bounds) / float(DAY_MINUTES);
        }
        self.value += self.a_minute;
        self.value
    }
}

impl Weather {
    pub(crate) fn new(config: &MeshConfig, index: u64, spec: &EdgeSpec) -> Self {
        let mut draw = Draw::new(config.seed, Purpose::Weather, index);
        let d = &mut draw;
        let (volume, latency, errors) = (&config.volume, &config.latency, &config.errors);
        let wander = |sigma: f64, minutes: Between, d: &mut Draw| {
            let minutes = d.log_within(minutes);
            Wander::new(sigma, minutes, d)
        };
        let half = spec.latency.wander * std::f64::consts::FRAC_1_SQRT_2;
        let season = Season::new(config, d);
        let (short, long) = (d.within(volume.short), d.within(volume.long));
        let (failing, size) = (d.within(errors.wander), d.within(config.bytes.wander));
        Self {
            season,
            short: wander(short, SHORT_MINUTES, d),
            long: wander(long, LONG_MINUTES, d),
            fast_latency: wander(half, SHORT_MINUTES, d),
            slow_latency: wander(half, LONG_MINUTES, d),
            slow_share: wander(latency.slow_wander, SHORT_MINUTES, d),
            failing: wander(failing, SHORT_MINUTES, d),
            size: wander(size, LONG_MINUTES, d),
            loading: d.within(volume.shared_loading),
            dispersion: d.within(volume.dispersion),
            error_dispersion: d.within(errors.dispersion),
            growth: Growth { bounds: volume.growth, a_minute: 0.0, epoch: u64::MAX, value: 0.0 },
            rate_shift: Shift::default(),
            latency_shift: Shift::default(),
            draw,
        }
    }

    /// A deployment of either end begins.
    pub(crate) fn deploy(&mut self, rate: f64, latency: f64) {
        self.rate_shift.by(rate);
        self.latency_shift.by(latency);
    }

    /// The next minute. Minutes are asked for one by one.
    pub(crate) fn step(&mut self, minute: u64, shared: &SharedWeather, spec: &EdgeSpec) -> Minute {
        let (draw, noise) = (&mut self.draw, shared.noise);
        let wandering = noise * (self.short.step(draw) + self.long.step(draw) + self.loading * shared.rate);
        let lasting = self.growth.step(minute, draw) + self.rate_shift.step();
        let load = self.season.at(minute) + wandering + lasting;
        let slower =
            self.fast_latency.step(draw) + self.slow_latency.step(draw) + self.loading * shared.latency;
        let scale = noise * slower + self.latency_shift.step();
        let slow_share = (spec.latency.slow_share * (noise * self.slow_share.step(draw)).exp()).min(1.0);
        let failing = (noise * self.failing.step(draw)).exp();
        let kib = spec.request_kib * (noise * self.size.step(draw)).exp();
        let dispersion = self.dispersion * noise * noise;
        let rate = spec.usual_rate * load.exp() * draw.frailty(dispersion);
        let failing = spec.error_rates.map(|usual| match usual {
            0.0 => 0.0,
            usual => usual * failing * draw.frailty(self.error_dispersion * noise * noise),
        });
        Minute { rate, load, dispersion, noise, scale, slow_share, failing, kib }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weekend_is_saturday_and_sunday_with_slopes_at_its_midnights() {
        // 2023-11-18 was a Saturday; 1_700_265_600 is its first second.
        let saturday: u64 = 1_700_265_600 / 60;
        let at = |hours: i64| weekend(saturday.strict_add_signed(hours * 60));
        let expected =
            [(-3, 0.0), (0, 0.5), (3, 1.0), (24, 1.0), (45, 1.0), (48, 0.5), (51, 0.0), (165, 0.0)];
        for (hours, expected) in expected {
            assert!((at(hours) - expected).abs() < 1e-9, "{hours} h: {}", at(hours));
        }
    }

    #[test]
    fn wandering_has_its_deviation_and_its_memory() {
        let mut draw = Draw::new(3, Purpose::Weather, 0);
        let mut wander = Wander::new(0.2, 30.0, &mut draw);
        let values: Vec<f64> = (0..400_000).map(|_| wander.step(&mut draw)).collect();
        let count = float(values.len() as u64);
        let variance = values.iter().map(|value| value * value).sum::<f64>() / count;
        assert!((variance.sqrt() - 0.2).abs() < 0.01, "{}", variance.sqrt());
        let later = values.iter().zip(&values[30..]).map(|(now, later)| now * later).sum::<f64>() / count;
        assert!((later / variance - (-1.0_f64).exp()).abs() < 0.05, "{}", later / variance);
    }
}
