//! What the micro-benchmarks feed single stages with: a simulated mesh, as its sidecars tell of it and as calls by edge.
//!
//! A package of its own, because the stages need neither network nor database: it builds in a minute. Owns nothing but the
//! set-up; `benches/` has the benchmarks, `cargo xtask bench --micro` runs them. Start reading at [`World`].

use std::collections::BTreeMap;

use selvedge_decode::{DecodeConfig, Decoded, Decoder, Encoding};
use selvedge_detect::{Context, Detector, RuleSet};
use selvedge_join::{Aliases, JoinConfig};
use selvedge_learn::{Baselines, LearnConfig, Provenance};
use selvedge_model::{EdgeKey, EdgeWindow, Observation, SignalKind, SymbolTable, Window};
use selvedge_simulate::otlp::{Frame, Teller};
use selvedge_simulate::{Mesh, MeshConfig, SignalConfig, Signals, SimulatedCall, WindowOf};

/// Edges of the mesh.
pub const EDGES: usize = 200;
const SEED: u64 = 42;
const SYMBOL_BYTES_MAX: usize = 64 << 20;

/// A mesh that goes on from window to window.
pub struct World {
    mesh: Mesh,
    signals: Signals,
    teller: Teller,
}

/// What happened in a window.
pub struct Happened {
    /// Which one.
    pub window: Window,
    /// What the sidecars sent in it.
    pub frames: Vec<Frame>,
    /// Its calls, counted by edge, in the order of their keys.
    pub edges: Vec<(EdgeKey, EdgeWindow)>,
}

impl Default for World {
    fn default() -> Self {
        let mesh = Mesh::new(MeshConfig::quiet(SEED, EDGES));
        let signals = Signals::new(&mesh, SignalConfig::default());
        let teller = Teller::new(&signals);
        Self { mesh, signals, teller }
    }
}

impl World {
    /// Goes on by a window.
    pub fn next_window(&mut self) -> Happened {
        let (mut of, mut calls, mut frames): (Vec<WindowOf>, Vec<SimulatedCall>, Vec<Frame>) =
            Default::default();
        let window = self.mesh.next_window(&mut of);
        self.signals.calls(&self.mesh, window, &of, &mut calls);
        self.teller.window(&self.mesh, &self.signals, (window, &of), &calls, &mut frames);
        let mut edges: BTreeMap<EdgeKey, EdgeWindow> = BTreeMap::new();
        for SimulatedCall { call, .. } in &calls {
            let mut stats = selvedge_model::ShapeStats::default();
            stats.record(call);
            edges.entry(call.edge).or_default().add(call.shape, stats);
        }
        Happened { window, frames, edges: edges.into_iter().collect() }
    }

    /// The names of its calls.
    #[must_use]
    pub fn symbols(&self) -> &SymbolTable {
        self.signals.symbols()
    }
}

/// A decoder with its table of names.
pub struct Reader {
    decoder: Decoder,
    symbols: SymbolTable,
    decoded: Decoded,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            decoder: Decoder::new(DecodeConfig::default()),
            symbols: SymbolTable::new(SYMBOL_BYTES_MAX),
            decoded: Decoded::default(),
        }
    }
}

impl Reader {
    /// What is in a frame; a frame of the simulator's is never refused.
    ///
    /// # Panics
    /// When it is.
    pub fn read(&mut self, frame: &Frame) -> &Decoded {
        let Self { decoder, symbols, decoded } = self;
        decoder
            .decode(frame.signal, Encoding::Protobuf, &frame.payload, frame.observed, symbols, decoded)
            .expect("the simulator writes what the decoder reads");
        &self.decoded
    }
}

/// The frames of one signal.
#[must_use]
pub fn of_signal(frames: &[Frame], signal: SignalKind) -> Vec<&Frame> {
    frames.iter().filter(|frame| frame.signal == signal).collect()
}

/// The log records and spans of frames, each with the key of its request.
#[must_use]
pub fn observations(frames: &[Frame], config: &JoinConfig) -> Vec<(Option<u128>, Observation)> {
    let (mut reader, mut aliases) = (Reader::default(), Aliases::new(config));
    let mut observations = Vec::new();
    for frame in frames {
        for observation in &reader.read(frame).observations {
            observations.push((aliases.key_of(observation.trace_id, observation.request_id), *observation));
        }
    }
    observations
}

/// Detector and baselines, as the pipeline drives them when windows close.
#[derive(Clone)]
pub struct Known {
    /// What every edge normally does.
    pub baselines: Baselines,
    /// What tells deviations.
    pub detector: Detector,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            baselines: Baselines::new(LearnConfig::default()),
            detector: Detector::new(RuleSet::shipped(), Default::default()),
        }
    }
}

impl Known {
    /// Judges the edges of a window; how many findings there were.
    pub fn judge(&mut self, happened: &Happened, symbols: &SymbolTable) -> usize {
        let refs = refs(happened);
        let ended = self.baselines.norms_mut().judge(happened.window, &refs);
        let now = happened.window.end;
        let cx = Context { symbols, baselines: &self.baselines, now, learning: false };
        let findings = self.detector.end(&cx, &ended).len();
        findings + self.detector.judge_window(&cx, happened.window, &refs).len()
    }

    /// Learns the edges of a window that was judged.
    pub fn learn(&mut self, happened: &Happened, symbols: &SymbolTable) {
        let Self { baselines, detector } = self;
        let teaching = |reading: &_, calls: Option<&_>| detector.teaching(reading, calls);
        baselines.norms_mut().learn(happened.window, &refs(happened), &teaching);
        for (key, edge) in &happened.edges {
            let flagged = |shape: &_| detector.flagged(key, shape);
            baselines.learn(happened.window, *key, edge, &flagged, Provenance::Learned, symbols);
        }
        baselines.finish_window(happened.window);
        detector.window_done(happened.window);
    }
}

fn refs(happened: &Happened) -> Vec<(EdgeKey, &EdgeWindow)> {
    happened.edges.iter().map(|(key, edge)| (*key, edge)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_records_of_both_kinds_and_calls_on_most_edges() {
        let mut world = World::default();
        world.next_window();
        let happened = world.next_window();
        assert!(happened.edges.len() > EDGES / 2, "{} edges", happened.edges.len());
        for signal in [SignalKind::Traces, SignalKind::Logs] {
            assert!(!of_signal(&happened.frames, signal).is_empty(), "{signal:?}");
        }
        let keyed = observations(&happened.frames, &JoinConfig::default());
        assert!(keyed.len() > 1_000 && keyed.iter().all(|(key, _)| key.is_some()), "{}", keyed.len());
    }

    #[test]
    fn what_is_judged_is_learned() {
        let (mut world, mut known) = (World::default(), Known::default());
        let happened = world.next_window();
        known.judge(&happened, world.symbols());
        known.learn(&happened, world.symbols());
        assert_eq!(known.baselines.edges().count(), happened.edges.len());
    }
}
