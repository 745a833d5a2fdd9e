//! Everything around the pipeline, as far as it can fail: the process, the journal, checkpoints, the sink and the mark.
//!
//! The rules are those of the program (`selvedge/src/journal.rs`, `checkpoint.rs`): stored, then taken, then told; the mark
//! follows what was delivered; a restart begins where [`Found::in_order_of_use`] says.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use selvedge_checkpoint::{Checkpoint, Found, Head};
use selvedge_engine::{Effect, Encoding, Mode, Pipeline, RawBatch, RuleSet};
use selvedge_model::{ActionKind, IncidentStatus, SteadyTime};
use selvedge_query::HistoryEnds;
use selvedge_testkit::{RawFrame, Rng};

use crate::common::{self, config};
use crate::mesh;

/// An alert, as a sink that honours the key tells it from others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Told {
    incident: String,
    firing: bool,
}

impl Told {
    pub(crate) fn of(effect: &Effect) -> Option<Self> {
        let Effect::Action(action, incident) = effect else { return None };
        let firing = match action.kind {
            ActionKind::AlertFiring => true,
            ActionKind::AlertResolved => false,
            ActionKind::Quarantine(_) => return None,
        };
        Some(Self { incident: incident.id.clone(), firing })
    }
}

/// A frame of the journal.
pub(crate) struct Stored {
    frame: RawFrame,
    pub(crate) records: u64,
}

/// What happened over all seeds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) kills: u64,
    pub(crate) resumed: u64,
    pub(crate) damaged: u64,
    pub(crate) twice: u64,
    pub(crate) delivered: u64,
}

impl Sums {
    pub(crate) fn add(&mut self, other: &Self) {
        self.kills += other.kills;
        self.resumed += other.resumed;
        self.damaged += other.damaged;
        self.twice += other.twice;
        self.delivered += other.delivered;
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, resumed, damaged, twice, delivered } = self;
        write!(
            f,
            "{kills} kills, {resumed} starts from a checkpoint, {damaged} checkpoints damaged or gone, {twice} batches \
             that came twice, {delivered} alerts delivered"
        )
    }
}

/// A process that has seen nothing but what it was taught.
pub(crate) fn fresh(shards: usize) -> Pipeline {
    let mut pipeline = common::fresh(shards);
    pipeline.set_mode(Mode::Learning);
    let mut nothing = Vec::new();
    for frame in mesh::taught() {
        take(&mut pipeline, &Stored { frame, records: 0 }, &mut nothing);
    }
    pipeline.finish(&mut nothing);
    pipeline.set_mode(Mode::Judging);
    pipeline
}

pub(crate) fn take(pipeline: &mut Pipeline, stored: &Stored, effects: &mut Vec<Effect>) {
    let RawFrame { signal, observed, payload } = &stored.frame;
    let steady = SteadyTime::recorded(*observed);
    pipeline.advance_clock(steady, effects);
    let batch = RawBatch {
        signal: *signal,
        encoding: Encoding::Protobuf,
        body: payload,
        observed: *observed,
        steady,
    };
    pipeline.ingest(batch, effects).unwrap();
}

