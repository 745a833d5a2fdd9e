//! Label files: a list of faults with their time, the workload they were put into, and what they are called.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use selvedge_model::EventTime;
use selvedge_testkit::Renaming;
use serde_json::Value;

const CAPTURE: &str = ".otlpcap.zst";
const LABELS: &str = ".labels.json";

/// One labelled fault.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) injected: EventTime,
    pub(crate) kind: String,
    pub(crate) workload: String,
}

impl Fault {
    /// The same fault where everything has another name.
    pub(crate) fn under(&self, names: &Renaming) -> Self {
        let workload = String::from_utf8_lossy(&names.apply(self.workload.as_bytes())).into_owned();
        Self { workload, ..self.clone() }
    }
}

/// Captures below a folder (two levels) with faults beside them, by path. A folder that is not there holds none.
pub(crate) fn beside_captures(folder: &Path) -> Result<Vec<(PathBuf, Vec<Fault>)>> {
    let inside = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder)
            .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
            .unwrap_or_default()
    };
    let mut found = Vec::new();
    for path in inside(folder).iter().flat_map(|system| inside(system)) {
        let name = path.to_string_lossy().into_owned();
        let Some(labels) = name.strip_suffix(LABELS) else { continue };
        let capture = PathBuf::from(format!("{labels}{CAPTURE}"));
        if capture.is_file() {
            found.push((capture, read(&path).with_context(|| name.clone())?));
        }
    }
    found.sort_by(|left, right| left.0.cmp(&right.0));
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<Fault>> {
    let labels: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let mut faults = Vec::new();
    for label in &labels {
        let text = |key: &str| label[key].as_str().with_context(|| format!("a label has no {key}"));
        let injected = EventTime(text("inject_unix_nano")?.parse()?);
        faults.push(Fault {
            injected,
            kind: text("fault_type")?.to_owned(),
            workload: text("service")?.to_owned(),
        });
    }
    faults.sort_by_key(|fault| fault.injected);
    Ok(faults)
}
