//! Label files of recordings.

use std::time::Duration;

use selvedge_model::EventTime;

/// By the recordings' README effects begin within a minute of the noted time (some stand before it: it is when the
/// injecting tool wrote it down) and last about three.
const BEFORE: Duration = Duration::from_mins(1);
const AFTER: Duration = Duration::from_mins(4);

/// One injected fault.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault {
    /// What was done.
    pub(crate) what: String,
    /// To whom.
    pub(crate) service: String,
    /// The time noted for it.
    pub(crate) injected: EventTime,
    /// From when, and until when, it may be told of.
    pub(crate) span: (EventTime, EventTime),
}

impl Fault {
    /// It was put into the code of the service.
    pub(crate) fn in_code(&self) -> bool {
        matches!(self.what.as_str(), "return" | "exception")
    }
}

/// A list of `{inject_unix_nano, service, fault_type}`; `None` for anything else.
pub(crate) fn injected(text: &str) -> Option<Vec<Fault>> {
    let entries: Vec<serde_json::Value> = serde_json::from_str(text).ok()?;
    let word = |entry: &serde_json::Value, key: &str| Some(entry[key].as_str()?.to_owned());
    entries
        .iter()
        .map(|entry| {
            let injected = EventTime(word(entry, "inject_unix_nano")?.parse().ok()?);
            Some(Fault {
                what: word(entry, "fault_type")?,
                service: word(entry, "service")?,
                injected,
                span: (injected.before(BEFORE), injected.after(AFTER)),
            })
        })
        .collect()
}
