//! Plays captures through one engine, in the order given, each advancing the virtual clock.

use std::path::{Path, PathBuf};
use std::time::Duration;

use selvedge_decode::{Decoded, Decoder};
use selvedge_engine::{Effect, Encoding, EngineConfig, Mode, Pipeline, RawBatch, RuleSet, Stats};
use selvedge_model::{Incident, ObservedTime, SteadyTime, SymbolTable};

use crate::capture::{CaptureError, CaptureReader, Frame, FrameEncoding};
use crate::transcript::Transcript;

/// Room for the names of one frame when its receipt time has to be guessed.
const GUESS_SYMBOL_BYTES_MAX: usize = 1 << 20;

/// A replay that could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A capture could not be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A capture holds no frame at all.
    #[error("{} holds no telemetry", .0.display())]
    Empty(PathBuf),
}

/// What the caller does between frames: show progress, keep pace with the recording.
pub trait Pace {
    /// Called before each frame with the time since the previous one and the bytes of the file read so far.
    fn frame(&mut self, capture: &Path, since_previous: Duration, bytes_read: u64, bytes_total: u64);
}

/// A capture that ended in the middle of a frame.
#[derive(Clone, Debug)]
pub struct TornCapture {
    /// The file.
    pub path: PathBuf,
    /// Where the last whole frame ends, and what was wrong after it.
    pub what: String,
}

/// What a replay gave.
#[derive(Debug, Default)]
pub struct Played {
    /// Everything that happened, in order.
    pub transcript: Transcript,
    /// Incidents in their final state, by opening time.
    pub incidents: Vec<Incident>,
    /// Totals.
    pub stats: Stats,
    /// Frames played.
    pub frames: u64,
    /// Frames whose body was not a message: counted, and gone on after.
    pub frames_malformed: u64,
    /// What was wrong with the first of them.
    pub first_malformed: Option<String>,
    /// Captures that were cut at their last whole frame.
    pub torn: Vec<TornCapture>,
}

/// Plays `learn` as an approved baseline, then judges `judge`.
///
/// # Errors
/// A capture cannot be read or holds nothing. A torn tail or a malformed frame is reported in [`Played`] instead.
pub fn play(
    config: &EngineConfig,
    rules: RuleSet,
    learn: &[PathBuf],
    judge: &[PathBuf],
    pace: &mut dyn Pace,
) -> Result<Played, ReplayError> {
    let mut pipeline = Pipeline::new(config, rules);
    let mut played = Played::default();
    for (mode, captures) in [(Mode::Learning, learn), (Mode::Judging, judge)] {
        pipeline.set_mode(mode);
        for path in captures {
            play_capture(&mut pipeline, path, pace, &mut played)?;
        }
    }
    Ok(played.sum_up(&pipeline))
}

/// Judges captures by a pipeline that the caller goes on to look into.
///
/// # Errors
/// As [`play`].
pub fn judge(
    pipeline: &mut Pipeline,
    captures: &[PathBuf],
    pace: &mut dyn Pace,
) -> Result<Played, ReplayError> {
    let mut played = Played::default();
    pipeline.set_mode(Mode::Judging);
    for path in captures {
        play_capture(pipeline, path, pace, &mut played)?;
    }
    Ok(played.sum_up(pipeline))
}

impl Played {
    fn sum_up(mut self, pipeline: &Pipeline) -> Self {
        self.incidents = pipeline.incidents().cloned().collect();
        self.stats = pipeline.stats();
        self
    }
}

/// Takes a capture as an approved baseline of an engine that goes on to judge something else.
///
/// # Errors
/// The capture cannot be read or holds nothing.
pub fn teach(pipeline: &mut Pipeline, capture: &Path) -> Result<(), ReplayError> {
    pipeline.set_mode(Mode::Learning);
    let taught = play_capture(pipeline, capture, &mut Unpaced, &mut Played::default());
    pipeline.set_mode(Mode::Judging);
    taught
}

/// No progress, no waiting.
struct Unpaced;

impl Pace for Unpaced {
    fn frame(&mut self, _capture: &Path, _since_previous: Duration, _bytes_read: u64, _bytes_total: u64) {}
}

fn play_capture(
    pipeline: &mut Pipeline,
    path: &Path,
    pace: &mut dyn Pace,
    played: &mut Played,
) -> Result<(), ReplayError> {
    let mut reader = CaptureReader::open(path)?;
    let mut effects = Vec::new();
    let mut clock = ObservedTime(0);
    let mut frames = 0_u64;
    while let Some(frame) = reader.next() {
        let frame = frame?;
        let observed = frame.observed.unwrap_or_else(|| guess_observed(&frame)).max(clock);
        let since = if clock.0 == 0 { Duration::ZERO } else { Duration::from_nanos(observed.0 - clock.0) };
        clock = observed;
        pace.frame(path, since, reader.bytes_read(), reader.bytes_total());
        let steady = SteadyTime::recorded(observed);
        pipeline.advance_clock(steady, &mut effects);
        let encoding = match frame.encoding {
            FrameEncoding::Protobuf => Encoding::Protobuf,
            FrameEncoding::Json => Encoding::Json,
        };
        let batch = RawBatch { signal: frame.signal, encoding, body: &frame.body, observed, steady };
        if let Err(error) = pipeline.ingest(batch, &mut effects) {
            played.frames_malformed += 1;
            played
                .first_malformed
                .get_or_insert_with(|| format!("{}: frame {}: {error}", path.display(), frames + 1));
        }
        frames += 1;
        record(&mut effects, &mut played.transcript);
    }
    pipeline.finish(&mut effects);
    record(&mut effects, &mut played.transcript);
    if let Some(tail) = reader.tail() {
        played.torn.push(TornCapture { path: path.to_owned(), what: tail.to_string() });
    }
    let unreadable = reader.unreadable();
    played.frames_malformed += unreadable.frames;
    if let Some(first) = &unreadable.first {
        let what = || format!("{}: byte {}: {}", path.display(), first.at_byte, first.reason);
        played.first_malformed.get_or_insert_with(what);
    }
    if frames == 0 {
        return Err(ReplayError::Empty(path.to_owned()));
    }
    played.frames += frames;
    Ok(())
}

fn record(effects: &mut Vec<Effect>, transcript: &mut Transcript) {
    effects.drain(..).for_each(|effect| transcript.record(effect));
}

/// A capture without receipt times was received, as far as we can know, when its newest record ended.
fn guess_observed(frame: &Frame) -> ObservedTime {
    let encoding = match frame.encoding {
        FrameEncoding::Protobuf => Encoding::Protobuf,
        FrameEncoding::Json => Encoding::Json,
    };
    let (mut decoded, mut symbols) = (Decoded::default(), SymbolTable::new(GUESS_SYMBOL_BYTES_MAX));
    let whenever = ObservedTime(u64::MAX);
    let mut decoder = Decoder::new(EngineConfig::default().decode);
    if decoder.decode(frame.signal, encoding, &frame.body, whenever, &mut symbols, &mut decoded).is_err() {
        return ObservedTime(0);
    }
    let ends = decoded.observations.iter().map(|observation| observation.end.0);
    let points = decoded.points.iter().map(|point| point.time.0);
    // A record without any time takes the time of its receipt, which is what we are looking for.
    ObservedTime(ends.chain(points).filter(|end| *end != u64::MAX).max().unwrap_or(0))
}
