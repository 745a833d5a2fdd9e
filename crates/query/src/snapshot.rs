//! What a query sees: everything at one moment, which nothing changes any more.

use std::sync::Arc;

use selvedge_model::EventTime;

use crate::segment::table::TableView;
use crate::watched::Watched;

/// All tables at one moment. A query keeps its snapshot, so it may outlive the segments in it.
pub struct Snapshot {
    pub(crate) recorded: [Arc<TableView>; 4],
    pub(crate) watched: Arc<Watched>,
}

impl Snapshot {
    pub(crate) fn new(recorded: [Arc<TableView>; 4], watched: Arc<Watched>) -> Self {
        Self { recorded, watched }
    }

    /// End of the newest call; absent when there is none.
    #[must_use]
    pub fn newest(&self) -> EventTime {
        EventTime(self.recorded[0].bounds().end.1)
    }
}
