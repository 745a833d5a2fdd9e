//! The journal's metrics.

use std::fmt::Error;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use selvedge_receive::journal::{JournalStats, Unstored};

use crate::metrics::{Rows, family};

pub(crate) fn encode(encoder: &mut DescriptorEncoder<'_>, stats: &JournalStats) -> Result<(), Error> {
    let one = |value| -> Rows<'_> { vec![(Vec::new(), value)] };
    let gauges = [
        ("journal_bytes", "Bytes of all segments of the journal", stats.bytes.get()),
        ("journal_segments", "Segments of the journal", stats.segments.get()),
    ];
    for (name, help, value) in gauges {
        family(encoder, name, help, MetricType::Gauge, one(value))?;
    }
    let counters = [
        (
            "journal_batches",
            "Batches stored; divided by the commits: batches per commit",
            stats.batches.get(),
        ),
        ("journal_commits", "Commits, each one write and one fdatasync", stats.commits.get()),
        (
            "journal_segments_released",
            "Segments deleted because nothing in them was needed any more",
            stats.segments_released.get(),
        ),
        (
            "journal_segments_shortened",
            "Segments deleted at the byte budget, though a restart would have read them again",
            stats.segments_shortened.get(),
        ),
        ("journal_recovered_frames", "Frames read again at the start", stats.frames_recovered.get()),
        (
            "journal_torn_bytes",
            "Bytes cut at the start: what a crash left in the middle",
            stats.bytes_torn.get(),
        ),
        (
            "journal_lost_frames",
            "Frames that were stored and cannot be read any more",
            stats.frames_lost.get(),
        ),
    ];
    for (name, help, value) in counters {
        family(encoder, name, help, MetricType::Counter, one(value))?;
    }
    let refusals = Unstored::ALL.map(|reason| (vec![("reason", reason.name())], stats.refusals(reason)));
    let help = "Batches that were not stored, so that their senders were asked to come again";
    family(encoder, "journal_refusals", help, MetricType::Counter, refusals.into())?;
    let (sum, buckets) = stats.commit_seconds();
    let count = buckets.iter().map(|(_, count)| count).sum();
    let help = "Time of a commit";
    let mut metric =
        encoder.encode_descriptor("journal_commit_seconds", help, None, MetricType::Histogram)?;
    metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
}
