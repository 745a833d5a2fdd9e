//! Record views into observations and metric points: the knowledge of every proxy's dialect.
//!
//! A record's fields are already named alike (`field.rs`). What is left is meaning: which side speaks, who is named
//! and how far that can be believed (`party.rs`, `security.rs`, `xfcc.rs`), what was asked (`http.rs`, `path.rs`),
//! and when (`times.rs`). Start at `facts.rs`, which puts one observation together.

mod access_log;
mod body_text;
mod facts;
mod host;
mod http;
mod identity;
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
mod xfcc;

pub use path::route_template;

use selvedge_model::{MetricPoint, Observation, ObservedTime, Party, Side, SignalKind, Symbol, SymbolTable};

use self::memo::Memory;
use self::reading::{NAME_MAX, Reading, cut};
use crate::field::Field;
use crate::record::{Fields, LogRecord, PointRecord, SpanRecord};
use crate::rejection::Rejection;

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

    /// Reads a resource's attributes, once per resource of a batch.
    pub(crate) fn resource(
        &mut self,
        signal: SignalKind,
        fields: &Fields<'_>,
        (): (),
        symbols: &mut SymbolTable,
    ) -> ResourceContext {
        let mut reading = Reading::new(fields, None);
        let reporter = party::reporter(&mut reading, symbols);
        let instance = reading.first_name(&INSTANCE).unwrap_or_default();
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
        ResourceContext {
            origin: symbols.intern(&self.memory.scratch),
            reporter,
            side,
            proxy: reading.has(Field::LogName),
        }
    }

    /// One span.
    pub(crate) fn span(
        &mut self,
        cx: &ResourceContext,
        record: &SpanRecord<'_, '_>,
        observed: ObservedTime,
        symbols: &mut SymbolTable,
    ) -> Result<Observation, Rejection> {
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
        let seen = access_log::observation(cx, record, observed, &mut self.memory, symbols)?;
        self.repaired += u64::from(seen.repaired);
        Ok(seen)
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
