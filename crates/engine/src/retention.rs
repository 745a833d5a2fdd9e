//! What of the journal the engine still needs: for its open windows, and for the span that a restart reads again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use selvedge_join::JoinConfig;
use selvedge_model::{EventTime, ObservedTime};
use selvedge_receive::journal::{Position, Retention};

/// Samples over the span that is kept: the journal keeps at most this fraction more than it must.
const SAMPLES: u32 = 64;

/// How far the engine has come: the position behind the last batch whose effects were handed over.
#[derive(Clone, Debug, Default)]
pub struct Handed(Arc<AtomicU64>);

impl Handed {
    /// The position now.
    #[must_use]
    pub fn before(&self) -> Position {
        Position(self.0.load(Ordering::Acquire))
    }
}

/// Follows positions and event time.
pub(crate) struct Keeper {
    retention: Retention,
    replay: Duration,
    /// A batch feeds no open window once the watermark is this far past the event time at which it was taken.
    windows: Duration,
    step: Duration,
    /// Event time, and the position up to which batches were taken by then. Oldest first, a step apart.
    samples: VecDeque<(EventTime, Position)>,
    /// What is before it is older than the span.
    old: Position,
    /// When the last batch was received: it stands in for event time where nothing tells that, as in a stream of metrics.
    received: ObservedTime,
    /// There is event time.
    timed: bool,
    next: Position,
    handed: Handed,
    /// The position of the checkpoint that a restart would begin with, when there are checkpoints.
    checkpoint: Option<Arc<AtomicU64>>,
}

impl Keeper {
    pub(crate) fn new(retention: Retention, replay: Duration, join: &JoinConfig) -> Self {
        let windows = join.window_length + join.allowed_lateness;
        Self {
            retention,
            replay: replay.max(windows),
            windows,
            step: (replay / SAMPLES).max(Duration::from_millis(1)),
            samples: VecDeque::new(),
            old: Position::default(),
            received: ObservedTime::default(),
            timed: false,
            next: Position::default(),
            handed: Handed::default(),
            checkpoint: None,
        }
    }

    /// From now on nothing is released behind the checkpoint that a restart would begin with, whose position is in `begin`.
    pub(crate) fn await_checkpoints(&mut self, begin: Arc<AtomicU64>) {
        self.checkpoint = Some(begin);
    }

    /// What is before `position` was taken by another process.
    pub(crate) fn begin_at(&mut self, position: Position) {
        self.next = position;
    }

    /// The position behind the last batch that was taken.
    pub(crate) fn next(&self) -> Position {
        self.next
    }

    pub(crate) fn handed(&self) -> Handed {
        self.handed.clone()
    }

    /// A batch went through the pipeline; its newest record is no newer than `frontier`.
    pub(crate) fn took(&mut self, position: Position, frontier: EventTime, received: ObservedTime) {
        self.next = position.next();
        self.received = self.received.max(received);
        if frontier.present() && !std::mem::replace(&mut self.timed, true) {
            // The first event time: senders' clocks need not be ours. What was before it is as new as it, at most.
            self.samples.iter_mut().for_each(|(at, _)| *at = frontier);
        }
        let now = self.now(frontier);
        if self.samples.back().is_none_or(|(last, _)| last.after(self.step) <= now) {
            self.samples.push_back((now, self.next));
        }
    }

    fn now(&self, time: EventTime) -> EventTime {
        if time.present() { time } else { EventTime(self.received.0) }
    }

    /// Effects of all that was taken were handed over.
    pub(crate) fn handed_over(&mut self) {
        self.handed.0.store(self.next.0, Ordering::Release);
    }

    pub(crate) fn release(&mut self, frontier: EventTime, watermark: EventTime) {
        let watermark = if frontier.present() { watermark } else { self.now(frontier) };
        let frontier = self.now(frontier);
        let begin = self.checkpoint.as_ref().map_or(u64::MAX, |begin| begin.load(Ordering::Acquire));
        while let Some((at, position)) = self.samples.front().copied()
            && at.after(self.replay) <= frontier
            && at.after(self.windows) <= watermark
        {
            self.old = position;
            self.samples.pop_front();
        }
        self.retention.released(self.old.min(Position(begin)));
        let closed = self.samples.iter().take_while(|(at, _)| at.after(self.windows) <= watermark);
        if let Some((_, position)) = closed.last() {
            self.retention.expendable(*position);
        }
    }
}

#[cfg(test)]
mod tests {
    use selvedge_receive::journal::{Journal, JournalConfig};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    /// Our clock, which is far from the senders'.
    const RECEIVED: ObservedTime = ObservedTime(u64::MAX / 2);

