//! As much HTTP as the benchmark needs: one request, one connection, one answer.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The whole answer, head and body; `line` is method and path. Nothing when nobody listens.
///
/// # Errors
/// When somebody listens and does not answer.
pub(super) fn ask(address: SocketAddr, line: &str, headers: &[&str], body: &str) -> Result<Option<String>> {
    let Ok(mut stream) = TcpStream::connect(address) else { return Ok(None) };
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    let mut request = format!("{line} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for header in headers {
        request += &format!("{header}\r\n");
    }
    request += &format!("content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("no answer to {line}"))?;
    Ok(Some(String::from_utf8_lossy(&answer).into_owned()))
}

/// True for an answer that says that all is well.
pub(super) fn accepted(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200")
}

/// The value of a gauge in the text that Prometheus reads.
pub(super) fn gauge(metrics: &str, name: &str) -> Option<f64> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    metrics.lines().find_map(value)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_gauge_is_found_by_its_whole_name() {
        let metrics = "# TYPE selvedge_edges gauge\nselvedge_edges_max 9\nselvedge_edges 74000\n";
        assert_eq!(gauge(metrics, "selvedge_edges"), Some(74_000.0));
        assert_eq!(gauge(metrics, "selvedge_edge"), None);
    }

    #[test]
    fn nobody_who_listens_is_no_error_and_an_answer_comes_whole() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 1_024];
            let length = stream.read(&mut asked).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nyes").unwrap();
            String::from_utf8_lossy(&asked[..length]).into_owned()
        });
        let answer = ask(address, "POST /x", &["accept: text/csv"], "why").unwrap().unwrap();
        assert!(accepted(&answer) && answer.ends_with("yes"));
        let asked = server.join().unwrap();
        assert!(
            asked.starts_with("POST /x HTTP/1.1\r\n") && asked.ends_with("content-length: 3\r\n\r\nwhy"),
            "{asked}"
        );
        assert_eq!(ask(address, "GET /", &[], "").unwrap(), None);
    }
}
