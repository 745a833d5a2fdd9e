//! Both sections, checked: every value is usable, and every problem is told with its key.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use selvedge_act::{FileUse, NamedFile, SecretSource};
use selvedge_model::{Severity, SignalKind};
use selvedge_receive::Encoding;

use crate::section::{AuthSection, ReceiverSection, SaslSection, SignalSection, SinkSection, TlsSection};

/// Keys of the two sections.
const RECEIVER: &str = "receivers.kafka";
const SINK: &str = "alerts.kafka";
const NAME_DEFAULT: &str = "selvedge";
const ALERTS_TOPIC_DEFAULT: &str = "selvedge_alerts";
/// By [`SignalKind`], in its order: the Collector's.
const TOPICS_DEFAULT: [&str; 3] = ["otlp_spans", "otlp_metrics", "otlp_logs"];
/// Appended to a topic's name: where its dead letters go.
pub(crate) const DEAD_LETTERS: &str = ".dlq";
/// What Kafka allows, less what [`DEAD_LETTERS`] takes.
const TOPIC_CHARS_MAX: usize = 249 - DEAD_LETTERS.len();
const TOPICS_MAX: usize = 100;
/// As much as the OTLP receivers take.
const MESSAGE_BYTES_DEFAULT: usize = 20 << 20;
const MESSAGE_BYTES_RANGE: std::ops::RangeInclusive<u64> = 1_024..=64 << 20;
const COMMIT_INTERVAL_DEFAULT: Duration = Duration::from_secs(1);
const COMMIT_INTERVAL_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_mins(1);
const SESSION_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Brokers refuse less than 6 s and more than 30 min, unless they are told otherwise.
const SESSION_TIMEOUT_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(6)..=Duration::from_mins(30);
const SEND_TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);
const SEND_TIMEOUT_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_mins(5);

/// One thing wrong with a section.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigError {
    /// Dotted path of the key.
    pub key: String,
    /// What is wrong and what to do.
    pub problem: String,
}

/// How brokers are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// `host:port` each.
    pub brokers: Vec<String>,
    /// How we are called.
    pub client_id: String,
    /// TLS, when on.
    pub tls: Option<Tls>,
    /// SASL, when on.
    pub sasl: Option<Sasl>,
}

/// TLS towards brokers. The name in their certificate is always checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its key.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// SASL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sasl {
    /// `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`.
    pub mechanism: &'static str,
    /// Who we are.
    pub username: String,
    /// The proof.
    pub password: SecretSource,
}

impl Connection {
    /// The files that are named in the section of this key.
    fn files(&self, section: &str) -> Vec<NamedFile> {
        let Self { brokers: _, client_id: _, tls, sasl } = self;
        let named = |name, path, for_what| NamedFile::new(format!("{section}.tls.{name}"), path, for_what);
        let mut files = Vec::new();
        if let Some(Tls { ca_file, own }) = tls {
            files.extend(ca_file.as_ref().map(|path| named("ca_file", path, FileUse::Roots)));
            files.extend(own.iter().flat_map(|(certificate, key)| {
                let certificate = named("cert_file", certificate, FileUse::Certificates);
                [certificate, named("key_file", key, FileUse::Secret)]
            }));
        }
        files.extend(sasl.as_ref().and_then(|sasl| sasl.password.file()));
        files
    }
}

/// Where to begin where the group has committed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialOffset {
    /// With what comes from now on.
    Latest,
    /// With everything that the topic still has.
    Earliest,
}

/// What is in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Which signal.
    pub signal: SignalKind,
    /// How messages are written.
    pub encoding: Encoding,
}

/// The reader of topics, ready to be opened.
#[derive(Clone, Debug)]
pub struct ReceiverConfig {
    /// How brokers are reached.
    pub connection: Connection,
    /// Consumer group.
    pub group_id: String,
    /// Static membership, when on.
    pub group_instance_id: Option<String>,
    /// Where to begin.
    pub initial_offset: InitialOffset,
    /// How long a member may be silent.
    pub session_timeout: Duration,
    /// How often offsets are committed.
    pub commit_interval: Duration,
    /// Largest message.
    pub message_bytes_max: usize,
    /// What is in which topic.
    pub topics: BTreeMap<Arc<str>, Subject>,
}

/// The alert sink, ready to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkConfig {
    /// How brokers are reached.
    pub connection: Connection,
    /// Below it nothing is sent.
    pub min_severity: Severity,
    /// Where alerts go.
    pub topic: String,
    /// Where incidents go, if anywhere.
    pub incidents_topic: Option<String>,
    /// Time for one attempt.
    pub timeout: Duration,
}

impl ReceiverConfig {
    /// Secrets and certificates that it names.
    #[must_use]
    pub fn files(&self) -> Vec<NamedFile> {
        self.connection.files(RECEIVER)
    }
}

impl SinkConfig {
    /// Secrets and certificates that it names.
    #[must_use]
    pub fn files(&self) -> Vec<NamedFile> {
        self.connection.files(SINK)
    }
}