pub(crate) struct World {
    rng: Rng,
    pipeline: Pipeline,
    journal: Vec<Stored>,
    /// Files, by the number that stands for their path.
    files: Vec<Option<(Head, Vec<u8>)>>,
    sink_up: bool,
    waiting: Vec<Told>,
    delivered: BTreeSet<Told>,
    /// Effects of frames before it were delivered; on disk.
    mark: usize,
    replay: Duration,
    sums: Sums,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        let replay = Duration::from_secs([0, 5, 60][usize::try_from(rng.below(3)).unwrap()]);
        Self {
            rng,
            pipeline: fresh(1),
            journal: Vec::new(),
            files: Vec::new(),
            sink_up: true,
            waiting: Vec::new(),
            delivered: BTreeSet::new(),
            mark: 0,
            replay,
            sums: Sums::default(),
        }
    }

    /// A batch arrives, and something may go wrong.
    pub(crate) fn arrive(&mut self, frame: RawFrame) {
        let records = frame.records().len() as u64;
        self.journal.push(Stored { frame: frame.clone(), records });
        if self.rng.once_in(60) {
            // Stored, and killed before it was taken or acknowledged: its sender comes again.
            self.restart();
            self.sums.twice += 1;
            self.journal.push(Stored { frame, records });
        }
        self.take_newest();
        if self.rng.once_in(12) {
            self.write_checkpoint();
        }
        if self.rng.once_in(30) {
            self.lose_a_checkpoint();
        }
        if self.rng.once_in(15) {
            self.sink_up = !self.sink_up;
        }
        self.deliver();
        if self.rng.once_in(40) {
            self.restart();
        }
    }

    /// The last batch: nothing goes wrong any more.
    pub(crate) fn end(&mut self, frame: RawFrame) {
        let records = frame.records().len() as u64;
        self.journal.push(Stored { frame, records });
        self.take_newest();
        self.sink_up = true;
        self.deliver();
    }

    pub(crate) fn journal(&self) -> &[Stored] {
        &self.journal
    }

    pub(crate) fn pipeline(&mut self) -> &mut Pipeline {
        &mut self.pipeline
    }

    pub(crate) fn delivered(&self) -> &BTreeSet<Told> {
        &self.delivered
    }

    pub(crate) fn sums(&self) -> Sums {
        Sums { delivered: self.delivered.len() as u64, ..self.sums }
    }

    fn take_newest(&mut self) {
        let mut effects = Vec::new();
        take(&mut self.pipeline, &self.journal[self.journal.len() - 1], &mut effects);
        self.waiting.extend(effects.iter().filter_map(Told::of));
    }

    fn deliver(&mut self) {
        if self.sink_up || self.waiting.is_empty() {
            self.delivered.extend(self.waiting.drain(..));
            self.mark = self.journal.len();
        }
    }

    fn write_checkpoint(&mut self) {
        let head =
            Head { position: self.journal.len() as u64, taken_unix_nano: self.now(), ..Head::default() };
        let checkpoint = Checkpoint { head: head.clone(), sections: self.pipeline.save().into_sections() };
        let mut bytes = Vec::new();
        checkpoint.write(&mut bytes).unwrap();
        self.files.push(Some((head, bytes)));
    }

    fn lose_a_checkpoint(&mut self) {
        let Some(at) = self.files.len().checked_sub(1 + usize::try_from(self.rng.below(3)).unwrap()) else {
            return;
        };
        let gone = self.rng.once_in(2);
        let Some((_, bytes)) = &mut self.files[at] else { return };
        self.sums.damaged += 1;
        if gone {
            self.files[at] = None;
        } else {
            let place = usize::try_from(self.rng.below(bytes.len() as u64)).unwrap();
            bytes[place] ^= 0x10;
        }
    }

    fn now(&self) -> u64 {
        self.journal.last().map_or(0, |stored| stored.frame.observed.0)
    }

    /// The process is killed, and another one goes on.
    fn restart(&mut self) {
        self.sums.kills += 1;
        self.waiting.clear();
        let shards = 1 + usize::try_from(self.rng.below(3)).unwrap();
        let mut position = 0;
        self.pipeline = fresh(shards);
        if let Some((head, pipeline)) = self.choose(shards) {
            self.sums.resumed += 1;
            position = usize::try_from(head.position).unwrap();
            if self.mark < position {
                let alerted = pipeline.alerted().map(|incident| Told {
                    incident: incident.id.clone(),
                    firing: incident.status == IncidentStatus::Open,
                });
                self.waiting.extend(alerted);
            }
            self.pipeline = pipeline;
        }
        self.pipeline.begin_recovery(HistoryEnds::default());
        let mut effects = Vec::new();
        for (at, stored) in self.journal.iter().enumerate().skip(position) {
            take(&mut self.pipeline, stored, &mut effects);
            let told = effects.drain(..).filter_map(|effect| Told::of(&effect));
            if self.mark <= at {
                self.waiting.extend(told);
            }
        }
        self.pipeline.end_recovery(SteadyTime(self.now()), Duration::ZERO);
    }

    fn choose(&self, shards: usize) -> Option<(Head, Pipeline)> {
        let readable = |(at, file): (usize, &Option<(Head, Vec<u8>)>)| {
            let (_, bytes) = file.as_ref()?;
            let head = selvedge_checkpoint::format::read_head(&mut bytes.as_slice()).ok()?;
            Some(Found { path: PathBuf::from(at.to_string()), head })
        };
        let found: Vec<Found> = self.files.iter().enumerate().filter_map(readable).collect();
        for one in Found::in_order_of_use(&found, 0, self.replay) {
            let one = one?;
            let at: usize = one.path.to_str().unwrap().parse().unwrap();
            let bytes = &self.files[at].as_ref().unwrap().1;
            let Ok(checkpoint) = Checkpoint::read(&mut bytes.as_slice(), 1 << 30) else { continue };
            let pipeline = Pipeline::resume(&config(shards), RuleSet::shipped(), &checkpoint);
            return Some((one.head.clone(), pipeline.unwrap()));
        }
        None
    }
}
