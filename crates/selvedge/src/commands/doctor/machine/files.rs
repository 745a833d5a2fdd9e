//! Certificates, keys and secrets that the configuration names: there, readable, valid, and for nobody else to read.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use selvedge_act::SecretSource;
use selvedge_model::ObservedTime;
use selvedge_receive::{AuthConfig, ClientTls, TlsConfig};
use x509_certificate::X509Certificate;

use super::super::check::Check;
use crate::config::Config;

const DAY: i64 = 86_400;
/// A certificate that ends sooner is told before it ends.
const DAYS_LEFT_MIN: i64 = 14;
/// Permission bits that let everybody read.
const READ_BY_ALL: u32 = 0o004;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Certificates,
    Secret,
}

/// A file that the configuration names.
struct Named {
    key: String,
    path: PathBuf,
    for_what: Use,
}

/// What is in it.
#[derive(Debug, PartialEq)]
enum Content {
    Unreadable(String),
    /// Seconds since 1970 between which each certificate is valid.
    Certificates(Vec<(i64, i64)>),
    NoCertificate,
    Secret {
        empty: bool,
        mode: u32,
    },
}

pub(super) fn look(config: &Config, now: ObservedTime) -> Vec<Check> {
    let now = i64::try_from(now.0 / 1_000_000_000).unwrap_or(i64::MAX);
    named(config).iter().map(|named| judge(named, &read(named), now)).collect()
}

fn named(config: &Config) -> Vec<Named> {
    let mut files = Vec::new();
    let (grpc, http) = (&config.receive.grpc, &config.receive.http);
    let receivers =
        [("grpc", grpc.as_ref().map(|grpc| &grpc.listen)), ("http", http.as_ref().map(|http| &http.listen))];
    for (name, listen) in receivers {
        let Some(listen) = listen else { continue };
        let key = format!("receivers.otlp.protocols.{name}");
        tls(&mut files, &key, listen.tls.as_ref());
        token(&mut files, &key, listen.auth.as_ref());
    }
    if let Some(path) = config.serve.token_file() {
        secret(&mut files, "serve.auth.bearer_token_file", path);
    }
    if let Some(sql) = &config.sql {
        tls(&mut files, "sql", sql.tls.as_ref());
        if let Some(path) = sql.user.as_ref().and_then(|user| user.password_file()) {
            secret(&mut files, "sql.auth.password_file", path);
        }
    }
    if let Some(settings) = &config.enforcement {
        tls(&mut files, "quarantine.xds", settings.tls.as_ref());
        token(&mut files, "quarantine.xds", settings.token.as_ref());
    }
    let act = &config.act;
    let tokens = [
        act.alertmanager.as_ref().and_then(|sink| sink.http.bearer_token.as_ref()),
        act.webhook.as_ref().and_then(|sink| sink.http.bearer_token.as_ref()),
        act.pagerduty.as_ref().map(|sink| &sink.routing_key),
    ];
    let signing = act.webhook.iter().flat_map(|sink| &sink.secrets);
    for source in tokens.into_iter().flatten().chain(signing) {
        if let SecretSource::File { key, path } = source {
            secret(&mut files, key, path);
        }
    }
    files
}

fn tls(files: &mut Vec<Named>, key: &str, config: Option<&TlsConfig>) {
    let Some(config) = config else { return };
    let mut add = |name: &str, path: &Path, for_what| {
        files.push(Named { key: format!("{key}.tls.{name}"), path: path.to_owned(), for_what });
    };
    add("cert_file", &config.cert_file, Use::Certificates);
    add("key_file", &config.key_file, Use::Secret);
    if let ClientTls::Required { ca_file } = &config.client {
        add("client_ca_file", ca_file, Use::Certificates);
    }
}

fn token(files: &mut Vec<Named>, key: &str, auth: Option<&AuthConfig>) {
    if let Some(AuthConfig::TokenFile(path)) = auth {
        secret(files, &format!("{key}.auth.bearer_token_file"), path);
    }
}

fn secret(files: &mut Vec<Named>, key: &str, path: &Path) {
    files.push(Named { key: key.to_owned(), path: path.to_owned(), for_what: Use::Secret });
}

