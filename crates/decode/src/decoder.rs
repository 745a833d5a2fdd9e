//! One request in, observations or metric points out: the crate's front door.

use selvedge_model::{MetricPoint, Observation, ObservedTime, SignalKind, SymbolTable};

use crate::envelope;
use crate::fault::{DecodeError, Fault};
use crate::json;
use crate::logs;
use crate::metrics;
use crate::normalise::{Normaliser, ResourceContext};
use crate::record::{Fields, LogRecord, PointRecord, SpanRecord};
use crate::rejection::{Rejection, RejectionCounts};
use crate::sink::{Contents, RecordSink, Scratch};
use crate::statement::{Statement, Statements};
use crate::traces;
use crate::wire::Reader;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// `application/x-protobuf`, and every gRPC message.
    Protobuf,
    /// `application/json`: OTLP/JSON.
    Json,
}

impl Encoding {
    /// `protobuf`, `json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Protobuf => "protobuf",
            Self::Json => "json",
        }
    }
}

/// Default of [`DecodeConfig::signals_max`]. A body of 20 MiB (what OTLP recommends as its limit) holds about
/// 40,000 spans of a real proxy.
pub const SIGNALS_MAX_DEFAULT: usize = 262_144;

/// Bytes of the smallest record that says anything: a tag, a length and one time. Empty records of two bytes
/// would otherwise each become an observation of some 500 bytes; so a body never becomes more than about fifty
/// times its size.
const RECORD_BYTES_MIN: usize = 11;

/// Limits of decoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeConfig {
    /// Most signals taken from one request. Policy at the limit: the rest is rejected as
    /// [`Rejection::OverLimit`], so that the sender is told.
    pub signals_max: usize,
}

impl Default for DecodeConfig {
    fn default() -> Self {
        Self { signals_max: SIGNALS_MAX_DEFAULT }
    }
}

/// What one request held. Reuse it from request to request: the vectors keep their memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// Spans and log records, in wire order.
    pub observations: Vec<Observation>,
    /// Metric data points, in wire order.
    pub points: Vec<MetricPoint>,
    /// Signals seen: observations + points + rejected.
    pub received: u64,
    /// Signals that became nothing.
    pub rejected: u64,
    /// Where in wire order the rejected ones stood: how many, by the number of observations before them. Whoever
    /// counts along with the records counts the same, wherever batches are cut.
    rejected_at: Vec<(usize, u64)>,
    /// The rejected ones by reason.
    pub rejections: RejectionCounts,
    /// What was wrong with the first rejected one, for the partial-success answer.
    pub first_rejection: Option<String>,
    /// Strings that were used and had to be repaired because they were not UTF-8.
    pub repaired_strings: u64,
    /// Something that the sender should be told though nothing was rejected.
    pub warning: Option<String>,
    /// What application logs say.
    statements: Statements,
}

impl Decoded {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.observations.clear();
        self.points.clear();
        self.statements.clear();
        let (observations, points) =
            (std::mem::take(&mut self.observations), std::mem::take(&mut self.points));
        let statements = std::mem::take(&mut self.statements);
        *self = Self { observations, points, statements, ..Self::default() };
    }

    /// What the application log at `at` says; `None` for other records, and for one without text or trace.
    #[must_use]
    pub fn statement(&self, at: usize) -> Option<Statement<'_>> {
        self.statements.of(at)
    }

    fn kept(&self) -> usize {
        self.observations.len() + self.points.len()
    }

    /// Signals rejected between observation `at - 1` and observation `at`.
    #[must_use]
    pub fn rejected_before(&self, at: usize) -> u64 {
        let found = self.rejected_at.binary_search_by_key(&at, |(before, _)| *before);
        found.map_or(0, |found| self.rejected_at[found].1)
    }

    fn reject(&mut self, reason: Rejection, detail: impl FnOnce() -> String) {
        self.rejected += 1;
        match self.rejected_at.last_mut().filter(|(before, _)| *before == self.observations.len()) {
            Some((_, count)) => *count += 1,
            None => self.rejected_at.push((self.observations.len(), 1)),
        }
        self.rejections.add(reason);
        self.first_rejection.get_or_insert_with(detail);
    }
}

/// Decodes requests, one after the other. Owns the memory that decoding reuses: in the steady state a protobuf
/// record costs no allocation.
pub struct Decoder {
    config: DecodeConfig,
    normaliser: Normaliser,
    /// `None` only while a request is being decoded.
    scratch: Option<Scratch<'static>>,
}

impl Decoder {
    /// A decoder that has seen nothing.
    #[must_use]
    pub fn new(config: DecodeConfig) -> Self {
        Self { config, normaliser: Normaliser::new(), scratch: None }
    }

    /// Records whose pattern found no room (policy `keep_known`): they cost more to read, and nothing else.
    #[must_use]
    pub fn unlearned(&self) -> u64 {
        self.normaliser.unlearned()
    }

