//! Requests over HTTP/1.1, each sender with a connection of its own that is kept alive.

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Answer, Plan};
use crate::payload::{Signal, rejected_records};

pub(super) struct HttpSender {
    requests: SendRequest<Full<Bytes>>,
    target: http::Uri,
    host: String,
    /// The connection's own task ends with us.
    _connection: JoinSet<hyper::Result<()>>,
}

impl HttpSender {
    pub(super) async fn connect(plan: &Plan) -> anyhow::Result<Self> {
        let no_server = || format!("no server at {}", plan.address);
        let stream = TcpStream::connect(plan.address).await.with_context(no_server)?;
        stream.set_nodelay(true)?;
        let (requests, connection) = handshake(TokioIo::new(stream)).await.with_context(no_server)?;
        let mut task = JoinSet::new();
        task.spawn(connection);
        let target = http::Uri::from_static(match plan.signal {
            Signal::Traces => "/v1/traces",
            Signal::Logs => "/v1/logs",
            Signal::Metrics => "/v1/metrics",
        });
        Ok(Self { requests, target, host: plan.address.to_string(), _connection: task })
    }

    pub(super) async fn send(&mut self, body: Bytes) -> anyhow::Result<Answer> {
        self.requests.ready().await?;
        let request = Request::post(self.target.clone())
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .body(Full::new(body))?;
        let (head, body) = self.requests.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        match head.status {
            StatusCode::OK => Ok(Answer::Accepted { rejected: rejected_records(&body)? }),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Ok(Answer::Refused),
            status => anyhow::bail!("the server answered {status}: {}", String::from_utf8_lossy(&body)),
        }
    }
}
