//! The running engine, asked over its API.

use anyhow::Context as _;
use selvedge_act::{Answer, AskError, Asker, Secret};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::EngineArgs;

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Where the engine is, and who asks.
pub(super) struct Engine {
    asker: Asker,
    with_token: bool,
}

/// What it said.
pub(super) struct Answered {
    status: u16,
    body: Vec<u8>,
    with_token: bool,
}

/// What is wrong, as the API tells it.
#[derive(Deserialize)]
struct Problem {
    detail: String,
    #[serde(default)]
    reasons: Vec<String>,
}

impl Engine {
    pub(super) fn of(args: &EngineArgs) -> anyhow::Result<Self> {
        let token = crate::logging::token(args.token.as_deref()).map(Secret::new);
        let asker = Asker::new(&args.url, "/api/v1", token.as_ref())?;
        Ok(Self { asker, with_token: token.is_some() })
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Answered> {
        self.take(self.asker.get(path).await).await
    }

    pub(super) async fn post(&self, path: &str, json: String) -> anyhow::Result<Answered> {
        self.take(self.asker.post_json(path, json).await).await
    }

    async fn take(&self, answer: Result<Answer, AskError>) -> anyhow::Result<Answered> {
        let answer = match answer {
            Err(error @ AskError::Unreachable { .. }) => {
                return Err(error).context("is `selvedge run` running? Its API may be elsewhere: --url");
            }
            answer => answer?,
        };
        let status = answer.status();
        Ok(Answered { status, body: answer.whole(ANSWER_BYTES_MAX).await?, with_token: self.with_token })
    }
}

impl Answered {
    /// Itself, when the engine did what was asked for.
    pub(super) fn found(self) -> anyhow::Result<Self> {
        if self.status == 200 { Ok(self) } else { Err(self.refusal()) }
    }

    /// The policy as text, or the reasons why there is none.
    pub(super) fn policy(self) -> anyhow::Result<Result<String, Vec<String>>> {
        match (self.status, serde_json::from_slice::<Problem>(&self.body)) {
            (200, _) => Ok(Ok(String::from_utf8(self.body)?)),
            (422, Ok(problem)) if !problem.reasons.is_empty() => Ok(Err(problem.reasons)),
            _ => Err(self.refusal()),
        }
    }

    pub(super) fn json(&self) -> anyhow::Result<Value> {
        self.read()
    }

    pub(super) fn read<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_slice(&self.body).context("the engine's answer is not what this version understands")
    }

    fn refusal(&self) -> anyhow::Error {
        let Ok(problem) = serde_json::from_slice::<Problem>(&self.body) else {
            return anyhow::anyhow!("the engine answered {}; is this address selvedge's API?", self.status);
        };
        let detail = selvedge_act::visible(&problem.detail);
        match (self.status, self.with_token) {
            (401, false) => anyhow::anyhow!("{detail}; give it in SELVEDGE_TOKEN or with --token"),
            (401, true) => anyhow::anyhow!("the token is not the right one: {detail}"),
            _ => anyhow::anyhow!("{detail}"),
        }
    }
}