fn read(named: &Named) -> Content {
    let text = match fs::read(&named.path) {
        Ok(text) => text,
        Err(error) => return Content::Unreadable(error.to_string()),
    };
    match named.for_what {
        Use::Secret => Content::Secret {
            empty: text.trim_ascii().is_empty(),
            mode: fs::metadata(&named.path).map_or(0, |metadata| metadata.mode()),
        },
        Use::Certificates => {
            let certificates = CertificateDer::pem_slice_iter(&text).map(|certificate| {
                let certificate = X509Certificate::from_der(certificate.ok()?.as_ref()).ok()?;
                let (begin, end) = (certificate.validity_not_before(), certificate.validity_not_after());
                Some((begin.timestamp(), end.timestamp()))
            });
            match certificates.collect::<Option<Vec<_>>>() {
                Some(certificates) if !certificates.is_empty() => Content::Certificates(certificates),
                _ => Content::NoCertificate,
            }
        }
    }
}

fn judge(named: &Named, content: &Content, now: i64) -> Check {
    let subject = named.key.clone();
    let path = named.path.display();
    match content {
        Content::Unreadable(reason) => Check::fail(subject, format!("{path} cannot be read: {reason}"))
            .advise("make it, or give this user the right to read it"),
        Content::NoCertificate => Check::fail(subject, format!("{path} holds no certificate in PEM"))
            .advise("write the chain there, its own certificate first"),
        Content::Secret { empty: true, .. } => {
            Check::fail(subject, format!("{path} is empty")).advise("write the secret into it")
        }
        Content::Secret { mode, .. } if mode & READ_BY_ALL != 0 => {
            Check::warn(subject, format!("{path} can be read by everybody on this machine"))
                .advise(format!("chmod o-r {path}"))
        }
        Content::Secret { .. } => Check::ok(subject, format!("{path}: readable")),
        Content::Certificates(certificates) => validity(subject, &path.to_string(), certificates, now),
    }
}

/// The first that ends decides.
fn validity(subject: String, path: &str, certificates: &[(i64, i64)], now: i64) -> Check {
    let begin = certificates.iter().map(|(begin, _)| *begin).max().unwrap_or(i64::MIN);
    let end = certificates.iter().map(|(_, end)| *end).min().unwrap_or(i64::MAX);
    let days = (end - now) / DAY;
    let advice = "put a new one there; receivers and xDS take it over by themselves, `sql` at the next start";
    if end <= now {
        let ago = (now - end) / DAY;
        return Check::fail(subject, format!("{path}: a certificate expired {ago} days ago")).advise(advice);
    }
    if now < begin {
        return Check::fail(subject, format!("{path}: a certificate is not valid yet"))
            .advise("is the wall clock right? Else put another one there");
    }
    if days < DAYS_LEFT_MIN {
        return Check::warn(subject, format!("{path}: a certificate expires in {days} days")).advise(advice);
    }
    Check::ok(subject, format!("{path}: valid for {days} days"))
}

#[cfg(test)]
mod tests {
    use super::super::super::check::Level;
    use super::*;

    fn judged(content: &Content) -> (Level, String) {
        let named = Named { key: "k".to_owned(), path: "/p".into(), for_what: Use::Secret };
        let check = judge(&named, content, 1_000 * DAY);
        assert_eq!(check.advice.is_empty(), check.level == Level::Ok);
        (check.level, check.text)
    }

    #[test]
    fn a_certificate_is_judged_by_the_first_of_its_chain_that_ends() {
        let chain = |end| Content::Certificates(vec![(0, end * DAY), (0, 9_000 * DAY)]);
        for (end, level, part) in [
            (1_100, Level::Ok, "valid for 100 days"),
            (1_003, Level::Warn, "expires in 3 days"),
            (990, Level::Fail, "expired 10 days ago"),
        ] {
            let (found, text) = judged(&chain(end));
            assert!(found == level && text.contains(part), "{text}");
        }
        assert_eq!(judged(&Content::Certificates(vec![(1_001 * DAY, 2_000 * DAY)])).0, Level::Fail);
        assert_eq!(judged(&Content::NoCertificate).0, Level::Fail);
    }

    #[test]
    fn a_secret_is_there_not_empty_and_for_its_owner() {
        assert_eq!(judged(&Content::Secret { empty: false, mode: 0o100_600 }).0, Level::Ok);
        assert_eq!(judged(&Content::Secret { empty: false, mode: 0o100_644 }).0, Level::Warn);
        assert_eq!(judged(&Content::Secret { empty: true, mode: 0o100_600 }).0, Level::Fail);
        assert_eq!(judged(&Content::Unreadable("No such file".to_owned())).0, Level::Fail);
    }
}
