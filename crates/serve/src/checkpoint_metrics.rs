//! The metrics of checkpoints.

use std::fmt::Error;
use std::time::Duration;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use selvedge_checkpoint::CheckpointStats;

use crate::metrics::family;

pub(crate) fn encode(encoder: &mut DescriptorEncoder<'_>, stats: &CheckpointStats) -> Result<(), Error> {
    let [written, failed, skipped] = stats.counts();
    let outcomes = [("written", written), ("failed", failed), ("skipped", skipped)]
        .map(|(outcome, count)| (vec![("outcome", outcome)], count));
    let help = "Checkpoints that were due: written, failed, or skipped because the one before was still being written";
    family(encoder, "checkpoints", help, MetricType::Counter, outcomes.into())?;
    let [bytes, pause, taken] = stats.latest();
    let help = "Bytes of the latest checkpoint's file";
    family(encoder, "checkpoint_bytes", help, MetricType::Gauge, vec![(Vec::new(), bytes)])?;
    let seconds = [
        (
            "checkpoint_pause_seconds",
            "For how long telemetry waited while the latest checkpoint was taken",
            pause,
        ),
        (
            "checkpoint_taken_seconds",
            "When the latest checkpoint on the disk was taken: seconds since 1970, 0 for none since the start",
            taken,
        ),
    ];
    for (name, help, nanos) in seconds {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        metric.encode_gauge(&Duration::from_nanos(nanos).as_secs_f64())?;
    }
    Ok(())
}
