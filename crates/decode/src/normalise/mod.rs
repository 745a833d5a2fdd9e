//! Record views into observations and metric points: the knowledge of every proxy's dialect.
//!
//! A record's fields are already named alike (`field.rs`). What is left is meaning: which side speaks, who is named
//! and how far that can be believed (`party.rs`, `security.rs`, `xfcc.rs`), what was asked (`http.rs`, `path.rs`),
//! and when (`times.rs`). Start at `facts.rs`, which puts one observation together.

mod access_log;
mod authorization;
mod body_text;
mod facts;
mod host;
mod http;
mod identity;
mod meaning;
mod memo;
mod metric;
mod party;
mod path;
mod peer_metadata;
mod reading;
mod security;
mod span;
#[cfg(test)]
mod tests;
mod times;
mod version;
mod xfcc;

pub use path::route_template;
pub use times::CLOCK_AHEAD_MAX;

use selvedge_model::{MetricPoint, Observation, ObservedTime, Party, Side, SignalKind, Symbol, SymbolTable};

use self::memo::Memory;
use self::reading::{NAME_MAX, Reading, cut};
use self::times::Extent;
use crate::fault::Fault;
use crate::field::Field;
use crate::patterns::{Following, Root, Sender};
use crate::record::{Fields, LogRecord, PointRecord, SpanRecord, Value};
use crate::rejection::Rejection;
use crate::wire::Reader;
use crate::{logs, traces};

/// What names one instance of a sender, best first.
const INSTANCE: [Field; 5] =
    [Field::ServiceInstance, Field::K8sPod, Field::NodeId, Field::HostName, Field::ServiceName];

/// What a resource says about all of its records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResourceContext {
    /// Sender and signal.
    pub(crate) origin: Symbol,
    /// Who reports.
    pub(crate) reporter: Party,
    /// Which side all of its records are from, when it says so.
    side: Option<Side>,
    /// It is a proxy's own log (Envoy's built-in labels).
    proxy: bool,
    /// Which version the reporter runs, if it says so.
    version: Symbol,
    /// Where what is known of its records begins.
    root: Root,
}

impl ResourceContext {
    /// The version that it says of a reporter. Where its records speak for others it says nothing of them.
    fn version_of(&self, reporter: &Party) -> Option<Symbol> {
        (self.version.present() && reporter.workload == self.reporter.workload).then_some(self.version)
    }
}

/// Turns record views into the words of `model`. Keeps scratch memory, memos that only save work, and a count.
#[derive(Default)]
pub(crate) struct Normaliser {
    memory: Memory,
    repaired: u64,
}

impl Normaliser {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The resource of these bytes, if it is known already.
    pub(crate) fn resource_again(
        &mut self,
        signal: SignalKind,
        encoded: &[u8],
        symbols: &SymbolTable,
    ) -> Option<ResourceContext> {
        self.memory.use_table(symbols);
        let known = self.memory.resources.recall(signal, encoded)?;
        self.memory.patterns.holds(known.root).then_some(known)
    }

    /// Reads a resource's attributes, once per resource of a batch. `encoded`: its bytes, by which it is known again.
    pub(crate) fn resource(
        &mut self,
        signal: SignalKind,
        fields: &Fields<'_>,
        encoded: Option<&[u8]>,
        symbols: &mut SymbolTable,
    ) -> ResourceContext {
        self.memory.use_table(symbols);
        let overflowed = symbols.overflowed();
        let mut reading = Reading::new(fields, None);
        let reporter = party::reporter(&mut reading, symbols);
        let instance = reading.first_name(&INSTANCE).unwrap_or_default();
        let version = version::of_resource(&mut reading, symbols);
        let scratch = &mut self.memory.scratch;
        scratch.clear();
        for part in
            [symbols.resolve(reporter.cluster), symbols.resolve(reporter.namespace), cut(&instance, NAME_MAX)]
        {
            scratch.push_str(part);
            scratch.push('/');
        }
        scratch.push_str(signal.name());
        let log_name = reading.text(Field::LogName);
        let words = [reading.text(Field::Reporter), reading.text(Field::Direction), log_name];
        let side = words.iter().flatten().find_map(|word| access_log::side_of_word(word));
        self.repaired += u64::from(reading.repaired());
        let proxy = reading.has(Field::LogName);
        let root = self.memory.patterns.root(Sender { signal, reporter, side, proxy });
        let origin = symbols.intern(&self.memory.scratch);
        let resource = ResourceContext { origin, reporter, side, proxy, version, root };
        if let Some(encoded) = encoded
            && reading.repaired() == 0
            && symbols.overflowed() == overflowed
        {
            self.memory.resources.keep(signal, encoded, resource);
        }
        resource
    }

    /// One span.
    pub(crate) fn span(
        &mut self,
        cx: &ResourceContext,
        record: &SpanRecord<'_, '_>,
        observed: ObservedTime,
        symbols: &mut SymbolTable,
    ) -> Result<Observation, Rejection> {
        self.memory.lesson = None;
        let seen = span::observation(cx, record, observed, &mut self.memory, symbols)?;
        self.repaired += u64::from(seen.repaired);
        Ok(seen)
    }

