//! Where the readers put what they read: records one at a time, borrowed. The collector behind [`crate::Decoder`]
//! is one taker; the tests' comparison with `opentelemetry-proto` is another.

use crate::fault::Fault;
use crate::record::{Fields, LogRecord, PointRecord, SpanRecord};
use crate::rejection::Rejection;
use crate::wire::Reader;

/// Takes the records of one request, in wire order.
pub(crate) trait RecordSink {
    /// What the taker wants to know of a resource while it takes the resource's records.
    type Resource;

    /// The resource of these bytes, if one of the same bytes was taken lately.
    fn resource_again(&mut self, _encoded: &[u8]) -> Option<Self::Resource> {
        None
    }
    /// A resource, before any of its records. Without resource attributes: no fields. `encoded` are its bytes, where
    /// they are all in one place.
    fn resource(&mut self, fields: &Fields<'_>, encoded: Option<&[u8]>) -> Self::Resource;
    /// Takes a span that says what an earlier one said, without reading all of it; `fields` is room. False when it
    /// must be read in full, and then nothing was taken.
    fn span_again<'a>(&mut self, _: &Self::Resource, _span: Reader<'a>, _fields: &mut Fields<'a>) -> bool {
        false
    }
    /// As [`Self::span_again`], of a log record.
    fn log_again<'a>(&mut self, _: &Self::Resource, _log: Reader<'a>, _fields: &mut Fields<'a>) -> bool {
        false
    }
    /// The span that was taken last, as it was sent: a chance to know the next one that says the same.
    fn learn_span(&mut self, _: &Self::Resource, _span: Reader<'_>) {}
    /// As [`Self::learn_span`], of a log record all of whose words are in its attributes.
    fn learn_log(&mut self, _: &Self::Resource, _log: Reader<'_>) {}
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
        Self { fields: Fields::new(), counts: Vec::new(), bounds: Vec::new(), nesting: Vec::new() }
    }

    /// The same memory, empty, for a batch of another lifetime.
    pub(crate) fn recycled<'b>(mut self) -> Scratch<'b> {
        self.counts.clear();
        self.counts.shrink_to(SCRATCH_KEPT_MAX);
        self.bounds.clear();
        self.bounds.shrink_to(SCRATCH_KEPT_MAX);
        self.nesting.clear();
        self.nesting.shrink_to(SCRATCH_KEPT_MAX);
        let Self { fields, counts, bounds, nesting } = self;
        Scratch { fields: fields.recycled(), counts, bounds, nesting }
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
