//! The request and the answer in few words: method, route, status, protocol, user agent, who denied it.

use selvedge_model::{Symbol, SymbolTable};

use super::memo::Memory;
use super::path::{path_of_url, write_template};
use super::reading::{Reading, cut};
use crate::field::Field;

/// HTTP methods that may become names; others are `_OTHER` (semantic conventions for HTTP).
const METHODS: [&str; 10] =
    ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "CONNECT", "TRACE", "QUERY"];
/// The gRPC codes in order of their numbers.
const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALIDARGUMENT",
    "DEADLINEEXCEEDED",
    "NOTFOUND",
    "ALREADYEXISTS",
    "PERMISSIONDENIED",
    "RESOURCEEXHAUSTED",
    "FAILEDPRECONDITION",
    "ABORTED",
    "OUTOFRANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATALOSS",
    "UNAUTHENTICATED",
];
/// A user agent's first token may be this long.
const USER_AGENT_MAX: usize = 32;
/// Other short words: protocols, RPC systems.
const WORD_MAX: usize = 16;

pub(crate) fn method(reading: &mut Reading<'_>, symbols: &mut SymbolTable) -> Symbol {
    match reading.text(Field::Method) {
        Some(text) => symbols.intern(known_method(&text)),
        None => reading.symbol(Field::RpcSystem, WORD_MAX, symbols),
    }
}

fn known_method(text: &str) -> &'static str {
    METHODS.into_iter().find(|method| method.eq_ignore_ascii_case(text)).unwrap_or("_OTHER")
}

/// The templated path or RPC method, by the order of `ecosystem.md` 2.6; for a span without any, its name, when
/// that looks like a path or an RPC method.
pub(crate) fn route(
    reading: &mut Reading<'_>,
    span_name: &[u8],
    memory: &mut Memory,
    symbols: &mut SymbolTable,
) -> Symbol {
    let raw = [Field::Route, Field::Path, Field::Url].into_iter().find(|field| reading.has(*field));
    let Some(raw) = raw.and_then(|field| reading.bytes(field)) else {
        return route_of_any_field(reading, span_name, &mut memory.scratch, symbols);
    };
    if let Some(route) = memory.routes.recall(raw) {
        return route;
    }
    let overflowed = symbols.overflowed();
    let route = route_of_any_field(reading, span_name, &mut memory.scratch, symbols);
    if std::str::from_utf8(raw).is_ok() && symbols.overflowed() == overflowed {
        memory.routes.keep(raw, route);
    }
    route
}

fn route_of_any_field(
    reading: &mut Reading<'_>,
    span_name: &[u8],
    scratch: &mut String,
    symbols: &mut SymbolTable,
) -> Symbol {
    if let Some(path) = reading.text(Field::Route).or_else(|| reading.text(Field::Path)) {
        write_template(path_of_url(&path), scratch);
    } else if let Some(url) = reading.text(Field::Url) {
        write_template(path_of_url(&url), scratch);
    } else if let Some(path) = reading.text(Field::GrpcPath) {
        write_template(&path, scratch);
    } else if let Some(method) = reading.text(Field::RpcMethod) {
        let service = reading.text(Field::RpcService).filter(|_| !method.contains('/'));
        let path = match service {
            Some(service) => format!("/{service}/{method}"),
            None => format!("/{}", method.trim_start_matches('/')),
        };
        write_template(&path, scratch);
    } else if let Some(topic) = reading.text(Field::Messaging) {
        write_template(&format!("/{}", topic.trim_start_matches('/')), scratch);
    } else if let Some(path) = path_of_span_name(&String::from_utf8_lossy(span_name)) {
        write_template(&path, scratch);
    } else {
        return Symbol::NONE;
    }
    symbols.intern(scratch)
}

/// `GET /carts/{id}`, `/carts/17` and `ledger.v1.Ledger/AddEntry` name a route; `host:port/*` and words do not.
fn path_of_span_name(name: &str) -> Option<std::borrow::Cow<'_, str>> {
    let path = name.split_once(' ').map_or(name, |(_, rest)| rest);
    if path.starts_with('/') {
        return Some(path.into());
    }
    let (service, method) = path.split_once('/')?;
    let is_word = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    (service.split('.').all(is_word) && is_word(method)).then(|| format!("/{path}").into())
}