    /// One log record.
    pub(crate) fn log(
        &mut self,
        cx: &ResourceContext,
        record: &LogRecord<'_, '_>,
        observed: ObservedTime,
        symbols: &mut SymbolTable,
    ) -> Result<Observation, Rejection> {
        self.memory.lesson = None;
        let seen = access_log::observation(cx, record, observed, &mut self.memory, symbols)?;
        self.repaired += u64::from(seen.repaired);
        Ok(seen)
    }

    /// A span that says what an earlier one said, added to `out`; false when it has to be understood.
    pub(crate) fn span_again<'a>(
        &mut self,
        cx: &ResourceContext,
        span: Reader<'a>,
        fields: &mut Fields<'a>,
        observed: ObservedTime,
        symbols: &mut SymbolTable,
        out: &mut Vec<Observation>,
    ) -> bool {
        let patterns = &self.memory.patterns;
        let mut following = Following { patterns, place: patterns.begin(cx.root), fields };
        let Ok(Some(head)) = traces::walk(span, &mut following) else { return false };
        let place = following.place;
        let Some(answer) = patterns.answer(place, Some(span::side_of(head.kind))) else {
            return false;
        };
        let Ok(times) = Extent::between(head.start_unix_nano, head.end_unix_nano, observed) else {
            return false;
        };
        out.push(*answer);
        if let Some(seen) = out.last_mut() {
            span::again(seen, cx, &head, times, fields, &mut self.memory, symbols);
            self.repaired += u64::from(seen.repaired);
        }
        true
    }

    /// A log record that says what an earlier one said, added to `out`; false when it has to be understood.
    pub(crate) fn log_again<'a>(
        &mut self,
        cx: &ResourceContext,
        log: Reader<'a>,
        fields: &mut Fields<'a>,
        observed: ObservedTime,
        symbols: &mut SymbolTable,
        out: &mut Vec<Observation>,
    ) -> bool {
        let patterns = &self.memory.patterns;
        let mut following = Following { patterns, place: patterns.begin(cx.root), fields };
        let Ok(Some(head)) = logs::walk(log, &mut following) else { return false };
        let place = following.place;
        let Some(answer) = patterns.answer(place, None).filter(|_| head.is_bare()) else {
            return false;
        };
        let mut seen = *answer;
        let record = LogRecord {
            time_unix_nano: head.time_unix_nano,
            observed_unix_nano: head.observed_unix_nano,
            severity_number: head.severity_number,
            trace_id: head.trace_id,
            span_id: head.span_id,
            body: &Value::Absent,
            fields,
        };
        if access_log::again(&mut seen, cx, &record, observed, &mut self.memory, symbols).is_err() {
            return false;
        }
        self.repaired += u64::from(seen.repaired);
        out.push(seen);
        true
    }

    /// Learns the span that was understood last.
    pub(crate) fn learn_span(&mut self, cx: &ResourceContext, span: Reader<'_>) {
        self.learn(cx, traces::ATTRIBUTE_TAG, |attribute| {
            traces::walk(span, attribute).is_ok_and(|head| head.is_some())
        });
    }

    /// Learns the log record that was understood last.
    pub(crate) fn learn_log(&mut self, cx: &ResourceContext, log: Reader<'_>) {
        self.learn(cx, logs::ATTRIBUTE_TAG, |attribute| {
            logs::walk(log, attribute).is_ok_and(|head| head.is_some())
        });
    }

    /// Records that could not be learned for want of room.
    pub(crate) fn unlearned(&self) -> u64 {
        self.memory.patterns.unlearned()
    }

    /// There is nothing to learn from the record in hand: it was not understood.
    pub(crate) fn nothing_to_learn(&mut self) {
        self.memory.lesson = None;
    }

    fn learn<'a>(
        &mut self,
        cx: &ResourceContext,
        tag: u8,
        walk: impl FnOnce(&mut dyn FnMut(Reader<'a>) -> Result<bool, Fault>) -> bool,
    ) {
        let patterns = &mut self.memory.patterns;
        patterns.begin_to_learn();
        let Some(lesson) = self.memory.lesson.take() else { return };
        let uses = facts::uses(lesson.decided, tag);
        let mut place = patterns.begin(cx.root);
        let mut teach = |attribute: Reader<'a>| {
            let next = patterns.teach(place, attribute, &uses);
            place = next.unwrap_or(place);
            Ok(next.is_some())
        };
        if walk(&mut teach) {
            patterns.conclude(place, &lesson.answer);
        }
    }

    /// One metric point.
    pub(crate) fn point(
        &mut self,
        cx: &ResourceContext,
        record: &PointRecord<'_, '_>,
        observed: ObservedTime,
        symbols: &mut SymbolTable,
    ) -> Result<MetricPoint, Rejection> {
        let (point, repaired) = metric::point(cx, record, observed, symbols)?;
        self.repaired += u64::from(repaired);
        Ok(point)
    }

    /// Strings that were not UTF-8 and had to be repaired, since the last call.
    pub(crate) fn take_repaired(&mut self) -> u64 {
        std::mem::take(&mut self.repaired)
    }
}
