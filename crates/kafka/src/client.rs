//! What every client of ours has: the connection, with its secrets, and a log that holds none.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use selvedge_act::{ActError, Secret};

use crate::config::Connection;

/// A client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The password cannot be read.
    #[error("{section}: the password cannot be read")]
    Secret {
        /// `receivers.kafka` or `alerts.kafka`.
        section: &'static str,
        /// Why.
        source: ActError,
    },
    /// librdkafka refuses the configuration: a certificate cannot be read, for instance.
    #[error("{section}: {reason}")]
    Client {
        /// `receivers.kafka` or `alerts.kafka`.
        section: &'static str,
        /// What it says, without secrets.
        reason: String,
    },
}

/// A configuration of librdkafka that reaches the brokers, and what must not be seen of it.
pub(crate) struct Base {
    pub(crate) section: &'static str,
    pub(crate) config: ClientConfig,
    pub(crate) log: Log,
}

impl Base {
    pub(crate) fn of(connection: &Connection, section: &'static str) -> Result<Self, OpenError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", connection.brokers.join(","));
        config.set("client.id", &connection.client_id);
        // A topic that is made later is found soon; brokers that went away are asked again soon.
        config.set("topic.metadata.refresh.interval.ms", "10000");
        config.set("reconnect.backoff.max.ms", "5000");
        let (tls, sasl) = (&connection.tls, &connection.sasl);
        let protocol = match (tls, sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(tls) = tls {
            // `probe`: the usual places of distributions, since OpenSSL is ours and knows none.
            let ca =
                tls.ca_file.as_ref().map_or_else(|| "probe".to_owned(), |path| path.display().to_string());
            config.set("ssl.ca.location", ca);
            if let Some((certificate, key)) = &tls.own {
                config.set("ssl.certificate.location", certificate.display().to_string());
                config.set("ssl.key.location", key.display().to_string());
            }
        }
        let mut log = Log { secret: None };
        if let Some(sasl) = sasl {
            let password = sasl.password.load().map_err(|source| OpenError::Secret { section, source })?;
            config.set("sasl.mechanism", sasl.mechanism);
            config.set("sasl.username", &sasl.username);
            config.set("sasl.password", password.reveal());
            log.secret = Some(password);
        }
        Ok(Self { section, config, log })
    }

    pub(crate) fn refused(&self, error: &KafkaError) -> OpenError {
        OpenError::Client { section: self.section, reason: self.log.clean(&error.to_string()) }
    }
}

/// Where lines of librdkafka go.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    secret: Option<Secret>,
}

impl Log {
    pub(crate) fn line(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        let text = self.clean(text);
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(facility, "librdkafka: {text}");
            }
            // A broker that is away is an error to it, and tried again: we cope.
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                tracing::warn!(facility, "librdkafka: {text}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(facility, "librdkafka: {text}"),
            RDKafkaLogLevel::Debug => tracing::debug!(facility, "librdkafka: {text}"),
        }
    }

    /// What librdkafka says, without our password.
    pub(crate) fn clean(&self, text: &str) -> String {
        match &self.secret {
            Some(secret) if !secret.reveal().is_empty() => text.replace(secret.reveal(), "(secret)"),
            _ => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_librdkafka_says_is_told_without_the_password() {
        let log = Log { secret: Some(Secret::new("s3cret".to_owned())) };
        assert_eq!(log.clean("bad credentials kim:s3cret"), "bad credentials kim:(secret)");
        assert_eq!(Log { secret: None }.clean("all is well"), "all is well");
    }
}
