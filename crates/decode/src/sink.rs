//! Where the readers put what they read: records one at a time, borrowed. The collector behind [`crate::Decoder`]
//! is one taker; the tests' comparison with `opentelemetry-proto` is another.

use crate::expected::ExpectedNames;
use crate::fault::Fault;
use crate::record::{Fields, LogRecord, PointRecord, SpanRecord};
use crate::rejection::Rejection;

/// Takes the records of one request, in wire order.
pub(crate) trait RecordSink {
    /// What the taker wants to know of a resource while it takes the resource's records.
    type Resource;

    /// A resource, before any of its records. Without resource attributes: no fields.
    fn resource(&mut self, fields: &Fields<'_>) -> Self::Resource;
    /// A span of that resource.
    fn span(&mut self, resource: &Self::Resource, record: &SpanRecord<'_, '_>);
    /// A log record of that resource.
    fn log(&mut self, resource: &Self::Resource, record: &LogRecord<'_, '_>);
    /// A metric data point of that resource.
    fn point(&mut self, resource: &Self::Resource, record: &PointRecord<'_, '_>);
    /// A record that could not be read. A metric that is broken outside of its points counts as one record.
    fn reject(&mut self, reason: Rejection, fault: Fault);
}

/// Memory that is reused from record to record and from batch to batch.
pub(crate) struct Scratch<'a> {
    /// Fields of the resource, then of each record.
    pub(crate) fields: Fields<'a>,
    /// Attribute names of the records before.
    pub(crate) names: ExpectedNames,
    /// Histogram counts.
    pub(crate) counts: Vec<u64>,
    /// Histogram bounds.
    pub(crate) bounds: Vec<f64>,
    /// Open brackets of a JSON text.
    pub(crate) nesting: Vec<u64>,
}

/// Numbers that a scratch list keeps room for between batches; one hostile histogram must not pin its size.
const SCRATCH_KEPT_MAX: usize = 4_096;

impl Scratch<'_> {
    pub(crate) fn new() -> Self {
        Self {
            fields: Fields::new(),
            names: ExpectedNames::default(),
            counts: Vec::new(),
            bounds: Vec::new(),
            nesting: Vec::new(),
        }
    }

    /// The same memory, empty, for a batch of another lifetime.
    pub(crate) fn recycled<'b>(mut self) -> Scratch<'b> {
        self.counts.clear();
        self.counts.shrink_to(SCRATCH_KEPT_MAX);
        self.bounds.clear();
        self.bounds.shrink_to(SCRATCH_KEPT_MAX);
        self.nesting.clear();
        self.nesting.shrink_to(SCRATCH_KEPT_MAX);
        let Self { fields, names, counts, bounds, nesting } = self;
        Scratch { fields: fields.recycled(), names, counts, bounds, nesting }
    }
}

/// A reader's way through the records of one resource.
pub(crate) struct Visit<'v, 'a, S: RecordSink> {
    pub(crate) sink: &'v mut S,
    pub(crate) scratch: &'v mut Scratch<'a>,
    pub(crate) resource: S::Resource,
}

/// What a request held besides records; only for the warning about a body that turned out empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// At least one resource was there, with or without records.
    pub(crate) resources: bool,
    /// The first field above the records that OTLP does not have.
    pub(crate) unknown: Option<String>,
}
