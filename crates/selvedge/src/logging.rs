//! Logs to standard error: text on a terminal, JSON lines elsewhere.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Starts logging at `level` (`RUST_LOG` syntax; `RUST_LOG` itself wins).
pub(crate) fn start(level: &str) -> anyhow::Result<()> {
    let filter = match env("RUST_LOG") {
        Some(filter) => EnvFilter::try_new(filter)?,
        None => EnvFilter::try_new(level)?,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        registry.with(layer.with_ansi(colour_allowed()).with_target(false)).try_init()?;
    } else {
        registry.with(layer.json()).try_init()?;
    }
    Ok(())
}

/// Colour is welcome unless `NO_COLOR` says otherwise (no-color.org).
pub(crate) fn colour_allowed() -> bool {
    env("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Reads the environment.
#[expect(clippy::disallowed_methods, reason = "this crate is the one that reads the environment")]
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
