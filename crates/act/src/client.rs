//! The one HTTP client: every request has a deadline, every answer a limit, and no answer leads anywhere else.
//!
//! Redirects are not followed, names that lead to link-local or metadata addresses are not called, and what an answer
//! says is kept short and without our secrets.

use std::error::Error;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tower_service::Service;

use crate::config::HttpSettings;
use crate::error::{ActError, Retry, SendError};
use crate::secret::Secret;
use crate::target::{Target, forbidden};
use crate::text::{clip, visible};
use crate::utc::parse_http_date;

/// Bytes of an answer that are read; more is left unread, and the connection closed.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Characters of an answer that are shown.
const ANSWER_CHARS_MAX: usize = 200;
/// A connection that was not used for this long is closed: most servers do so soon after.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// Who we are.
pub(crate) const AGENT: &str = concat!("selvedge/", env!("CARGO_PKG_VERSION"));

type Connector = HttpsConnector<HttpConnector<GuardedResolver>>;

/// Posts JSON for one sink.
pub(crate) struct HttpClient {
    client: Client<Connector, Full<Bytes>>,
    settings: HttpSettings,
    authorization: Option<HeaderValue>,
    /// Texts that must not be shown, even when an answer repeats them.
    secrets: Vec<Secret>,
}

/// What to post.
pub(crate) struct Post<'a> {
    pub(crate) target: &'a Target,
    pub(crate) body: Bytes,
    pub(crate) headers: HeaderMap,
    /// Nanoseconds since the Unix epoch, for an answer that names a date.
    pub(crate) now: u64,
    /// What to do about an answer that is not a success.
    pub(crate) classify: fn(StatusCode) -> Retry,
}

impl HttpClient {
    /// A client for one sink. `secrets` are texts that must never be shown.
    pub(crate) fn new(settings: &HttpSettings, mut secrets: Vec<Secret>) -> Result<Self, ActError> {
        let token = settings.bearer_token.as_ref().map(|token| token.load()).transpose()?;
        let authorization = token.as_ref().map(|token| bearer(token, settings)).transpose()?;
        secrets.extend(token);
        let mut http = HttpConnector::new_with_resolver(GuardedResolver::new(!settings.allow_link_local));
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(settings.timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(settings)?)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(1)
            .build(connector);
        Ok(Self { client, settings: settings.clone(), authorization, secrets })
    }

    /// Posts, and reads the answer, within the timeout.
    pub(crate) async fn post(&self, post: Post<'_>) -> Result<(), SendError> {
        let to = post.target.to_string();
        let after = self.settings.timeout;
        match tokio::time::timeout(after, self.exchange(&to, post)).await {
            Ok(result) => result,
            Err(_) => Err(SendError::TimedOut { to, after }),
        }
    }

    async fn exchange(&self, to: &str, post: Post<'_>) -> Result<(), SendError> {
        let unreachable =
            |source: Box<dyn Error + Send + Sync>| SendError::Unreachable { to: to.to_owned(), source };
        let address =
            post.target.ip().filter(|address| !self.settings.allow_link_local && forbidden(*address));
        if address.is_some() {
            return Err(unreachable(refusal().into()));
        }
        let request =
            self.request(post.target, post.headers, post.body).map_err(|error| unreachable(error.into()))?;
        let response = self.client.request(request).await.map_err(|error| unreachable(error.into()))?;
        let (parts, body) = response.into_parts();
        if parts.status.is_success() {
            // Read to its end, so that the connection can be used again; what it says does not matter any more.
            read(body).await;
            return Ok(());
        }
        let answer = self.shown(&read(body).await);
        let retry = match (post.classify)(parts.status) {
            Retry::Backoff => retry_after(&parts.headers, post.now).map_or(Retry::Backoff, Retry::After),
            other => other,
        };
        Err(SendError::Refused { to: to.to_owned(), status: parts.status, answer, retry })
    }

    fn request(
        &self,
        target: &Target,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut request =
            Request::builder().method(Method::POST).uri(target.uri().clone()).body(Full::new(body))?;
        *request.headers_mut() = headers;
        let fixed = request.headers_mut();
        fixed.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        fixed.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(authorization) = &self.authorization {
            fixed.insert(AUTHORIZATION, authorization.clone());
        }
        Ok(request)
    }

    /// The beginning of an answer, without what must not be shown.
    fn shown(&self, answer: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(answer).trim().to_owned();
        // The shortest would hide letters everywhere, and hides nothing: `/` is the path of most addresses.
        for secret in self.secrets.iter().filter(|secret| secret.reveal().len() > 1) {
            text = text.replace(secret.reveal(), "(secret)");
        }
        clip(&visible(&text), ANSWER_CHARS_MAX)
    }
}

/// The wish to try again of most HTTP services: what is transient or too much is, anything else stays as it is.
pub(crate) fn transient(status: StatusCode) -> Retry {
    match status.as_u16() {
        408 | 425 | 429 | 500..=599 => Retry::Backoff,
        _ => Retry::Never,
    }
}

