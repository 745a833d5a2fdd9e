//! What a fuzzer needs of the configuration. Not in what is shipped.

use std::path::Path;

use crate::{config, yaml};

/// Reads and checks the text of a configuration file, as `selvedge check` does. The problems, one line each.
///
/// # Errors
/// What is wrong with it.
pub fn check_config(text: &str, folder: &Path) -> Result<(), Vec<String>> {
    config::check_text(text, folder)
}

/// How a misspelt key is compared with a known one.
#[must_use]
pub fn nearest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    yaml::nearest(written, known)
}
