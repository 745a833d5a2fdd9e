//! One edge: from what it usually does at a minute, its events and its faults to the counts of a window.

use selvedge_model::{EdgeCounts, EventTime, Measure};

use crate::config::MeshConfig;
use crate::draw::{Draw, Purpose, float};
use crate::events::EdgeEvents;
use crate::fault::{Effect, Fault};
use crate::label::Labels;
use crate::latency::LatencyNow;
use crate::mesh::WindowOf;
use crate::reporter::View;
use crate::topology::EdgeSpec;
use crate::weather::{LOAD, Minute, SharedWeather, Weather};

/// The state of one edge.
#[derive(Clone, Debug)]
pub(crate) struct MeshEdge {
    weather: Weather,
    minute: Minute,
    draw: Draw,
    events: EdgeEvents,
    faults: Vec<Fault>,
    slow_dispersion: f64,
    jitter: f64,
    load: f64,
    /// Squared coefficient of variation of the size of a request.
    size_variation: f64,
    /// KiB of an exfiltration that wait for a request to leave with.
    waiting_kib: f64,
    /// A new version of either end was not seen yet.
    new_version: bool,
}

impl MeshEdge {
    pub(crate) fn new(
        config: &MeshConfig,
        index: u64,
        spec: &EdgeSpec,
        shared: &SharedWeather,
        from: EventTime,
    ) -> Self {
        let mut weather = Weather::new(config, index, spec);
        let mut draw = Draw::new(config.seed, Purpose::Counts, index);
        let request_sigma = draw.within(config.bytes.request_sigma);
        Self {
            minute: weather.step(crate::mesh::minute_of(from), shared, spec),
            slow_dispersion: draw.within(config.latency.slow_dispersion),
            jitter: config.latency.jitter * spec.latency.wander,
            load: draw.within(config.latency.load),
            size_variation: (request_sigma * request_sigma).exp_m1(),
            events: EdgeEvents::new(config, index, from),
            faults: Vec::new(),
            waiting_kib: 0.0,
            new_version: false,
            weather,
            draw,
        }
    }

    pub(crate) fn inject(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub(crate) fn deploy(&mut self, rate: f64, latency: f64) {
        self.weather.deploy(rate, latency);
        self.new_version = true;
    }

    pub(crate) fn step(&mut self, minute: u64, shared: &SharedWeather, spec: &EdgeSpec) {
        self.minute = self.weather.step(minute, shared, spec);
    }

    /// What is reported of the window that starts now.
    pub(crate) fn window(
        &mut self,
        now: EventTime,
        (index, spec): (usize, &EdgeSpec),
        view: &View,
        labels: &mut Labels,
    ) -> WindowOf {
        let mut effect = self.events.effect(now, index, labels);
        if !self.faults.is_empty() {
            self.faults.retain(|fault| now < fault.end);
            for fault in self.faults.iter().filter(|fault| fault.start <= now) {
                effect.add(fault, now);
            }
        }
        let counts = self.counts(spec, &effect, view);
        if view.silent {
            return WindowOf { counts: EdgeCounts::default(), heartbeat: false, deployed: false, kept: 1.0 };
        }
        let deployed = self.new_version && counts.requests > 0;
        self.new_version &= !deployed;
        WindowOf { counts, heartbeat: true, deployed, kept: view.said }
    }

    fn counts(&mut self, spec: &EdgeSpec, effect: &Effect, view: &View) -> EdgeCounts {
        self.waiting_kib += effect.kib_a_second * view.seconds * view.kept;
        let frailty = self.draw.frailty(self.minute.dispersion);
        let mean = self.minute.rate * effect.rate * frailty * view.seconds * view.kept;
        let requests = self.draw.poisson(mean);
        let mut found = EdgeCounts { requests, ..EdgeCounts::default() };
        if requests == 0 {
            return found;
        }
        let mut set = |measure: Measure, count: u64| found.counts[measure as usize] = count;
        set(Measure::Requests, requests);
        set(Measure::SentKib, self.sent_kib(requests, effect));
        let (mut slower, mut exceeding) = (requests, 1.0);
        let cells = [Measure::OverMedian, Measure::OverQ90, Measure::OverQ99, Measure::OverTwiceQ99];
        for (measure, above) in cells.into_iter().zip(self.exceeding(spec, effect)) {
            // Nested: of those above the last cut, so many are above this one too.
            slower = self.draw.binomial(slower, if exceeding > 0.0 { above / exceeding } else { 0.0 });
            exceeding = above;
            set(measure, slower);
        }
        let mut left = requests;
        let errors = [Measure::ClientErrors, Measure::ServerErrors, Measure::GrpcErrors];
        for (measure, rate) in errors.into_iter().zip(effect.failing(self.minute.failing, spec.protocol)) {
            let failed = self.draw.binomial(left, rate);
            left -= failed;
            set(measure, failed);
        }
        found
    }

    /// How likely a request of this window is to exceed each cut.
    fn exceeding(&mut self, spec: &EdgeSpec, effect: &Effect) -> [f64; 4] {
        let more = effect.rate.ln();
        let load = (self.minute.load + more).clamp(LOAD.low, LOAD.high);
        let noise = self.minute.noise;
        let jitter = noise * self.jitter * self.draw.normal();
        let scale = self.minute.scale + self.load * load + jitter + effect.scale;
        let together = self.draw.frailty(self.slow_dispersion * noise * noise);
        let slow_share =
            (self.minute.slow_share * together * effect.slow_times).max(effect.slow_min).min(1.0);
        spec.latency.exceeding(&LatencyNow { scale, slow_share, slower: effect.slower })
    }

    /// The sum of log-normal sizes, as the log-normal with its mean and variance (Fenton 1960): heavy-tailed for one
    /// request, normal for many.
    fn sent_kib(&mut self, requests: u64, effect: &Effect) -> u64 {
        let requests = float(requests);
        let variance = (self.size_variation / requests).ln_1p();
        let factor = (variance.sqrt() * self.draw.normal() - 0.5 * variance).exp();
        let sent = requests * self.minute.kib * effect.size * factor + std::mem::take(&mut self.waiting_kib);
        crate::draw::whole(sent.ceil()).max(1)
    }
}
