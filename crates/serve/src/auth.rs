//! Who may change something: the holder of one bearer token, under the name that stands in the audit log.

use std::path::{Path, PathBuf};

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use selvedge_receive::{AuthConfig, Secret, TokenCheck};
use serde::Deserialize;

use crate::problem::problem;
use crate::server::ServeError;
use crate::sql::from_another_site;

/// The name unless configured.
const NAME_DEFAULT: &str = "operator";
/// Bytes of a name: more would be cut in the audit log.
const NAME_BYTES_MAX: usize = 128;

/// The section `serve.auth` of the configuration file: one of the two tokens.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServeAuthSection {
    /// The token itself; better as `${env:NAME}`.
    pub bearer_token: Option<Secret>,
    /// A file with the token, read at start; in the program's configuration relative to its file.
    pub bearer_token_file: Option<PathBuf>,
    /// The person or role that holds it: owner of what is approved, and `who` in the audit log. `operator` unless given.
    pub name: Option<String>,
}

/// Checked.
#[derive(Clone, Debug)]
pub(crate) struct ServeAuth {
    token: AuthConfig,
    name: String,
}

impl ServeAuth {
    pub(crate) fn token_file(&self) -> Option<&Path> {
        match &self.token {
            AuthConfig::TokenFile(path) => Some(path),
            AuthConfig::Token(_) => None,
        }
    }
}

impl TryFrom<ServeAuthSection> for ServeAuth {
    type Error = ServeError;

    fn try_from(section: ServeAuthSection) -> Result<Self, ServeError> {
        let token = match (section.bearer_token, section.bearer_token_file) {
            (Some(token), None) => {
                let token = token.reveal().trim().to_owned();
                if token.is_empty() {
                    return Err(ServeError::Auth { key: ".bearer_token", problem: "is empty" });
                }
                AuthConfig::Token(Secret::new(token))
            }
            (None, Some(file)) => AuthConfig::TokenFile(file),
            _ => {
                let problem = "give exactly one of bearer_token and bearer_token_file";
                return Err(ServeError::Auth { key: "", problem });
            }
        };
        let name = section.name.map_or_else(|| NAME_DEFAULT.to_owned(), |name| name.trim().to_owned());
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
            return Err(ServeError::Auth { key: ".name", problem: "must be 1 to 128 printable bytes" });
        }
        if name == selvedge_policy::ENGINE {
            let problem = "is what the audit log calls decisions of no person; take another";
            return Err(ServeError::Auth { key: ".name", problem });
        }
        Ok(Self { token, name })
    }
}

/// Lets the holder of the token in.
pub(crate) struct Doorkeeper {
    token: TokenCheck,
    name: String,
}

impl Doorkeeper {
    /// # Errors
    /// The token's file cannot be read, or holds nothing.
    pub(crate) async fn open(auth: ServeAuth) -> Result<Self, ServeError> {
        Ok(Self { token: TokenCheck::load(&auth.token).await?, name: auth.name })
    }
}

/// Who asks for a change, or why nobody is let in. Pages of other sites are not, whatever they carry.
pub(crate) fn admit<'d>(
    doorkeeper: Option<&'d Doorkeeper>,
    headers: &HeaderMap,
) -> Result<&'d str, Box<Response>> {
    if from_another_site(headers) {
        let detail = "pages of other sites may not change anything";
        return Err(Box::new(problem(StatusCode::FORBIDDEN, "foreign_origin", detail)));
    }
    let Some(doorkeeper) = doorkeeper else {
        let detail = "the API is read-only: to approve and lift quarantines, configure `serve.auth.bearer_token_file` \
                      and start again";
        return Err(Box::new(problem(StatusCode::FORBIDDEN, "read_only", detail)));
    };
    if doorkeeper.token.admits(headers) {
        return Ok(&doorkeeper.name);
    }
    let detail = "this needs the token of `serve.auth`, as `Authorization: Bearer TOKEN`";
    let mut answer = problem(StatusCode::UNAUTHORIZED, "unauthenticated", detail);
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    Err(Box::new(answer))
}
