//! Under which names the API may be asked.
//!
//! A page of any site can have its own name resolve to 127.0.0.1 (DNS rebinding); a browser then takes the API for that
//! site, and lets the page read it. The name in `Host` gives it away: only names that no stranger can own are answered.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::{StatusCode, header, uri::Authority};
use axum::middleware::Next;
use axum::response::Response;

use crate::problem::problem;
use crate::server::ServeError;
use crate::sql::text;

/// Names beside `localhost` and the loopback addresses, without ports, in lower case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts(Arc<[String]>);

impl TryFrom<Vec<String>> for Hosts {
    type Error = ServeError;

    fn try_from(names: Vec<String>) -> Result<Self, ServeError> {
        match names.iter().find(|name| host_of(name).as_deref() != Some(name.to_lowercase().as_str())) {
            Some(wrong) => Err(ServeError::Hosts(wrong.clone())),
            None => Ok(Self(names.iter().map(|name| name.to_lowercase()).collect())),
        }
    }
}

impl Hosts {
    /// A request that names no host is of no browser, and of HTTP/1.0.
    fn admit(&self, request: &Request) -> bool {
        let named = match request.uri().authority() {
            Some(authority) => authority.as_str(),
            None if request.headers().contains_key(header::HOST) => text(request.headers(), header::HOST),
            None => return true,
        };
        host_of(named).is_some_and(|host| {
            let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
            host == "localhost"
                || address.is_ok_and(|address| address.is_loopback())
                || self.0.contains(&host)
        })
    }
}

/// Without port, in lower case.
fn host_of(named: &str) -> Option<String> {
    let authority: Authority = named.parse().ok()?;
    Some(authority.host().to_lowercase()).filter(|host| !host.is_empty())
}

/// Answers requests under known names, and refuses the others, whatever they ask for.
pub(crate) async fn known_only(hosts: Hosts, request: Request, next: Next) -> Response {
    if hosts.admit(&request) {
        return next.run(request).await;
    }
    let detail =
        "the API is not known by the name in `Host`; ask 127.0.0.1, or list the name in `serve.hosts`";
    problem(StatusCode::MISDIRECTED_REQUEST, "unknown_host", detail)
}
