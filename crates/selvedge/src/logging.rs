//! Logs to standard error: text on a terminal, JSON lines elsewhere.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::yaml::nearest;

/// Levels, as filters name them.
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Whether logging can be started with this filter; what is wrong when not. A word alone is the name of a module to the
/// filter, and would silence all others: one that was probably meant to be a level is refused.
pub(crate) fn check(filter: &str) -> Result<(), String> {
    let example = "a level such as `info`, or a filter such as `info,selvedge_act=debug`";
    EnvFilter::try_new(filter)
        .map_err(|error| format!("`{filter}` is no log filter ({error}); give {example}"))?;
    for word in filter.split(',').map(str::trim) {
        let level = word.rsplit_once('=').map_or(word, |(_, level)| level);
        let known = level.is_empty() || LEVELS.contains(&level.to_ascii_lowercase().as_str());
        if let (false, Some(meant)) = (known, nearest(&level.to_ascii_lowercase(), &LEVELS)) {
            return Err(format!("`{level}` is no log level; did you mean `{meant}`?"));
        }
    }
    Ok(())
}

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

/// The token that was given, or that of `SELVEDGE_TOKEN`. An empty one is none: that is how scripts say so.
pub(crate) fn token(given: Option<&str>) -> Option<String> {
    let token = given.map(str::to_owned).or_else(|| env("SELVEDGE_TOKEN"));
    token.filter(|token| !token.trim().is_empty())
}

/// Reads the environment.
#[expect(clippy::disallowed_methods, reason = "this crate is the one that reads the environment")]
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
