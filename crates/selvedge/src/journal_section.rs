//! The `journal` section: where what is acknowledged is stored, and how much of it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use selvedge_receive::journal::{FRAME_BYTES_MAX, JournalConfig};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};

use crate::config::duration;
use crate::paths;

/// Bytes of all segments unless configured. Open windows need what arrives in forty seconds: 100 MB a second fit.
const BYTES_DEFAULT: u64 = 4 << 30;
/// The largest request must fit beside a segment that is still needed, many times over.
const BYTES_MIN: u64 = 4 * FRAME_BYTES_MAX as u64;
/// Bytes of one segment unless configured.
const SEGMENT_DEFAULT: u64 = 64 << 20;
/// Smaller ones are more files than data.
const SEGMENT_MIN: u64 = 1 << 20;
/// Senders give up on an answer after some seconds.
const COMMIT_INTERVAL_MAX: Duration = Duration::from_secs(1);
/// What a restart reads again unless configured.
const REPLAY_DEFAULT: Duration = Duration::from_mins(15);
const REPLAY_RANGE: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24);
/// Time between two checkpoints unless configured: less than what is read again anyway.
const INTERVAL_DEFAULT: Duration = Duration::from_mins(10);
const INTERVAL_RANGE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
/// The span that is kept consists of this many segments at least, so that little more is kept than asked for.
const SEGMENTS_OF_REPLAY: u32 = 8;
/// The folder's name below a folder for state.
const FOLDER: &str = "journal";

/// `journal`: `off`, or its keys.
#[derive(Debug, Default)]
pub(crate) struct JournalSection {
    off: bool,
    keys: Keys,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Keys {
    /// The folder; relative to the configuration file.
    path: Option<PathBuf>,
    /// Bytes of all segments.
    bytes_max: Option<u64>,
    /// Bytes of one segment.
    segment_bytes: Option<u64>,
    /// Least time between two commits (`0s`).
    commit_interval: Option<String>,
    /// Event time that a restart reads again (`15m`).
    replay: Option<String>,
    /// Time between two checkpoints (`10m`).
    checkpoint_interval: Option<String>,
}

impl<'de> Deserialize<'de> for JournalSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OffOrKeys)
    }
}

struct OffOrKeys;

impl<'de> Visitor<'de> for OffOrKeys {
    type Value = JournalSection;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`off`, or the keys of the journal")
    }

    /// YAML 1.1 reads `off` as false.
    fn visit_bool<E: serde::de::Error>(self, on: bool) -> Result<Self::Value, E> {
        Ok(JournalSection { off: !on, keys: Keys::default() })
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Self::Value, E> {
        match word {
            "off" => self.visit_bool(false),
            "on" => self.visit_bool(true),
            other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        self.visit_bool(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Ok(JournalSection { off: false, keys: Keys::deserialize(MapAccessDeserializer::new(map))? })
    }
}

/// The journal, checked.
#[derive(Clone, Debug)]
pub(crate) struct JournalSettings {
    pub(crate) journal: JournalConfig,
    pub(crate) replay: Duration,
    pub(crate) interval: Duration,
    /// The folder was not named, it is where such things are by convention: when it cannot be made there is no journal.
    pub(crate) by_convention: bool,
}

impl JournalSection {
    /// `None` when it is off or nowhere, or when there are problems. Without a path it is beside the leases and the
    /// audit log (`state`), else where programs keep their state.
    pub(crate) fn check(
        self,
        folder: &Path,
        state: Option<&Path>,
        problems: &mut Vec<String>,
    ) -> Option<JournalSettings> {
        if self.off {
            return None;
        }
        let Keys { path, bytes_max, segment_bytes, commit_interval, replay, checkpoint_interval } = self.keys;
        let by_convention = path.is_none();
        let segment_bytes = segment_bytes.unwrap_or(SEGMENT_DEFAULT);
        if segment_bytes < SEGMENT_MIN {
            problems.push(format!(
                "journal.segment_bytes: {segment_bytes} is too little, the least is {SEGMENT_MIN}"
            ));
        }
        let bytes_max = bytes_max.unwrap_or(BYTES_DEFAULT);
        let least = BYTES_MIN.max(segment_bytes.saturating_mul(2));
        if bytes_max < least {
            problems.push(format!(
                "journal.bytes_max: {bytes_max} is too little, the least is {least}: the largest request, and two \
                 segments, must fit"
            ));
        }
        let commit_interval =
            duration("journal.commit_interval", commit_interval.as_ref(), problems).unwrap_or_default();
        if commit_interval > COMMIT_INTERVAL_MAX {
            problems.push(format!(
                "journal.commit_interval: {commit_interval:?} is longer than 1s; no sender is answered before its commit"
            ));
        }
        let replay = duration("journal.replay", replay.as_ref(), problems).unwrap_or(REPLAY_DEFAULT);
        if !REPLAY_RANGE.contains(&replay) {
            problems.push(format!("journal.replay: {replay:?} is longer than 24h"));
        }
        let interval = duration("journal.checkpoint_interval", checkpoint_interval.as_ref(), problems)
            .unwrap_or(INTERVAL_DEFAULT);
        if !INTERVAL_RANGE.contains(&interval) {
            problems.push(format!("journal.checkpoint_interval: {interval:?} is outside 1s to 24h"));
        }
        let place = match (path, state) {
            (Some(path), _) => folder.join(path),
            (None, Some(state)) => state.join(FOLDER),
            (None, None) => paths::state_folder()?.join(FOLDER),
        };
        let segment_age = replay / SEGMENTS_OF_REPLAY;
        let retry_after = Duration::ZERO;
        let journal = JournalConfig {
            folder: place,
            bytes_max,
            segment_bytes,
            segment_age,
            commit_interval,
            retry_after,
        };
        Some(JournalSettings { journal, replay, interval, by_convention })
    }
}