/// The HTTP status; 0 when there is none.
pub(crate) fn status(reading: &Reading<'_>) -> u16 {
    let status = reading.number(Field::Status).and_then(|status| u16::try_from(status).ok());
    status.filter(|status| (100..=599).contains(status)).unwrap_or(0)
}

/// The gRPC status by number or name; -1 when there is none.
pub(crate) fn grpc_status(reading: &mut Reading<'_>) -> i16 {
    if let Some(code) = reading.number(Field::GrpcStatus) {
        return i16::try_from(code).ok().filter(|code| *code <= 16).unwrap_or(-1);
    }
    let Some(text) = reading.name(Field::GrpcStatus) else { return -1 };
    let same = |name: &str| {
        let letters = text.bytes().filter(|byte| *byte != b'_');
        letters.map(|byte| byte.to_ascii_uppercase()).eq(name.bytes())
    };
    GRPC_CODES.iter().position(|name| same(name)).and_then(|code| i16::try_from(code).ok()).unwrap_or(-1)
}

/// `HTTP/1.1`, `HTTP/2`, ...; what proxies call otherwise stays a short word (`grpc`, `tcp`).
pub(crate) fn protocol(reading: &mut Reading<'_>, symbols: &mut SymbolTable) -> Symbol {
    if let Some(text) = reading.name(Field::Protocol) {
        let known = match text.as_ref() {
            "HTTP/2.0" | "h2" | "HTTP2" => "HTTP/2",
            "HTTP/3.0" | "h3" | "HTTP3" => "HTTP/3",
            "HTTP1.1" | "HTTP11" => "HTTP/1.1",
            other => cut(other, WORD_MAX),
        };
        return symbols.intern(known);
    }
    let Some(version) = reading.name(Field::ProtocolVersion) else { return Symbol::NONE };
    match version.as_ref() {
        "1.0" => symbols.intern("HTTP/1.0"),
        "1.1" => symbols.intern("HTTP/1.1"),
        "2" | "2.0" => symbols.intern("HTTP/2"),
        "3" | "3.0" => symbols.intern("HTTP/3"),
        _ => Symbol::NONE,
    }
}

/// The family of the user agent: its first product without the version.
pub(crate) fn user_agent(reading: &mut Reading<'_>, symbols: &mut SymbolTable) -> Symbol {
    reading.text(Field::UserAgent).map_or(Symbol::NONE, |text| symbols.intern(agent_family(&text)))
}

fn agent_family(text: &str) -> &str {
    let text = text.trim_start();
    let end = text.find(['/', ' ', '(', ';', ',']).filter(|end| *end > 0).unwrap_or(text.len());
    cut(&text[..end], USER_AGENT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_methods_become_names() {
        assert_eq!(known_method("get"), "GET");
        assert_eq!(known_method("BREW"), "_OTHER");
    }

    #[test]
    fn a_user_agent_is_its_first_product() {
        for (text, family) in [
            ("cart-app/1.0", "cart-app"),
            ("Mozilla/5.0 (X11)", "Mozilla"),
            ("curl", "curl"),
            ("(odd) thing", "(odd) thing"),
            ("/x", "/x"),
            ("\u{fffd}\u{fffd}", "\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(agent_family(text), family);
        }
        assert_eq!(agent_family(&"é".repeat(40)).len(), 32);
    }

    #[test]
    fn span_names_are_routes_only_when_they_look_like_one() {
        let path = |name| path_of_span_name(name).map(std::borrow::Cow::into_owned);
        assert_eq!(path("GET /carts/{id}").as_deref(), Some("/carts/{id}"));
        assert_eq!(path("/carts/17").as_deref(), Some("/carts/17"));
        assert_eq!(path("ledger.v1.Ledger/AddEntry").as_deref(), Some("/ledger.v1.Ledger/AddEntry"));
        for name in ["cart.front.svc.cluster.local:80/*", "egress a.example", "ingress", "", "a b/c d"] {
            assert_eq!(path(name), None, "{name}");
        }
    }
}
