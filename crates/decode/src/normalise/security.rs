//! Transport security and certificates: what the connection was, and what a failed handshake leaves behind.
//!
//! The rules are measured (`envoy.md` 3.1, 3.5, 3.6): an identity beside a failure reason is nobody's; the reason
//! `HTTP_REQUEST` is left behind by the listener's TLS inspector even where plaintext was then accepted.

use selvedge_model::{Certificate, EventTime, Security, Side, Symbol, SymbolTable};

use super::reading::{NAME_MAX, Reading};
use super::times::parse_time;
use crate::field::Field;

/// Fingerprints and serials are hex digits; a SHA-256 has 64.
const HEX_MAX: usize = 128;
/// Distinguished names of issuers.
const ISSUER_MAX: usize = 256;
/// Names of TLS versions and ciphers.
const WORD_MAX: usize = 64;

/// Fragments of OpenSSL's and Envoy's failure texts, by class; the first that occurs wins. Blanks are compared as
/// underscores, because access logs write them so.
const FAILURE_CLASSES: [(&str, &str); 17] = [
    ("http_request", "plaintext_on_tls"),
    ("1000009c", "plaintext_on_tls"),
    ("wrong_version_number", "plaintext_on_tls"),
    ("has_expired", "certificate_expired"),
    ("certificate_expired", "certificate_expired"),
    ("san_matcher", "san_mismatch"),
    ("verify_san", "san_mismatch"),
    ("did_not_return_a_certificate", "no_certificate"),
    ("certificate_required", "no_certificate"),
    ("no_client_cert", "no_certificate"),
    ("issuer_certificate", "unknown_issuer"),
    ("self_signed", "unknown_issuer"),
    ("self-signed", "unknown_issuer"),
    ("unknown_ca", "unknown_issuer"),
    ("unknown_issuer", "unknown_issuer"),
    ("unable_to_verify", "unknown_issuer"),
    ("untrusted", "unknown_issuer"),
];

/// Marks of a TLS failure among the reasons why an upstream could not be reached.
const TLS_MARKS: [&str; 4] = ["tls_error", "ssl_routines", "openssl", "certificate"];

