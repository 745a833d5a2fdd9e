//! The running engine, asked over its API.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use selvedge_act::reporter_document::ReporterDocument;
use selvedge_act::{Asker, Secret, clip, visible};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::check::Check;

/// An engine answers from memory; who takes longer is none, or is drowning.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than an engine counts.
const REPORTERS_MAX: usize = 10_000;
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Characters of a product's name or version.
const WORD_CHARS_MAX: usize = 40;

/// What is at the address.
#[derive(Debug)]
pub(super) enum Engine {
    Answers {
        version: String,
        ready: bool,
        reporters: Vec<ReporterDocument>,
        /// What was counted for none of them, for want of room.
        uncounted: u64,
    },
    /// Nobody, or not in time.
    Silent(&'static str),
    /// Somebody else, or an engine that does not say what is asked.
    Strange(String),
}

#[derive(Deserialize)]
struct Index {
    product: String,
    version: String,
}

#[derive(Deserialize)]
struct Listed {
    reporters: Vec<ReporterDocument>,
    #[serde(default)]
    uncounted: u64,
}

/// Asks at `url`.
///
/// # Errors
/// The address or the token cannot be used.
pub(super) async fn ask(url: &str, token: Option<&Secret>) -> anyhow::Result<Engine> {
    let asker = Asker::new(url, "/", token)?;
    let asked = tokio::time::timeout(PATIENCE, answers(&asker)).await;
    Ok(asked.unwrap_or(Engine::Silent(" in time")))
}

async fn answers(asker: &Asker) -> Engine {
    let index: Index = match read(asker, "/").await {
        Ok(index) => index,
        Err(strange) => return strange,
    };
    if index.product != "selvedge" {
        return Engine::Strange(format!("a {}", word(&index.product)));
    }
    let ready = matches!(asker.get("/readyz").await, Ok(answer) if answer.status() == 200);
    match read::<Listed>(asker, &format!("/api/v1/reporters?limit={REPORTERS_MAX}")).await {
        Ok(Listed { reporters, uncounted }) => {
            Engine::Answers { version: index.version, ready, reporters, uncounted }
        }
        Err(Engine::Strange(_)) => {
            Engine::Strange(format!("selvedge {}, which does not know of reporters", word(&index.version)))
        }
        Err(silent) => silent,
    }
}

async fn read<T: DeserializeOwned>(asker: &Asker, path: &str) -> Result<T, Engine> {
    let answer = asker.get(path).await.map_err(|_| Engine::Silent(""))?;
    let status = answer.status();
    if status == 401 || status == 403 {
        return Err(Engine::Strange(format!("something that wants another token (it answered {status})")));
    }
    let body = answer.whole(ANSWER_BYTES_MAX).await.map_err(|_| Engine::Silent(""))?;
    serde_json::from_slice(&body)
        .map_err(|_| Engine::Strange(format!("something that is no selvedge (it answered {status})")))
}

/// What somebody at the address calls itself, for people.
fn word(text: &str) -> String {
    clip(&visible(text), WORD_CHARS_MAX)
}

/// What is to be said of the engine itself; `ours` is our version.
pub(super) fn judge(engine: &Engine, url: &str, ours: &str) -> Check {
    let subject = "engine";
    match engine {
        Engine::Silent(why) => Check::unknown(
            subject,
            format!("no engine answers{why} at {url}: what proxies send cannot be judged"),
        )
        .advise("start `selvedge run`, or say where it is with --url"),
        Engine::Strange(what) => Check::fail(subject, format!("at {url} is {what}"))
            .advise("say where the engine is with --url, and give its token with --token-file"),
        Engine::Answers { version, .. } if version != ours => {
            let version = word(version);
            Check::warn(subject, format!("{url} is version {version}, this program is {ours}"))
                .advise("use the doctor of the same version")
        }
        Engine::Answers { ready: false, .. } => {
            Check::warn(subject, format!("{url} answers and takes no telemetry: it is starting, or draining"))
                .advise("look at its log, and ask again")
        }
        Engine::Answers { version, .. } => Check::ok(subject, format!("{url} is ready, version {version}")),
    }
}

/// Whether an address is that of the API of this configuration.
pub(super) fn is_ours(url: &str, endpoint: SocketAddr) -> bool {
    let authority = url.trim_start_matches("http://").trim_end_matches('/');
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
    let host = host.trim_matches(['[', ']']);
    let is_same = match host.parse::<IpAddr>() {
        // Every address of this machine; one of another cannot be bound.
        Ok(ip) if endpoint.ip().is_unspecified() => UdpSocket::bind((ip, 0)).is_ok(),
        Ok(ip) => ip == endpoint.ip(),
        Err(_) => host == "localhost" && (endpoint.ip().is_unspecified() || endpoint.ip().is_loopback()),
    };
    is_same && port.parse() == Ok(endpoint.port())
}

/// Said when another engine was asked: what of the report is not of its machine.
pub(super) fn elsewhere(endpoint: SocketAddr) -> Check {
    let text = format!(
        "not that of the engine asked: all below but its reporters is of this machine, with the API at {endpoint}"
    );
    Check::unknown("machine", text).advise("run the doctor beside that engine, with its configuration file")
}

#[cfg(test)]
mod tests {
    use super::super::check::Level;
    use super::*;

    #[test]
    fn an_address_is_ours_when_it_is_that_of_our_api() {
        let ours = |url: &str, endpoint: &str| is_ours(url, endpoint.parse().unwrap());
        for url in ["http://127.0.0.1:4319", "http://127.0.0.1:4319/", "http://localhost:4319"] {
            assert!(ours(url, "127.0.0.1:4319") && ours(url, "0.0.0.0:4319"), "{url}");
        }
        assert!(ours("http://[::1]:4319", "[::1]:4319") && ours("http://[::1]:4319", "[::]:4319"));
        assert!(!ours("http://192.0.2.7:4319", "0.0.0.0:4319"), "an address that no machine has");
        for url in
            ["http://127.0.0.1:4320", "http://10.0.0.7:4319", "http://mesh.example:4319", "http://localhost"]
        {
            assert!(!ours(url, "127.0.0.1:4319"), "{url}");
        }
    }

    #[test]
    fn an_engine_is_ready_of_our_version_or_something_is_to_be_done() {
        let answers = |version: &str, ready| Engine::Answers {
            version: version.to_owned(),
            ready,
            reporters: Vec::new(),
            uncounted: 0,
        };
        for (engine, level, part) in [
            (answers("1.0.0", true), Level::Ok, "ready"),
            (answers("1.0.0", false), Level::Warn, "starting"),
            (answers("0.9.0", true), Level::Warn, "0.9.0"),
            (Engine::Silent(""), Level::Unknown, "no engine answers"),
            (Engine::Strange("a kettle".to_owned()), Level::Fail, "kettle"),
        ] {
            let check = judge(&engine, "http://127.0.0.1:4319", "1.0.0");
            assert!(check.level == level && check.text.contains(part), "{check:?}");
            assert_eq!(check.advice.is_empty(), level == Level::Ok);
        }
    }
}
