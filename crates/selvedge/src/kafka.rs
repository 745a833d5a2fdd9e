//! Kafka in the program: sections in, a reader at work and an alert sink out.

use std::path::Path;
use std::sync::Arc;

use selvedge_act::{ExternalSink, NamedFile};
use selvedge_kafka::{ReceiverConfig, SinkConfig, TopicReader};
use selvedge_receive::{Behind, Entrance, KafkaStats};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use selvedge_kafka::{ReceiverSection, Remembered, SinkSection};

/// Both sections, checked.
#[derive(Debug, Default)]
pub(crate) struct KafkaSettings {
    receiver: Option<ReceiverConfig>,
    sink: Option<SinkConfig>,
}

impl KafkaSettings {
    /// Checks what there is.
    pub(crate) fn check(
        receiver: Option<ReceiverSection>,
        sink: Option<SinkSection>,
        folder: &Path,
        problems: &mut Vec<String>,
    ) -> Self {
        let mut refuse = |errors: Vec<selvedge_kafka::ConfigError>| {
            problems.extend(errors.iter().map(ToString::to_string));
        };
        let receiver = receiver.and_then(|section| section.check(folder).map_err(&mut refuse).ok());
        let sink = sink.and_then(|section| section.check(folder).map_err(&mut refuse).ok()).flatten();
        Self { receiver, sink }
    }

    /// True when alerts go to a topic.
    pub(crate) fn alerts(&self) -> bool {
        self.sink.is_some()
    }

    /// True when topics are read.
    pub(crate) fn reads(&self) -> bool {
        self.receiver.is_some()
    }

    /// Secrets and certificates that both name.
    pub(crate) fn files(&self) -> Vec<NamedFile> {
        let Self { receiver, sink } = self;
        let receiver = receiver.iter().flat_map(ReceiverConfig::files);
        receiver.chain(sink.iter().flat_map(SinkConfig::files)).collect()
    }

    /// The alert sink, if any. In a runtime.
    pub(crate) fn sinks(&self) -> anyhow::Result<Vec<ExternalSink>> {
        Ok(self.sink.clone().map(SinkConfig::open).transpose()?.into_iter().collect())
    }

    /// The reader, if any, which does not read yet.
    pub(crate) fn open(self, control: &Runtime) -> anyhow::Result<Option<KafkaReader>> {
        let Some(config) = self.receiver else { return Ok(None) };
        let _entered = control.enter();
        Ok(Some(KafkaReader { reader: TopicReader::open(config)?, remembered: Remembered::default() }))
    }
}

/// A reader that did not begin yet.
pub(crate) struct KafkaReader {
    reader: TopicReader,
    /// What the journal has already; it will not be counted twice.
    pub(crate) remembered: Remembered,
}

impl KafkaReader {
    pub(crate) fn stats(&self) -> Arc<KafkaStats> {
        self.reader.stats()
    }

    pub(crate) fn behind(&self) -> Behind {
        self.reader.behind()
    }

    /// Reads until the intake ends. Should reading end by itself, so does the intake: a process that does not read what it
    /// is there for must not look as if it did.
    pub(crate) fn begin(
        self,
        entrance: Entrance,
        intake: &CancellationToken,
        control: &Runtime,
    ) -> JoinHandle<anyhow::Result<()>> {
        let (Self { reader, remembered }, intake) = (self, intake.clone());
        control.spawn(async move {
            let _ended = intake.clone().drop_guard();
            Ok(reader.read(entrance, remembered, intake).await?)
        })
    }
}