/// A header that must not be logged either.
pub(crate) fn header(name: &'static str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?))
}

fn bearer(token: &Secret, settings: &HttpSettings) -> Result<HeaderValue, ActError> {
    let mut value =
        HeaderValue::from_str(&format!("Bearer {}", token.reveal())).map_err(|_| ActError::Invalid {
            key: format!("{}.bearer_token", settings.key),
            problem: "holds characters that a header cannot".to_owned(),
        })?;
    value.set_sensitive(true);
    Ok(value)
}

/// TLS with the roots that browsers trust.
pub(crate) fn webpki() -> ClientConfig {
    builder().with_webpki_roots().with_no_client_auth()
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the ring provider supports the default versions")
}

fn tls(settings: &HttpSettings) -> Result<ClientConfig, ActError> {
    let builder = match &settings.ca_file {
        Some(path) => builder().with_root_certificates(roots(path, settings.key)?),
        None => builder().with_webpki_roots(),
    };
    Ok(builder.with_no_client_auth())
}

fn roots(path: &Path, section: &str) -> Result<RootCertStore, ActError> {
    let key = format!("{section}.ca_file");
    let pem = std::fs::read(path).map_err(|source| ActError::Unreadable {
        key: key.clone(),
        path: path.to_owned(),
        source,
    })?;
    let invalid = |problem: String| ActError::Invalid {
        key: key.clone(),
        problem: format!("{}: {problem}", path.display()),
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| invalid(format!("is not PEM: {error}")))?;
        roots.add(certificate).map_err(|error| invalid(format!("holds an unusable certificate: {error}")))?;
    }
    if roots.is_empty() {
        return Err(invalid("holds no certificate".to_owned()));
    }
    Ok(roots)
}

/// The body up to its limit. An answer that breaks off is as good as what came of it: the status has come already.
async fn read(mut body: Incoming) -> Vec<u8> {
    let mut read = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Some(data) = frame.data_ref() else { continue };
        let room = ANSWER_BYTES_MAX - read.len();
        read.extend_from_slice(&data[..data.len().min(room)]);
        if read.len() == ANSWER_BYTES_MAX {
            break;
        }
    }
    read
}

/// `Retry-After` in seconds, or as a date.
fn retry_after(headers: &HeaderMap, now: u64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = parse_http_date(text)?;
    Some(Duration::from_secs(date.saturating_sub(now / 1_000_000_000)))
}

fn refusal() -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        "the name leads to a link-local or metadata address; allow_link_local: true would allow it",
    )
}

/// Resolves names as the system does, and leaves out addresses that no alert has business with.
#[derive(Clone)]
struct GuardedResolver {
    system: GaiResolver,
    guarded: bool,
}

impl GuardedResolver {
    fn new(guarded: bool) -> Self {
        Self { system: GaiResolver::new(), guarded }
    }
}

impl Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<std::net::SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.system.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (answer, guarded) = (self.system.call(name), self.guarded);
        Box::pin(async move { allowed(answer.await?.collect(), guarded).map(Vec::into_iter) })
    }
}

fn allowed(mut addresses: Vec<std::net::SocketAddr>, guarded: bool) -> io::Result<Vec<std::net::SocketAddr>> {
    let resolved = !addresses.is_empty();
    addresses.retain(|address| !guarded || !forbidden(address.ip()));
    if resolved && addresses.is_empty() { Err(refusal()) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())])
    }

    #[test]
    fn retry_after_is_read_in_both_its_forms() {
        let now = 784_111_777 * 1_000_000_000;
        assert_eq!(retry_after(&headers("120"), now), Some(Duration::from_secs(120)));
        let date = "Sun, 06 Nov 1994 08:50:00 GMT";
        assert_eq!(retry_after(&headers(date), now), Some(Duration::from_secs(23)));
        assert_eq!(retry_after(&headers(date), now * 2), Some(Duration::ZERO));
        assert_eq!(retry_after(&headers("soon"), now), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn a_name_that_leads_to_a_metadata_address_leads_nowhere() {
        let metadata = "169.254.169.254:80".parse().unwrap();
        let usual = "10.0.0.1:80".parse().unwrap();
        assert_eq!(allowed(vec![metadata, usual], true).unwrap(), [usual]);
        assert_eq!(allowed(vec![metadata], true).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(allowed(vec![metadata], false).unwrap(), [metadata]);
    }

    #[test]
    fn what_is_transient_is_tried_again() {
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert_eq!(transient(StatusCode::from_u16(status).unwrap()), Retry::Backoff, "{status}");
        }
        for status in [301, 302, 307, 400, 401, 403, 404, 410, 413, 422] {
            assert_eq!(transient(StatusCode::from_u16(status).unwrap()), Retry::Never, "{status}");
        }
    }
}