impl ReceiverSection {
    /// Checks everything; files are looked for beside `folder`.
    ///
    /// # Errors
    /// Everything that is wrong, each with its key.
    pub fn check(self, folder: &Path) -> Result<ReceiverConfig, Vec<ConfigError>> {
        let mut check = Check::new(RECEIVER, folder);
        let initial_offset = match self.initial_offset.as_deref() {
            None | Some("latest") => InitialOffset::Latest,
            Some("earliest") => InitialOffset::Earliest,
            Some(other) => {
                check.refuse("initial_offset", format!("{other:?} is neither latest nor earliest"));
                InitialOffset::Latest
            }
        };
        let message_bytes_max = match self.max_message_bytes {
            None => MESSAGE_BYTES_DEFAULT,
            Some(bytes) if MESSAGE_BYTES_RANGE.contains(&bytes) => {
                usize::try_from(bytes).unwrap_or(usize::MAX)
            }
            Some(bytes) => {
                check.refuse("max_message_bytes", format!("{bytes} is outside 1024 to 67108864"));
                MESSAGE_BYTES_DEFAULT
            }
        };
        let interval = self.autocommit.interval.as_deref();
        let config = ReceiverConfig {
            group_id: check.name("group_id", self.group_id, NAME_DEFAULT),
            group_instance_id: self.group_instance_id.map(|id| check.name("group_instance_id", Some(id), "")),
            initial_offset,
            session_timeout: check.duration(
                "session_timeout",
                self.session_timeout.as_deref(),
                SESSION_TIMEOUT_DEFAULT,
                SESSION_TIMEOUT_RANGE,
            ),
            commit_interval: check.duration(
                "autocommit.interval",
                interval,
                COMMIT_INTERVAL_DEFAULT,
                COMMIT_INTERVAL_RANGE,
            ),
            message_bytes_max,
            topics: check.topics([self.traces, self.metrics, self.logs]),
            connection: check.connection(self.brokers, self.client_id, self.tls, self.auth),
        };
        check.end(config)
    }
}

impl SinkSection {
    /// Checks everything; files are looked for beside `folder`. `None`: it is switched off, and a draft.
    ///
    /// # Errors
    /// Everything that is wrong, each with its key.
    pub fn check(self, folder: &Path) -> Result<Option<SinkConfig>, Vec<ConfigError>> {
        if self.enabled == Some(false) {
            return Ok(None);
        }
        let mut check = Check::new(SINK, folder);
        let min_severity = self.min_severity.as_deref().map_or(Some(Severity::Low), Severity::parse);
        if min_severity.is_none() {
            let names = Severity::ALL.map(Severity::name).join(", ");
            check.refuse("min_severity", format!("must be one of {names}"));
        }
        let topic = check.name("topic", self.topic, ALERTS_TOPIC_DEFAULT);
        check.topic("topic", &topic);
        if let Some(incidents) = &self.incidents_topic {
            check.topic("incidents_topic", incidents);
            if *incidents == topic {
                check
                    .refuse("incidents_topic", "is the topic of alerts: its documents are others".to_owned());
            }
        }
        let timeout =
            check.duration("timeout", self.timeout.as_deref(), SEND_TIMEOUT_DEFAULT, SEND_TIMEOUT_RANGE);
        let config = SinkConfig {
            min_severity: min_severity.unwrap_or(Severity::Low),
            topic,
            incidents_topic: self.incidents_topic,
            timeout,
            connection: check.connection(self.brokers, self.client_id, self.tls, self.auth),
        };
        check.end(Some(config))
    }
}

/// Collects what is wrong.
struct Check<'a> {
    section: &'static str,
    folder: &'a Path,
    errors: Vec<ConfigError>,
}

impl<'a> Check<'a> {
    fn new(section: &'static str, folder: &'a Path) -> Self {
        Self { section, folder, errors: Vec::new() }
    }

    fn end<T>(self, config: T) -> Result<T, Vec<ConfigError>> {
        if self.errors.is_empty() { Ok(config) } else { Err(self.errors) }
    }

    fn refuse(&mut self, key: &str, problem: String) {
        self.errors.push(ConfigError { key: format!("{}.{key}", self.section), problem });
    }

    fn name(&mut self, key: &str, given: Option<String>, default: &str) -> String {
        let Some(name) = given else { return default.to_owned() };
        if name.trim().is_empty() {
            self.refuse(key, "is empty".to_owned());
        }
        name
    }

    fn duration(
        &mut self,
        key: &str,
        text: Option<&str>,
        default: Duration,
        range: std::ops::RangeInclusive<Duration>,
    ) -> Duration {
        let Some(text) = text else { return default };
        match humantime::parse_duration(text) {
            Ok(duration) if range.contains(&duration) => return duration,
            Ok(_) => {
                self.refuse(key, format!("{text:?} is outside {:?} to {:?}", range.start(), range.end()))
            }
            Err(error) => {
                self.refuse(key, format!("{text:?} is not a duration such as 1s or 500ms: {error}"))
            }
        }
        default
    }

