//! The bearer token: given or read from a file, compared in constant time, never printed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::config::AuthConfig;
use crate::error::ReceiveError;

/// Text that must not be printed. `Debug` says only that it is there.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
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
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}

type Fingerprint = [u8; 32];

fn fingerprint(token: &[u8]) -> Fingerprint {
    Sha256::digest(token).into()
}

/// Compares digests: neither the length nor the first difference of the tokens shows in the time it takes.
fn same(one: &Fingerprint, other: &Fingerprint) -> bool {
    let difference = one.iter().zip(other).fold(0, |seen, (a, b)| seen | (a ^ b));
    std::hint::black_box(difference) == 0
}

/// The token that requests must carry, as of now. Other doors of the program ask it too.
pub struct TokenCheck {
    file: Option<PathBuf>,
    wanted: ArcSwap<Fingerprint>,
}

impl TokenCheck {
    /// Takes the token from the configuration, or reads its file.
    ///
    /// # Errors
    /// The file cannot be read, or holds nothing.
    pub async fn load(config: &AuthConfig) -> Result<Self, ReceiveError> {
        let (file, token) = match config {
            AuthConfig::Token(token) => (None, token.clone()),
            AuthConfig::TokenFile(path) => (Some(path.clone()), read_token(path).await?),
        };
        Ok(Self { file, wanted: ArcSwap::from_pointee(fingerprint(token.reveal().as_bytes())) })
    }

    /// Reads the file again. True when the token is another one now; on an error the old one stays.
    ///
    /// # Errors
    /// The file cannot be read, or holds nothing.
    pub async fn reload(&self) -> Result<bool, ReceiveError> {
        let Some(file) = &self.file else { return Ok(false) };
        let fresh = fingerprint(read_token(file).await?.reveal().as_bytes());
        let changed = !same(&fresh, &self.wanted.load());
        if changed {
            self.wanted.store(Arc::new(fresh));
        }
        Ok(changed)
    }

    /// True when the request carries the token: `authorization: Bearer TOKEN`.
    #[must_use]
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(AUTHORIZATION) else { return false };
        let Some((scheme, token)) = value.as_bytes().split_at_checked(BEARER.len()) else { return false };
        scheme.eq_ignore_ascii_case(BEARER) && same(&fingerprint(token.trim_ascii()), &self.wanted.load())
    }
}

const BEARER: &[u8] = b"Bearer ";

/// A token file holds the token and perhaps white space around it.
async fn read_token(path: &Path) -> Result<Secret, ReceiveError> {
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|source| ReceiveError::Unreadable { path: path.to_owned(), source })?;
    let token = text.trim();
    if token.is_empty() {
        return Err(ReceiveError::EmptyToken { path: path.to_owned() });
    }
    Ok(Secret::new(token.to_owned()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[tokio::test]
    async fn only_the_whole_token_is_admitted_and_the_scheme_has_no_case() {
        let check = TokenCheck::load(&AuthConfig::Token(Secret::new("s3cret".to_owned()))).await.unwrap();
        let table = [
            ("Bearer s3cret", true),
            ("bearer s3cret", true),
            ("Bearer  s3cret", true),
            ("Bearer s3cre", false),
            ("Bearer s3crets", false),
            ("Bearer", false),
            ("Basic s3cret", false),
            ("", false),
        ];
        for (value, admitted) in table {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
            assert_eq!(check.admits(&headers), admitted, "{value}");
        }
        assert!(!check.admits(&HeaderMap::new()));
    }

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(format!("{:?}", Secret::new("s3cret".to_owned())), "(secret)");
    }
}
