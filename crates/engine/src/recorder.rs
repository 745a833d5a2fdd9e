//! What is kept for SQL: appended to where it is named, on the thread that knows the names.

use std::sync::Arc;

use selvedge_model::{Call, EventTime, MetricPoint, Observation, ObservationKind, SymbolTable};
use selvedge_query::{HistoryEnds, SealedSegment, Snapshot, Store, StoreConfig, Watched};

use crate::overload::Overload;

/// The store of a pipeline; does nothing when nothing is to be kept.
pub(crate) struct Recorder {
    store: Option<Store>,
    paused: bool,
    /// Rows up to here stand in the history already.
    written: HistoryEnds,
}

impl Recorder {
    pub(crate) fn new(config: Option<&StoreConfig>) -> Self {
        Self { store: config.map(Store::new), paused: false, written: HistoryEnds::default() }
    }

    /// Whether what comes from now on is left out.
    pub(crate) fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Leaves out rows up to these times: a process before us has written them down.
    pub(crate) fn skip_until(&mut self, written: HistoryEnds) {
        self.written = written;
    }

    pub(crate) fn observation(&mut self, observation: &Observation) {
        let written = if observation.kind == ObservationKind::Span {
            self.written.spans
        } else {
            self.written.log_records
        };
        if let Some(store) = self.writable().filter(|_| unwritten(observation.end, written)) {
            store.append_observation(observation);
        }
    }

    pub(crate) fn points(&mut self, points: &[MetricPoint]) {
        let written = self.written.metric_points;
        if let Some(store) = self.writable() {
            points
                .iter()
                .filter(|point| unwritten(point.time, written))
                .for_each(|point| store.append_point(point));
        }
    }

    /// Keeps the calls, and empties the list.
    pub(crate) fn calls(&mut self, calls: &mut Vec<Call>) {
        let written = self.written.calls;
        if let Some(store) = self.writable() {
            let unwritten = calls.iter().filter(|call| unwritten(call.end, written));
            unwritten.for_each(|call| store.append_call(call));
        }
        calls.clear();
    }

    /// What the limits of the store did.
    pub(crate) fn overloads(&self) -> [Overload; 2] {
        let sizes = self.store.as_ref().map(Store::sizes).into_iter().flatten();
        let (dropped, unwritten) = sizes.fold((0, 0), |(dropped, unwritten), size| {
            (dropped + size.dropped_rows, unwritten + size.unwritten_rows)
        });
        [
            Overload::new("sql_rows", "oldest_segment_first", dropped),
            Overload::new("sql_history_waiting", "oldest_segment_first", unwritten),
        ]
    }

    fn writable(&mut self) -> Option<&mut Store> {
        if self.paused { None } else { self.store.as_mut() }
    }
}

/// Whether a row is not in a history that ends there.
fn unwritten(at: EventTime, written: EventTime) -> bool {
    !written.present() || written < at
}

/// The store, and the table of all its symbols.
pub struct Recorded<'a> {
    recorder: &'a mut Recorder,
    symbols: &'a SymbolTable,
}

impl<'a> Recorded<'a> {
    pub(crate) fn new(recorder: &'a mut Recorder, symbols: &'a SymbolTable) -> Self {
        Self { recorder, symbols }
    }

    /// True when something is kept.
    #[must_use]
    pub fn on(&self) -> bool {
        self.recorder.store.is_some()
    }

    /// Replaces what is known and found.
    pub fn watch(self, watched: Watched) {
        if let Some(store) = &mut self.recorder.store {
            store.watch(Arc::new(watched));
        }
    }

    /// Everything as it is now; `None` when nothing is kept.
    #[must_use]
    pub fn snapshot(self) -> Option<Arc<Snapshot>> {
        Some(self.recorder.store.as_mut()?.snapshot(self.symbols))
    }

    /// Segments sealed since the last time, for a history.
    #[must_use]
    pub fn take_sealed(self) -> Vec<SealedSegment> {
        self.recorder.store.as_mut().map_or_else(Vec::new, |store| store.take_sealed(self.symbols))
    }

    /// The input ended: seals what is open, and takes it.
    #[must_use]
    pub fn seal(self) -> Vec<SealedSegment> {
        if let Some(store) = &mut self.recorder.store {
            store.seal();
        }
        self.take_sealed()
    }
}
