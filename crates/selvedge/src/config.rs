//! The configuration file: sections in, one checked value out, all problems at once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use selvedge_act::{ActConfig, AlertsSection};
use selvedge_engine::{EngineConfig, RuleSet};
use selvedge_policy::RenderContext;
use selvedge_receive::{OtlpSection, ReceiveConfig};
use selvedge_serve::{ServeConfig, ServeSection};
use serde::Deserialize;

use crate::detection_section::DetectionSection;
use crate::exit::Failure;
use crate::journal_section::{JournalSection, JournalSettings};
use crate::kafka::{KafkaSettings, ReceiverSection, SinkSection};
use crate::quarantine_section::{EnforcementSettings, QuarantineSection};
use crate::sql_section::{SqlSection, SqlSettings};
use crate::{logging, yaml};

/// Log level unless configured.
const LOG_LEVEL_DEFAULT: &str = "info";
/// A window shorter than this holds too few calls to count, a longer one alerts too late.
const WINDOW_RANGE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);
/// Smallest join window: a single full batch of 20 MiB must fit.
const JOIN_BYTES_MIN: usize = 32 << 20;

/// The file as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileSection {
    receivers: ReceiversSection,
    serve: ServeSection,
    sql: SqlSection,
    quarantine: QuarantineSection,
    engine: EngineSection,
    journal: JournalSection,
    detection: DetectionSection,
    rules: RulesSection,
    alerts: AlertsSection<SinkSection>,
    log: LogSection,
}

/// The `receivers` section, with the Collector's names.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ReceiversSection {
    otlp: OtlpSection,
    kafka: Option<ReceiverSection>,
}

/// The `engine` section.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EngineSection {
    /// Number of shards; each beyond the first is a thread.
    shards: Option<u16>,
    /// Length of a window (`10s`).
    window: Option<String>,
    /// How long records may arrive out of order without holding a window open (`1s`).
    watermark_delay: Option<String>,
    /// How long after its window a record may still join its call (`30s`).
    allowed_lateness: Option<String>,
    /// Mebibytes of open calls.
    join_memory_mib: Option<usize>,
}

/// The `rules` section.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RulesSection {
    /// Folder of rule files that override the shipped ones, by kind.
    folder: Option<PathBuf>,
}

/// The `log` section.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LogSection {
    /// `error`, `warn`, `info`, `debug`, or a filter in the syntax of `RUST_LOG`.
    level: Option<LogFilter>,
}

/// A filter that logging can be started with.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct LogFilter(String);

impl TryFrom<String> for LogFilter {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        logging::check(&text).map(|()| Self(text))
    }
}

/// Everything checked.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) receive: ReceiveConfig,
    pub(crate) serve: ServeConfig,
    /// `None`: off.
    pub(crate) sql: Option<SqlSettings>,
    /// What policies as text need to know of the mesh.
    pub(crate) render: RenderContext,
    /// `None`: proposals only.
    pub(crate) enforcement: Option<EnforcementSettings>,
    /// `None`: off, or nowhere to be.
    pub(crate) journal: Option<JournalSettings>,
    pub(crate) engine: EngineConfig,
    pub(crate) rules: RuleSet,
    pub(crate) act: ActConfig,
    pub(crate) kafka: KafkaSettings,
    pub(crate) log_level: String,
}

/// A file that cannot be used: every problem on its own line.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub(crate) struct InvalidConfig {
    problems: Vec<String>,
}

impl InvalidConfig {
    fn text(&self) -> String {
        let count = self.problems.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        format!("{count} {noun} in the configuration\n  {}", self.problems.join("\n  "))
    }
}

/// Reads and checks the file, or takes the defaults when there is none.
pub(crate) fn load(path: Option<&Path>) -> Result<Config, Failure> {
    let Some(path) = path else {
        return check(FileSection::default(), Path::new("")).map_err(Failure::config);
    };
    let text = std::fs::read_to_string(path).map_err(|source| {
        Failure::config(anyhow::Error::new(source).context(format!("cannot read {}", path.display())))
    })?;
    let section = yaml::read::<FileSection>(&text).map_err(|problems| {
        let problems = problems.iter().map(|problem| format!("{}:{problem}", path.display())).collect();
        Failure::config(InvalidConfig { problems })
    })?;
    check(section, path.parent().unwrap_or(Path::new(""))).map_err(Failure::config)
}

/// The problems of a text that should be a configuration file of this folder.
#[cfg(feature = "fuzzing")]
pub(crate) fn check_text(text: &str, folder: &Path) -> Result<(), Vec<String>> {
    let section = yaml::read::<FileSection>(text)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    check(section, folder).map(drop).map_err(|invalid| invalid.problems)
}

