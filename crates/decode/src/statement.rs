//! What application logs say: the beginning of each body, kept beside the observations for whoever looks for patterns.

use selvedge_model::{Observation, ObservationKind};

use crate::record::{LogRecord, Value};

/// Bytes of a body that are kept: what a statement is called stands at its beginning, what it prints comes after.
const TEXT_MAX: usize = 1_024;
/// Bytes and entries that a list keeps room for between batches; one hostile batch must not pin its size.
const BYTES_KEPT_MAX: usize = 1 << 20;
const ENTRIES_KEPT_MAX: usize = 1 << 14;

/// What one application log record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement<'a> {
    /// The beginning of the body as it was sent: any bytes.
    pub text: &'a [u8],
    /// OTLP severity number; 0 when the record does not say.
    pub severity: u8,
}

/// The statements of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Statements {
    /// In the order of the observations they belong to.
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    observation: usize,
    start: usize,
    end: usize,
    severity: u8,
}

impl Statements {
    /// Forgets everything and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.entries.shrink_to(ENTRIES_KEPT_MAX);
        self.bytes.clear();
        self.bytes.shrink_to(BYTES_KEPT_MAX);
    }

    /// Keeps what the record of the observation at `at` says, if it is an application's, has text, and names a trace:
    /// without one nobody can say which call it belongs to.
    pub(crate) fn keep(&mut self, at: usize, observation: &Observation, record: &LogRecord<'_, '_>) {
        let Value::Text(text) = record.body else { return };
        let about_a_call =
            observation.kind == ObservationKind::ApplicationLog && observation.trace_id.present();
        if text.is_empty() || !about_a_call {
            return;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&text[..text.len().min(TEXT_MAX)]);
        let severity = u8::try_from(record.severity_number).unwrap_or(0);
        self.entries.push(Entry { observation: at, start, end: self.bytes.len(), severity });
    }

    /// The statement of the observation at `at`.
    pub(crate) fn of(&self, at: usize) -> Option<Statement<'_>> {
        let found = self.entries.binary_search_by_key(&at, |entry| entry.observation).ok()?;
        let entry = self.entries[found];
        Some(Statement { text: &self.bytes[entry.start..entry.end], severity: entry.severity })
    }
}
