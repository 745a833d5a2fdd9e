//! Text that must not be printed, and where it comes from.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use crate::error::ActError;

/// Text that must not be printed. `Debug` says only that it is there.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A secret, or the file that holds it. Files are read when the sinks start, so that `check` needs no secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// Given in the configuration.
    Inline(Secret),
    /// To be read from a file; white space around it is not part of it.
    File {
        /// Dotted path of the key that names the file.
        key: String,
        /// The file.
        path: PathBuf,
    },
}

impl SecretSource {
    /// The secret.
    ///
    /// # Errors
    /// The file cannot be read, or holds nothing.
    pub fn load(&self) -> Result<Secret, ActError> {
        match self {
            Self::Inline(secret) => Ok(secret.clone()),
            Self::File { key, path } => {
                let text = std::fs::read_to_string(path).map_err(|source| ActError::Unreadable {
                    key: key.clone(),
                    path: path.clone(),
                    source,
                })?;
                let text = text.trim();
                if text.is_empty() {
                    let problem = format!("{} is empty", path.display());
                    return Err(ActError::Invalid { key: key.clone(), problem });
                }
                Ok(Secret::new(text.to_owned()))
            }
        }
    }

    /// The key to name when the secret turns out to be unusable.
    pub(crate) fn key<'a>(&'a self, inline: &'a str) -> &'a str {
        match self {
            Self::Inline(_) => inline,
            Self::File { key, .. } => key,
        }
    }
}