    fn topic(&mut self, key: &str, topic: &str) {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if topic.starts_with('^') {
            self.refuse(key, format!("{topic:?} is a pattern; name each topic"));
        } else if topic.is_empty() || TOPIC_CHARS_MAX < topic.len() || !topic.bytes().all(legal) {
            self.refuse(key, format!("{topic:?} is no name of a topic: letters, digits, `.`, `_`, `-`"));
        } else if topic.ends_with(DEAD_LETTERS) && self.section == RECEIVER {
            self.refuse(key, format!("{topic:?} holds dead letters, which would come back"));
        }
    }

    fn topics(&mut self, sections: [Option<SignalSection>; 3]) -> BTreeMap<Arc<str>, Subject> {
        let all = sections.iter().all(Option::is_none);
        let mut topics = BTreeMap::new();
        for (signal, section) in SignalKind::ALL.into_iter().zip(sections) {
            if section.is_none() && !all {
                continue;
            }
            let section = section.unwrap_or_default();
            let key = |name: &str| format!("{}.{name}", signal.name());
            let encoding = match section.encoding.as_deref() {
                None | Some("otlp_proto") => Encoding::Protobuf,
                Some("otlp_json") => Encoding::Json,
                Some(other) => {
                    self.refuse(&key("encoding"), format!("{other:?} is neither otlp_proto nor otlp_json"));
                    continue;
                }
            };
            let mut names: Vec<String> = section.topic.into_iter().chain(section.topics).collect();
            if names.is_empty() {
                names.push(TOPICS_DEFAULT[signal as usize].to_owned());
            }
            for name in names {
                self.topic(&key("topics"), &name);
                if topics.insert(Arc::from(&*name), Subject { signal, encoding }).is_some() {
                    self.refuse(&key("topics"), format!("{name:?} is there twice: a topic has one signal"));
                }
            }
        }
        if TOPICS_MAX < topics.len() {
            self.refuse("traces.topics", format!("there are more than {TOPICS_MAX} topics"));
        }
        topics
    }

    fn connection(
        &mut self,
        brokers: Vec<String>,
        client_id: Option<String>,
        tls: Option<TlsSection>,
        auth: Option<AuthSection>,
    ) -> Connection {
        if brokers.is_empty() {
            self.refuse("brokers", "is missing: name one broker at least, as host:port".to_owned());
        }
        for broker in &brokers {
            let port = broker.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
            if !matches!(port, Some((host, Ok(1..))) if !host.is_empty() && !host.contains([',', '/', ' '])) {
                self.refuse("brokers", format!("{broker:?} is not host:port"));
            }
        }
        let client_id = self.name("client_id", client_id, NAME_DEFAULT);
        let (waived, tls) = match tls {
            Some(tls) => (tls.insecure, self.tls(tls)),
            None => (false, None),
        };
        let sasl = auth.and_then(|auth| auth.sasl).and_then(|sasl| self.sasl(sasl));
        let exposed = tls.is_none() && !waived && !brokers.iter().all(|broker| is_loopback(broker));
        if exposed && sasl.as_ref().is_some_and(|sasl| sasl.mechanism == "PLAIN") {
            let problem = "PLAIN sends the password as it is: turn on tls, or say `tls: {insecure: true}`";
            self.refuse("auth.sasl.mechanism", problem.to_owned());
        }
        Connection { brokers, client_id, tls, sasl }
    }

    fn tls(&mut self, section: TlsSection) -> Option<Tls> {
        if section.insecure {
            return None;
        }
        let beside = |path: PathBuf| self.folder.join(path);
        let ca_file = section.ca_file.map(beside);
        let own = match (section.cert_file.map(beside), section.key_file.map(beside)) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                self.refuse("tls.key_file", "is missing beside cert_file".to_owned());
                None
            }
            (None, Some(_)) => {
                self.refuse("tls.cert_file", "is missing beside key_file".to_owned());
                None
            }
        };
        Some(Tls { ca_file, own })
    }

    fn sasl(&mut self, section: SaslSection) -> Option<Sasl> {
        let mechanism = match section.mechanism.as_deref() {
            Some("PLAIN") => Some("PLAIN"),
            Some("SCRAM-SHA-256") => Some("SCRAM-SHA-256"),
            Some("SCRAM-SHA-512") => Some("SCRAM-SHA-512"),
            _ => {
                self.refuse(
                    "auth.sasl.mechanism",
                    "must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512".to_owned(),
                );
                None
            }
        };
        let username = section.username.filter(|name| !name.is_empty());
        if username.is_none() {
            self.refuse("auth.sasl.username", "is missing".to_owned());
        }
        let password = match (section.password, section.password_file) {
            (Some(password), None) if !password.reveal().trim().is_empty() => {
                Some(SecretSource::Inline(password))
            }
            (None, Some(path)) => Some(SecretSource::File {
                key: format!("{}.auth.sasl.password_file", self.section),
                path: self.folder.join(path),
            }),
            (Some(_), Some(_)) => {
                self.refuse("auth.sasl.password_file", "stands beside password: give one".to_owned());
                None
            }
            _ => {
                self.refuse("auth.sasl.password", "is missing; or give password_file".to_owned());
                None
            }
        };
        Some(Sasl { mechanism: mechanism?, username: username?, password: password? })
    }
}

fn is_loopback(broker: &str) -> bool {
    let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host);
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
