//! In place of `kafka.rs` in a program that was built without it: a section that asks for it is an error.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use selvedge_act::{ExternalSink, NamedFile};
use selvedge_receive::{Behind, Entrance, KafkaStats};
use serde::de::IgnoredAny;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) type ReceiverSection = IgnoredAny;
pub(crate) type SinkSection = IgnoredAny;

/// Nothing.
#[derive(Debug, Default)]
pub(crate) struct KafkaSettings;

impl KafkaSettings {
    pub(crate) fn check(
        receiver: Option<ReceiverSection>,
        sink: Option<SinkSection>,
        _folder: &Path,
        problems: &mut Vec<String>,
    ) -> Self {
        let asked = [("receivers.kafka", receiver), ("alerts.kafka", sink)];
        problems.extend(asked.into_iter().filter(|(_, section)| section.is_some()).map(|(key, _)| {
            format!("{key}: this selvedge was built without Kafka; build it with the feature `kafka`")
        }));
        Self
    }

    pub(crate) fn alerts(&self) -> bool {
        false
    }

    pub(crate) fn reads(&self) -> bool {
        false
    }

    #[expect(clippy::unused_self, reason = "with Kafka it names some")]
    pub(crate) fn files(&self) -> Vec<NamedFile> {
        Vec::new()
    }

    #[expect(clippy::unnecessary_wraps, reason = "with Kafka it may fail")]
    pub(crate) fn sinks(&self) -> anyhow::Result<Vec<ExternalSink>> {
        Ok(Vec::new())
    }

    #[expect(clippy::unnecessary_wraps, reason = "with Kafka it may fail")]
    pub(crate) fn open(self, _control: &Runtime) -> anyhow::Result<Option<KafkaReader>> {
        Ok(None)
    }
}

/// Remembers nothing, since nothing comes again.
pub(crate) struct Remembered(Infallible);

impl Remembered {
    pub(crate) fn note(&mut self, _body: &[u8]) {
        match self.0 {}
    }
}

/// There is none.
pub(crate) struct KafkaReader {
    pub(crate) remembered: Remembered,
}

impl KafkaReader {
    pub(crate) fn stats(&self) -> Arc<KafkaStats> {
        match self.remembered.0 {}
    }

    pub(crate) fn behind(&self) -> Behind {
        match self.remembered.0 {}
    }

    pub(crate) fn begin(
        self,
        _entrance: Entrance,
        _intake: &CancellationToken,
        _control: &Runtime,
    ) -> JoinHandle<anyhow::Result<()>> {
        match self.remembered.0 {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_that_needs_kafka_is_an_error_that_says_so() {
        let mut problems = Vec::new();
        KafkaSettings::check(Some(IgnoredAny), Some(IgnoredAny), Path::new(""), &mut problems);
        let told = "this selvedge was built without Kafka; build it with the feature `kafka`";
        assert_eq!(problems, [format!("receivers.kafka: {told}"), format!("alerts.kafka: {told}")]);
    }
}