    /// Decodes one `Export{Trace,Logs,Metrics}ServiceRequest` (or `{Traces,Logs,Metrics}Data`, the same bytes)
    /// into `out`, which is cleared first. Names go into `symbols`; `observed`, when we received the body,
    /// bounds hostile times. A record that cannot be understood is rejected and counted, and costs nothing else.
    ///
    /// # Errors
    /// When the body as a whole is no such request; `out` is then empty.
    pub fn decode(
        &mut self,
        signal: SignalKind,
        encoding: Encoding,
        body: &[u8],
        observed: ObservedTime,
        symbols: &mut SymbolTable,
        out: &mut Decoded,
    ) -> Result<(), DecodeError> {
        out.clear();
        let mut scratch = self.scratch.take().map_or_else(Scratch::new, Scratch::recycled);
        let signals_max = self.config.signals_max.min(body.len() / RECORD_BYTES_MIN);
        let mut collector =
            Collector { signal, normaliser: &mut self.normaliser, observed, symbols, signals_max, out };
        let walked = walk(signal, encoding, body, &mut scratch, &mut collector);
        self.scratch = Some(scratch.recycled());
        let repaired_strings = self.normaliser.take_repaired();
        match walked {
            Ok(contents) => {
                out.repaired_strings = repaired_strings;
                out.received = out.kept() as u64 + out.rejected;
                out.warning = (out.received == 0).then(|| empty_warning(signal, &contents)).flatten();
                Ok(())
            }
            Err(fault) => {
                out.clear();
                Err(DecodeError::new(signal, encoding, fault))
            }
        }
    }
}

/// Walks one request of either encoding.
pub(crate) fn walk<'a, S: RecordSink>(
    signal: SignalKind,
    encoding: Encoding,
    body: &'a [u8],
    scratch: &mut Scratch<'a>,
    sink: &mut S,
) -> Result<Contents, Fault> {
    match (encoding, signal) {
        (Encoding::Json, _) => json::walk(signal, body, scratch, sink),
        (Encoding::Protobuf, SignalKind::Traces) => envelope::walk(body, scratch, sink, traces::span),
        (Encoding::Protobuf, SignalKind::Logs) => envelope::walk(body, scratch, sink, logs::log),
        (Encoding::Protobuf, SignalKind::Metrics) => envelope::walk(body, scratch, sink, metrics::metric),
    }
}

/// The warning for a request that held something, but no record: almost always JSON keys in snake_case, or a
/// body sent to another signal's path.
fn empty_warning(signal: SignalKind, contents: &Contents) -> Option<String> {
    let what = match signal {
        SignalKind::Traces => "spans",
        SignalKind::Metrics => "data points",
        SignalKind::Logs => "log records",
    };
    match &contents.unknown {
        Some(unknown) => {
            Some(format!("0 {what} in a non-empty body; {unknown} is not known here and was ignored"))
        }
        None if contents.resources => Some(format!("0 {what} in a non-empty body")),
        None => None,
    }
}

/// Normalises records as they are read and keeps what becomes of them.
struct Collector<'d> {
    signal: SignalKind,
    normaliser: &'d mut Normaliser,
    observed: ObservedTime,
    symbols: &'d mut SymbolTable,
    signals_max: usize,
    out: &'d mut Decoded,
}

impl Collector<'_> {
    fn is_full(&mut self) -> bool {
        let is_full = self.out.kept() >= self.signals_max;
        if is_full {
            self.normaliser.nothing_to_learn();
            self.refuse(Rejection::OverLimit);
        }
        is_full
    }

    /// A rejection by meaning, not by bytes: the record's number is all there is to say of its place.
    fn refuse(&mut self, reason: Rejection) {
        let number = self.out.kept() as u64 + self.out.rejected;
        self.out.reject(reason, || format!("record {number}: {}", reason.name()));
    }
}

impl RecordSink for Collector<'_> {
    type Resource = ResourceContext;

    fn resource_again(&mut self, encoded: &[u8]) -> Option<ResourceContext> {
        self.normaliser.resource_again(self.signal, encoded, self.symbols)
    }

    fn resource(&mut self, fields: &Fields<'_>, encoded: Option<&[u8]>) -> ResourceContext {
        self.normaliser.resource(self.signal, fields, encoded, self.symbols)
    }

    fn span_again<'a>(
        &mut self,
        resource: &ResourceContext,
        span: Reader<'a>,
        fields: &mut Fields<'a>,
    ) -> bool {
        let out = &mut self.out.observations;
        out.len() < self.signals_max
            && self.normaliser.span_again(resource, span, fields, self.observed, self.symbols, out)
    }

    fn log_again<'a>(
        &mut self,
        resource: &ResourceContext,
        log: Reader<'a>,
        fields: &mut Fields<'a>,
    ) -> bool {
        let out = &mut self.out.observations;
        out.len() < self.signals_max
            && self.normaliser.log_again(resource, log, fields, self.observed, self.symbols, out)
    }

    fn learn_span(&mut self, resource: &ResourceContext, span: Reader<'_>) {
        self.normaliser.learn_span(resource, span);
    }

    fn learn_log(&mut self, resource: &ResourceContext, log: Reader<'_>) {
        self.normaliser.learn_log(resource, log);
    }

    fn span(&mut self, resource: &ResourceContext, record: &SpanRecord<'_, '_>) {
        if self.is_full() {
            return;
        }
        match self.normaliser.span(resource, record, self.observed, self.symbols) {
            Ok(observation) => self.out.observations.push(observation),
            Err(reason) => self.refuse(reason),
        }
    }

    fn log(&mut self, resource: &ResourceContext, record: &LogRecord<'_, '_>) {
        if self.is_full() {
            return;
        }
        match self.normaliser.log(resource, record, self.observed, self.symbols) {
            Ok(observation) => {
                self.out.statements.keep(self.out.observations.len(), &observation, record);
                self.out.observations.push(observation);
            }
            Err(reason) => self.refuse(reason),
        }
    }

    fn point(&mut self, resource: &ResourceContext, record: &PointRecord<'_, '_>) {
        if self.is_full() {
            return;
        }
        match self.normaliser.point(resource, record, self.observed, self.symbols) {
            Ok(point) => self.out.points.push(point),
            Err(reason) => self.refuse(reason),
        }
    }

    fn reject(&mut self, reason: Rejection, fault: Fault) {
        self.out.reject(reason, || format!("{}: {fault}", reason.name()));
    }
}
