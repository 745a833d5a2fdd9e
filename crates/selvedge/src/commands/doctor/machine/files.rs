//! Certificates, keys and secrets that the configuration names: there, readable, valid, and for nobody else to read.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use selvedge_act::{FileUse, NamedFile};
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

fn named(config: &Config) -> Vec<NamedFile> {
    let mut files = Vec::new();
    let (grpc, http) = (&config.receive.grpc, &config.receive.http);
    let receivers =
        [("grpc", grpc.as_ref().map(|grpc| &grpc.listen)), ("http", http.as_ref().map(|http| &http.listen))];
    for (name, listen) in receivers {
        let Some(listen) = listen else { continue };
        let key = format!("receivers.otlp.protocols.{name}");
        files.extend(tls(&key, listen.tls.as_ref()));
        files.extend(token(&key, listen.auth.as_ref()));
    }
    let secret = |key: &str, path: &Path| NamedFile::new(key, path, FileUse::Secret);
    files.extend(config.serve.token_file().map(|path| secret("serve.auth.bearer_token_file", path)));
    if let Some(sql) = &config.sql {
        files.extend(tls("sql", sql.tls.as_ref()));
        let password = sql.user.as_ref().and_then(|user| user.password_file());
        files.extend(password.map(|path| secret("sql.auth.password_file", path)));
    }
    if let Some(settings) = &config.enforcement {
        files.extend(tls("quarantine.xds", settings.tls.as_ref()));
        files.extend(token("quarantine.xds", settings.token.as_ref()));
    }
    files.extend(config.act.files());
    files.extend(config.kafka.files());
    files
}

fn tls(key: &str, config: Option<&TlsConfig>) -> Vec<NamedFile> {
    let Some(config) = config else { return Vec::new() };
    let named =
        |name: &str, path: &Path, for_what| NamedFile::new(format!("{key}.tls.{name}"), path, for_what);
    let mut files = vec![
        named("cert_file", &config.cert_file, FileUse::Certificates),
        named("key_file", &config.key_file, FileUse::Secret),
    ];
    if let ClientTls::Required { ca_file } = &config.client {
        files.push(named("client_ca_file", ca_file, FileUse::Roots));
    }
    files
}

fn token(key: &str, auth: Option<&AuthConfig>) -> Option<NamedFile> {
    let Some(AuthConfig::TokenFile(path)) = auth else { return None };
    Some(NamedFile::new(format!("{key}.auth.bearer_token_file"), path, FileUse::Secret))
}

fn read(named: &NamedFile) -> Content {
    let text = match fs::read(&named.path) {
        Ok(text) => text,
        Err(error) => return Content::Unreadable(error.to_string()),
    };
    match named.for_what {
        FileUse::Secret => Content::Secret {
            empty: text.trim_ascii().is_empty(),
            mode: fs::metadata(&named.path).map_or(0, |metadata| metadata.mode()),
        },
        FileUse::Certificates | FileUse::Roots => {
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

fn judge(named: &NamedFile, content: &Content, now: i64) -> Check {
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
        Content::Certificates(roots) if named.for_what == FileUse::Roots => {
            trusted(subject, &path.to_string(), roots, now)
        }
        Content::Certificates(chain) => validity(subject, &path.to_string(), chain, now),
    }
}

/// Each is trusted by itself: one that expired stands for those that it signed alone.
fn trusted(subject: String, path: &str, roots: &[(i64, i64)], now: i64) -> Check {
    let valid = roots.iter().filter(|(begin, end)| *begin <= now && now < *end).count();
    if valid == 0 || valid == roots.len() {
        return validity(subject, path, roots, now);
    }
    let text = format!("{path}: {} of {} certificates are not valid now", roots.len() - valid, roots.len());
    Check::warn(subject, text).advise("remove them there, once nothing that they signed is in use")
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
        judged_as(FileUse::Certificates, content)
    }

    fn judged_as(for_what: FileUse, content: &Content) -> (Level, String) {
        let check = judge(&NamedFile::new("k", Path::new("/p"), for_what), content, 1_000 * DAY);
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
    fn of_several_roots_one_that_is_valid_is_enough_to_go_on() {
        let (expired, near, good) = ((0, 990 * DAY), (0, 1_003 * DAY), (0, 9_000 * DAY));
        let roots = |all: &[(i64, i64)]| judged_as(FileUse::Roots, &Content::Certificates(all.to_vec()));
        let (level, text) = roots(&[expired, good]);
        assert!(level == Level::Warn && text.contains("1 of 2"), "{text}");
        assert_eq!(roots(&[expired, expired]).0, Level::Fail);
        assert_eq!(roots(&[(2_000 * DAY, 3_000 * DAY)]).0, Level::Fail, "not valid yet");
        assert_eq!(roots(&[good, near]).0, Level::Warn);
        assert_eq!(roots(&[good, good]).0, Level::Ok);
    }

    #[test]
    fn a_secret_is_there_not_empty_and_for_its_owner() {
        assert_eq!(judged(&Content::Secret { empty: false, mode: 0o100_600 }).0, Level::Ok);
        assert_eq!(judged(&Content::Secret { empty: false, mode: 0o100_644 }).0, Level::Warn);
        assert_eq!(judged(&Content::Secret { empty: true, mode: 0o100_600 }).0, Level::Fail);
        assert_eq!(judged(&Content::Unreadable("No such file".to_owned())).0, Level::Fail);
    }
}