/// Why the handshake of this record's connection failed, as a class; `None` when it did not fail.
pub(crate) fn handshake_failure(reading: &mut Reading<'_>, side: Side) -> Option<&'static str> {
    let field = if side == Side::Client { Field::UpstreamTlsFailure } else { Field::TlsFailure };
    let reason = reading.text(field)?;
    if side == Side::Client && !TLS_MARKS.iter().any(|mark| mentions(&reason, mark)) {
        return None;
    }
    let class =
        FAILURE_CLASSES.iter().find(|(mark, _)| mentions(&reason, mark)).map_or("other", |(_, class)| *class);
    (class != "plaintext_on_tls" || side == Side::Client || !was_served(reading)).then_some(class)
}

/// Plaintext arrived and the listener took it: there was a request, or a connection that matched a filter chain.
/// A refused one has connection id 0, flag `NR` and no filter chain (`envoy.md` 3.5).
fn was_served(reading: &mut Reading<'_>) -> bool {
    if reading.has_any(&[Field::Method, Field::Path]) {
        return true;
    }
    let refused =
        reading.text(Field::ResponseFlags).is_some_and(|flags| flags.split(',').any(|flag| flag == "NR"))
            || reading.number(Field::ConnectionId) == Some(0);
    let witnesses = [Field::ConnectionId, Field::FilterChain];
    !refused
        && (reading.has_any(&witnesses) || reading.number(Field::ResponseBytes).is_some_and(|sent| sent > 0))
}

/// How the connection was protected, as far as this record's side can know. `principal`: a verified peer is named.
pub(crate) fn security(reading: &mut Reading<'_>, side: Side, principal: bool, failed: bool) -> Security {
    match side {
        Side::Internal => Security::Unknown,
        _ if failed => Security::Unknown,
        _ if principal => Security::MutualTls,
        Side::Server => server_security(reading),
        Side::Client => client_security(reading),
    }
}

fn server_security(reading: &mut Reading<'_>) -> Security {
    if reading.has_any(&[Field::TlsVersion, Field::TlsProtocolVersion, Field::TlsCipher]) {
        return Security::Tls;
    }
    if let Some(known) = policy_security(reading) {
        return known;
    }
    // Sent without a value: the proxy looked and there was no TLS.
    if reading.sent(Field::TlsVersion) || reading.sent(Field::TlsCipher) || was_plaintext_on_tls(reading) {
        return Security::Plaintext;
    }
    Security::Unknown
}

/// Istio's label (meaningful on the destination's side only) and Linkerd's.
fn policy_security(reading: &mut Reading<'_>) -> Option<Security> {
    if let Some(policy) = reading.name(Field::SecurityPolicy) {
        return match policy.as_ref() {
            "mutual_tls" => Some(Security::MutualTls),
            "none" => Some(Security::Plaintext),
            _ => None,
        };
    }
    if let Some(tls) = reading.text(Field::LinkerdTls) {
        return match tls.as_ref() {
            "true" => Some(Security::MutualTls),
            "false" | "disabled" | "no_identity" => Some(Security::Plaintext),
            _ => None,
        };
    }
    reading
        .has(Field::TlsEstablished)
        .then(|| if reading.truth(Field::TlsEstablished) { Security::Tls } else { Security::Plaintext })
}

fn was_plaintext_on_tls(reading: &mut Reading<'_>) -> bool {
    reading.text(Field::TlsFailure).is_some_and(|reason| mentions(&reason, "http_request"))
}

fn client_security(reading: &mut Reading<'_>) -> Security {
    if reading.has_any(&[Field::UpstreamTlsVersion, Field::TlsProtocolVersion]) {
        return if reading.has(Field::UpstreamLocalPrincipal) { Security::MutualTls } else { Security::Tls };
    }
    if let Some(tls) = reading.text(Field::LinkerdTls) {
        return match tls.as_ref() {
            "true" => Security::MutualTls,
            "false" | "disabled" | "no_identity" => Security::Plaintext,
            _ => Security::Unknown,
        };
    }
    if reading.sent(Field::UpstreamTlsVersion) { Security::Plaintext } else { Security::Unknown }
}

/// Version, cipher and asked-for server name of the connection between the two sides.
pub(crate) fn tls_facts(reading: &mut Reading<'_>, side: Side, symbols: &mut SymbolTable) -> [Symbol; 3] {
    let (version, cipher) = match side {
        Side::Client => (Field::UpstreamTlsVersion, Field::UpstreamTlsCipher),
        Side::Server | Side::Internal => (Field::TlsVersion, Field::TlsCipher),
    };
    let version = if reading.has(version) { version } else { Field::TlsProtocolVersion };
    let version = reading.text(version).map_or(Symbol::NONE, |text| intern_version(&text, symbols));
    let cipher = reading.symbol(cipher, WORD_MAX, symbols);
    // A client's own record names the server it asked for only by its downstream, which is the local application.
    let sni = if side == Side::Client { Symbol::NONE } else { reading.symbol(Field::Sni, NAME_MAX, symbols) };
    [version, cipher, sni]
}

/// `1.3`, `TLS1.3`, `tlsv1.3` and `TLSv1_3` are all `TLSv1.3`.
fn intern_version(text: &str, symbols: &mut SymbolTable) -> Symbol {
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    let known = match digits {
        "1" | "1.0" | "1_0" => Some("TLSv1"),
        "1.1" | "1_1" => Some("TLSv1.1"),
        "1.2" | "1_2" => Some("TLSv1.2"),
        "1.3" | "1_3" => Some("TLSv1.3"),
        _ => None,
    };
    let known = known.filter(|_| !text.to_ascii_lowercase().starts_with("ssl"));
    symbols.intern(known.unwrap_or_else(|| super::reading::cut(text, WORD_MAX)))
}

/// The certificate that the peer showed, valid or not.
pub(crate) fn certificate(reading: &mut Reading<'_>, symbols: &mut SymbolTable) -> Certificate {
    let mut date =
        |field| reading.text(field).and_then(|text| parse_time(&text)).map_or(EventTime::ABSENT, EventTime);
    let (not_before, not_after) = (date(Field::NotBefore), date(Field::NotAfter));
    Certificate {
        fingerprint: reading.symbol(Field::Fingerprint, HEX_MAX, symbols),
        serial: reading.symbol(Field::Serial, HEX_MAX, symbols),
        issuer: reading.symbol(Field::Issuer, ISSUER_MAX, symbols),
        not_before,
        not_after,
    }
}

/// True when `text` holds `mark`, in any case and with blanks for underscores.
fn mentions(text: &str, mark: &str) -> bool {
    let same = |own: &u8, other: &u8| own.eq_ignore_ascii_case(other) || (*own == b' ' && *other == b'_');
    text.as_bytes()
        .windows(mark.len())
        .any(|window| window.iter().zip(mark.as_bytes()).all(|(own, other)| same(own, other)))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::record::{Fields, Value};

    fn fields(pairs: &[(Field, &'static str)]) -> Fields<'static> {
        let mut fields = Fields::new();
        for (field, text) in pairs {
            fields.set(*field, Value::Text(Cow::Borrowed(text.as_bytes())));
        }
        fields
    }

    const HTTP_REQUEST: &str =
        "TLS_error|error:1000009c:SSL_routines:OPENSSL_internal:HTTP_REQUEST:TLS_error_end";

    #[test]
    fn every_failure_text_has_its_class() {
        let verify = "TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:";
        let cases = [
            (format!("{verify}_certificate_has_expired:TLS_error_end"), "certificate_expired"),
            (format!("{verify}_unable_to_get_local_issuer_certificate:"), "unknown_issuer"),
            (format!("{verify}_SAN_matcher,_certificate_SANs_are_[spiffe://a.example/x]"), "san_mismatch"),
            ("TLS_error:PEER_DID_NOT_RETURN_A_CERTIFICATE:".to_owned(), "no_certificate"),
            ("TLS error: self signed certificate in chain".to_owned(), "unknown_issuer"),
            (HTTP_REQUEST.to_owned(), "plaintext_on_tls"),
            ("TLS_error:BAD_DECRYPT".to_owned(), "other"),
        ];
        for (reason, class) in cases {
            let mut fields = Fields::new();
            fields.set(Field::TlsFailure, Value::Text(Cow::Owned(reason.clone().into_bytes())));
            let mut reading = Reading::new(&fields, None);
            assert_eq!(handshake_failure(&mut reading, Side::Server), Some(class), "{reason}");
        }
    }

    #[test]
    fn plaintext_that_was_served_is_plaintext_and_not_a_failure() {
        let served = fields(&[
            (Field::TlsFailure, HTTP_REQUEST),
            (Field::ConnectionId, "24"),
            (Field::FilterChain, "plaintext"),
            (Field::ResponseFlags, "-"),
            (Field::TlsVersion, "-"),
        ]);
        let mut reading = Reading::new(&served, None);
        assert_eq!(handshake_failure(&mut reading, Side::Server), None);
        assert_eq!(security(&mut reading, Side::Server, false, false), Security::Plaintext);
        let refused = fields(&[
            (Field::TlsFailure, HTTP_REQUEST),
            (Field::ConnectionId, "0"),
            (Field::FilterChain, "-"),
            (Field::ResponseFlags, "NR"),
        ]);
        let mut reading = Reading::new(&refused, None);
        assert_eq!(handshake_failure(&mut reading, Side::Server), Some("plaintext_on_tls"));
    }

    #[test]
    fn an_unreachable_upstream_is_not_a_failed_handshake() {
        let refused = fields(&[(Field::UpstreamTlsFailure, "delayed_connect_error:_Connection_refused")]);
        assert_eq!(handshake_failure(&mut Reading::new(&refused, None), Side::Client), None);
        let expired = fields(&[(Field::UpstreamTlsFailure, "TLS_error:_certificate_has_expired")]);
        let failure = handshake_failure(&mut Reading::new(&expired, None), Side::Client);
        assert_eq!(failure, Some("certificate_expired"));
    }

    #[test]
    fn silence_about_tls_is_unknown_and_a_dash_is_plaintext() {
        let cases = [
            (Side::Server, vec![], Security::Unknown),
            (Side::Server, vec![(Field::SourcePrincipal, "-")], Security::Unknown),
            (
                Side::Server,
                vec![(Field::TlsVersion, "-"), (Field::SourcePrincipal, "-")],
                Security::Plaintext,
            ),
            (Side::Server, vec![(Field::TlsVersion, "TLSv1.3")], Security::Tls),
            (Side::Server, vec![(Field::SecurityPolicy, "mutual_tls")], Security::MutualTls),
            (Side::Server, vec![(Field::SecurityPolicy, "none")], Security::Plaintext),
            (Side::Server, vec![(Field::SecurityPolicy, "unknown")], Security::Unknown),
            (Side::Server, vec![(Field::LinkerdTls, "true")], Security::MutualTls),
            (Side::Client, vec![(Field::TlsVersion, "-")], Security::Unknown),
            (Side::Client, vec![(Field::UpstreamTlsVersion, "-")], Security::Plaintext),
            (Side::Client, vec![(Field::UpstreamTlsVersion, "TLSv1.3")], Security::Tls),
            (Side::Client, vec![(Field::SecurityPolicy, "none")], Security::Unknown),
        ];
        for (side, pairs, expected) in cases {
            let fields = fields(&pairs);
            assert_eq!(security(&mut Reading::new(&fields, None), side, false, false), expected, "{pairs:?}");
        }
    }

    #[test]
    fn tls_versions_have_one_spelling() {
        let mut symbols = SymbolTable::new(1 << 12);
        for text in ["TLSv1.3", "1.3", "TLS1.3", "TLSv1_3"] {
            let version = intern_version(text, &mut symbols);
            assert_eq!(symbols.resolve(version), "TLSv1.3");
        }
        let old = intern_version("SSLv3", &mut symbols);
        assert_eq!(symbols.resolve(old), "SSLv3");
    }
}