    fn at(seconds: u64) -> EventTime {
        EventTime(0).after(Duration::from_secs(1_000 + seconds))
    }

    fn keeper(folder: &std::path::Path) -> (Keeper, Retention) {
        let config = JournalConfig {
            folder: folder.to_owned(),
            bytes_max: 1 << 20,
            segment_bytes: 1 << 10,
            segment_age: SECOND,
            commit_interval: Duration::ZERO,
            retry_after: SECOND,
        };
        let retention = Journal::open(config).unwrap().retention();
        let join =
            JoinConfig { window_length: 10 * SECOND, allowed_lateness: 30 * SECOND, ..JoinConfig::default() };
        (Keeper::new(retention.clone(), 640 * SECOND, &join), retention)
    }

    /// Scenario: a batch a second.
    /// Guarantees: what is older than the span is released, within a sample; what only open windows do not need any
    /// more is expendable; the samples are bounded.
    #[test]
    fn a_position_is_released_when_all_before_it_is_older_than_the_span() {
        let folder = tempfile::tempdir().unwrap();
        let (mut keeper, retention) = keeper(folder.path());
        for second in 0..3_000 {
            keeper.took(Position(second), at(second), RECEIVED);
            assert_eq!(keeper.handed().before(), Position(second), "not handed over yet");
            keeper.handed_over();
            keeper.release(at(second), at(second.saturating_sub(2)));
            assert!(keeper.samples.len() <= 66, "{} samples", keeper.samples.len());
            let (released, expendable) = retention.needed();
            assert!(released.0 <= second.saturating_sub(639), "{released:?} at {second}");
            assert!(released.0 + 640 + 11 >= second, "{released:?} at {second}");
            assert!(expendable.0 <= second.saturating_sub(41), "{expendable:?} at {second}");
            assert!(expendable.0 + 42 + 11 >= second, "{expendable:?} at {second}");
        }
    }

    /// Guarantees: with checkpoints nothing behind the one that a restart begins with is released, however old, and no more
    /// than without them; the byte budget may still have what no window needs.
    #[test]
    fn a_position_is_released_when_a_checkpoint_that_a_restart_begins_with_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let (mut keeper, retention) = keeper(folder.path());
        let begin = Arc::new(AtomicU64::new(0));
        keeper.await_checkpoints(Arc::clone(&begin));
        let go = |keeper: &mut Keeper, seconds: std::ops::Range<u64>| {
            for second in seconds {
                keeper.took(Position(second), at(second), RECEIVED);
                keeper.release(at(second), at(second));
            }
            retention.needed()
        };
        let (released, expendable) = go(&mut keeper, 0..2_000);
        assert_eq!(released, Position(0));
        assert!(expendable.0 >= 1_940, "{expendable:?}");
        begin.store(900, Ordering::Release);
        assert_eq!(go(&mut keeper, 2_000..2_010).0, Position(900));
        begin.store(2_005, Ordering::Release);
        let (released, _) = go(&mut keeper, 2_010..2_020);
        assert!((1_355..=1_380).contains(&released.0), "{released:?}");
    }

    /// Guarantees: a watermark that stands still keeps everything that its windows need, however long.
    #[test]
    fn what_an_open_window_needs_is_never_released() {
        let folder = tempfile::tempdir().unwrap();
        let (mut keeper, retention) = keeper(folder.path());
        for second in 0..3_000 {
            keeper.took(Position(second), at(second), RECEIVED);
            keeper.release(at(second), at(0));
        }
        assert_eq!(retention.needed(), (Position(0), Position(0)));
    }

    /// Scenario: a stream of metrics, which tell no event time; then spans of a sender whose clock is years behind.
    /// Guarantees: by the time of receipt the journal is released all the same, and then by event time.
    #[test]
    fn where_there_is_no_event_time_the_time_of_receipt_counts() {
        let folder = tempfile::tempdir().unwrap();
        let (mut keeper, retention) = keeper(folder.path());
        let received = |second| RECEIVED.after(Duration::from_secs(second));
        for second in 0..1_000 {
            keeper.took(Position(second), EventTime::ABSENT, received(second));
            keeper.release(EventTime::ABSENT, EventTime::ABSENT);
        }
        let (released, expendable) = retention.needed();
        assert!((345..=360).contains(&released.0), "{released:?}");
        assert!((945..=960).contains(&expendable.0), "{expendable:?}");
        for second in 1_000..2_000 {
            keeper.took(Position(second), at(second), received(second));
            keeper.release(at(second), at(second));
            assert!(keeper.samples.len() <= 130, "{} samples", keeper.samples.len());
        }
        assert!((1_340..=1_360).contains(&retention.needed().0.0), "{:?}", retention.needed());
    }
}
