//! Asks a running engine: the one outgoing request whose answer matters, and may be long.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, TE, USER_AGENT};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::client::{AGENT, webpki};
use crate::secret::Secret;
use crate::target::Target;

/// How long the engine may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The address cannot be asked.
    #[error("{0}")]
    Target(String),
    /// Nobody answers there.
    #[error("nobody answers at {to}")]
    Unreachable {
        /// Where.
        to: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The answer broke off.
    #[error("the answer of {to} broke off")]
    BrokeOff {
        /// Where.
        to: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// A client of one engine.
pub struct Asker {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    target: Target,
    authorization: Option<HeaderValue>,
}

/// An answer while it arrives.
pub struct Answer {
    to: String,
    status: u16,
    body: Incoming,
}

/// A part of an answer.
#[derive(Debug)]
pub enum Piece {
    /// The next bytes.
    Bytes(Vec<u8>),
    /// What went wrong after the bytes before: a problem document.
    Problem(String),
}

impl Asker {
    /// Asks at `url`, which `path` is added to, with a bearer token when there is one.
    ///
    /// # Errors
    /// The address or the token cannot be used.
    pub fn new(url: &str, path: &str, token: Option<&Secret>) -> Result<Self, AskError> {
        let target = Target::parse(url).and_then(|target| target.join(path));
        let target = target.map_err(|problem| AskError::Target(format!("{url}: {problem}")))?;
        let bearer = |token: &Secret| HeaderValue::from_str(&format!("Bearer {}", token.reveal()));
        let authorization = token.map(bearer).transpose();
        let authorization = authorization
            .map_err(|_| AskError::Target("the token holds characters that a header cannot".to_owned()))?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(webpki())
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector), target, authorization })
    }

    /// Posts a text and returns when the answer begins. The engine bounds how long that takes.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn post(&self, text: String, accept: &'static str) -> Result<Answer, AskError> {
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
            (ACCEPT, HeaderValue::from_static(accept)),
            (TE, HeaderValue::from_static("trailers")),
            (HeaderName::from_static("selvedge-errors"), HeaderValue::from_static("trailer")),
        ];
        self.send(&self.target, Method::POST, HeaderMap::from_iter(headers), text.into()).await
    }

    /// Reads what is at `path` below the address, and returns when the answer begins.
    ///
    /// # Errors
    /// The path is none, or nobody answers.
    pub async fn get(&self, path: &str) -> Result<Answer, AskError> {
        self.send(&self.below(path)?, Method::GET, HeaderMap::new(), Bytes::new()).await
    }

    /// Posts JSON to `path` below the address, and returns when the answer begins.
    ///
    /// # Errors
    /// The path is none, or nobody answers.
    pub async fn post_json(&self, path: &str, json: String) -> Result<Answer, AskError> {
        let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        self.send(&self.below(path)?, Method::POST, HeaderMap::from_iter(headers), json.into()).await
    }

    /// Posts protobuf to `path` below the address, as OTLP over HTTP does, and returns when the answer begins.
    ///
    /// # Errors
    /// The path is none, or nobody answers.
    pub async fn post_protobuf(&self, path: &str, message: Vec<u8>) -> Result<Answer, AskError> {
        let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))];
        self.send(&self.below(path)?, Method::POST, HeaderMap::from_iter(headers), message.into()).await
    }

    fn below(&self, path: &str) -> Result<Target, AskError> {
        self.target.join(path).map_err(|problem| AskError::Target(format!("{}: {problem}", self.target)))
    }

    async fn send(
        &self,
        target: &Target,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, AskError> {
        let to = target.to_string();
        let unreachable = |source| AskError::Unreachable { to: to.clone(), source };
        let request = Request::builder().method(method).uri(target.uri().clone());
        let mut request = request.body(Full::new(body)).map_err(|error| unreachable(error.into()))?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let answer = self.client.request(request).await.map_err(|error| unreachable(error.into()))?;
        let (parts, body) = answer.into_parts();
        Ok(Answer { to, status: parts.status.as_u16(), body })
    }
}

impl Answer {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The whole answer, of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// It broke off, or is longer.
    pub async fn whole(self, bytes_max: usize) -> Result<Vec<u8>, AskError> {
        match Limited::new(self.body, bytes_max).collect().await {
            Ok(body) => Ok(body.to_bytes().to_vec()),
            Err(source) => Err(AskError::BrokeOff { to: self.to, source }),
        }
    }

    /// The next part; `None` when the answer is whole.
    pub async fn next(&mut self) -> Option<Result<Piece, AskError>> {
        loop {
            let frame = match self.body.frame().await? {
                Ok(frame) => frame,
                Err(error) => {
                    return Some(Err(AskError::BrokeOff { to: self.to.clone(), source: error.into() }));
                }
            };
            if let Some(trailers) = frame.trailers_ref() {
                let problem = trailers.get("selvedge-problem").and_then(|value| value.to_str().ok());
                match problem {
                    Some(problem) => return Some(Ok(Piece::Problem(problem.to_owned()))),
                    None => continue,
                }
            }
            if let Ok(data) = frame.into_data() {
                return Some(Ok(Piece::Bytes(data.to_vec())));
            }
        }
    }
}