fn check(mut file: FileSection, folder: &Path) -> Result<Config, InvalidConfig> {
    let mut problems = Vec::new();
    let receive = ReceiveConfig::try_from(file.receivers.otlp)
        .map_err(|errors| problems.extend(errors.iter().map(ToString::to_string)))
        .ok();
    let (topics, alerts) = (file.receivers.kafka, file.alerts.kafka.take());
    let kafka = KafkaSettings::check(topics, alerts, folder, &mut problems);
    let act = ActConfig::try_from(file.alerts)
        .map_err(|errors| problems.extend(errors.iter().map(ToString::to_string)))
        .ok();
    let mut serve = file.serve;
    if let Some(token) = serve.auth.as_mut().and_then(|auth| auth.bearer_token_file.as_mut()) {
        *token = folder.join(&*token);
    }
    let serve = ServeConfig::try_from(serve).map_err(|error| problems.push(error.to_string())).ok();
    let mut engine = file.engine.check(&mut problems);
    file.detection.apply(&mut engine, &mut problems);
    let (policy, enforcement) = file.quarantine.check(folder, &mut problems);
    let yaml = enforcement.as_ref().and_then(|settings| settings.yaml.as_ref());
    let render = yaml.map_or_else(RenderContext::default, |yaml| yaml.context.clone());
    engine.policy = policy;
    let state = enforcement.as_ref().map(|settings| settings.folder.as_path());
    let journal = file.journal.check(folder, state, &mut problems);
    let sql = file.sql.check(folder, &mut problems);
    let rules = file.rules.check(folder, &mut problems);
    match (receive, serve, act, rules) {
        (Some(receive), Some(serve), Some(act), Some(rules)) if problems.is_empty() => {
            let log_level = file.log.level.map_or_else(|| LOG_LEVEL_DEFAULT.to_owned(), |filter| filter.0);
            Ok(Config {
                receive,
                serve,
                sql,
                render,
                enforcement,
                journal,
                engine,
                rules,
                act,
                kafka,
                log_level,
            })
        }
        _ => Err(InvalidConfig { problems }),
    }
}

impl EngineSection {
    fn check(&self, problems: &mut Vec<String>) -> EngineConfig {
        let mut config = EngineConfig::default();
        match self.shards {
            Some(0) => problems.push("engine.shards: must be at least 1".to_owned()),
            Some(shards) => config.shards = usize::from(shards),
            None => {}
        }
        if let Some(window) = duration("engine.window", self.window.as_ref(), problems) {
            if WINDOW_RANGE.contains(&window) {
                config.join.window_length = window;
            } else {
                problems.push(format!("engine.window: {window:?} is outside 1s to 300s"));
            }
        }
        if let Some(delay) = duration("engine.watermark_delay", self.watermark_delay.as_ref(), problems) {
            config.join.watermark_delay = delay;
        }
        if let Some(lateness) = duration("engine.allowed_lateness", self.allowed_lateness.as_ref(), problems)
        {
            config.join.allowed_lateness = lateness;
        }
        if let Some(mib) = self.join_memory_mib {
            let bytes = mib << 20;
            if bytes < JOIN_BYTES_MIN {
                problems.push(format!(
                    "engine.join_memory_mib: {mib} is too little, the least is {}",
                    JOIN_BYTES_MIN >> 20
                ));
            } else {
                config.join.open_bytes_max = bytes;
            }
        }
        config
    }
}

impl RulesSection {
    fn check(&self, folder: &Path, problems: &mut Vec<String>) -> Option<RuleSet> {
        let Some(rules) = &self.folder else { return Some(RuleSet::shipped()) };
        let path = folder.join(rules);
        let files = match read_rules(&path) {
            Ok(files) => files,
            Err(error) => {
                problems.push(format!("rules.folder: cannot read {}: {error}", path.display()));
                return None;
            }
        };
        RuleSet::load(&files).map_err(|errors| problems.extend(errors.iter().map(ToString::to_string))).ok()
    }
}

/// Name and text of every `.yml` and `.yaml` file of a folder, by name.
fn read_rules(folder: &Path) -> std::io::Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml") {
            files.push((path.display().to_string(), std::fs::read_to_string(&path)?));
        }
    }
    files.sort();
    Ok(files)
}

pub(crate) fn duration(key: &str, text: Option<&String>, problems: &mut Vec<String>) -> Option<Duration> {
    let text = text?;
    match humantime::parse_duration(text) {
        Ok(duration) => Some(duration),
        Err(_) => {
            problems.push(format!("{key}: `{text}` is not a duration, such as `10s` or `500ms`"));
            None
        }
    }
}
