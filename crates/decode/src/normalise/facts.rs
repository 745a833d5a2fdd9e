//! What spans and proxy logs say alike of one call: parties, request, answer, transport.

use selvedge_model::{
    Certificate, ForwardedIdentity, Observation, ObservationKind, Party, RequestId, Side, Symbol, SymbolTable,
};

use super::memo::{CallKey, Memory};
use super::party::{self, PRINCIPAL_MAX};
use super::reading::{Reading, cut};
use super::{ResourceContext, http, security, xfcc};
use crate::field::Field;

/// Fields whose text comes from the client: broken UTF-8 in them is noticed even when they are not used.
const CLIENT_TEXT: [Field; 6] =
    [Field::UserAgent, Field::Path, Field::Url, Field::Method, Field::Authority, Field::RequestId];

/// Fills everything but ids, times and the error mark.
pub(crate) fn observe(
    cx: &ResourceContext,
    reading: &mut Reading<'_>,
    kind: ObservationKind,
    side: Side,
    span_name: &[u8],
    memory: &mut Memory,
    symbols: &mut SymbolTable,
) -> Observation {
    for field in CLIENT_TEXT {
        reading.check(field);
    }
    let request_id = reading.bytes(Field::RequestId).map_or(RequestId::default(), RequestId::from_text);
    if side == Side::Internal {
        let (origin, reporter) = (cx.origin, cx.reporter);
        return Observation {
            kind,
            side,
            origin,
            request_id,
            reporter,
            grpc_status: -1,
            ..Observation::default()
        };
    }
    memory.use_table(symbols);
    let key = CallKey::new(kind, side, cx.reporter, reading);
    let mut seen = match memory.calls.recall(&key, reading) {
        Some(known) => {
            let known = *known;
            Observation { route: http::route(reading, span_name, memory, symbols), ..known }
        }
        None => understand(reading, &key, span_name, memory, symbols),
    };
    seen.origin = cx.origin;
    seen.request_id = request_id;
    seen.status = http::status(reading);
    seen.grpc_status = http::grpc_status(reading);
    seen.request_bytes = reading.number(Field::RequestBytes).unwrap_or(0);
    seen.response_bytes = reading.number(Field::ResponseBytes).unwrap_or(0);
    seen
}

/// What a call's record says of everything that repeats from call to call, and of its route.
fn understand(
    reading: &mut Reading<'_>,
    key: &CallKey,
    span_name: &[u8],
    memory: &mut Memory,
    symbols: &mut SymbolTable,
) -> Observation {
    let overflowed = symbols.overflowed();
    reading.set_looked_at(0);
    let mut seen = Observation { kind: key.kind(), side: key.side(), ..Observation::default() };
    transport(&mut seen, key.reporter(), reading, symbols);
    seen.method = http::method(reading, symbols);
    // In its place, so that names are numbered in the order of the record, but not remembered with the rest.
    let looked_at = reading.looked_at();
    seen.route = http::route(reading, span_name, memory, symbols);
    reading.set_looked_at(looked_at);
    seen.user_agent = http::user_agent(reading, symbols);
    seen.protocol = http::protocol(reading, symbols);
    seen.denied_by = http::denied_by(reading, symbols);
    if reading.repaired() == 0 && symbols.overflowed() == overflowed {
        memory.calls.keep(*key, reading.looked_at(), reading, &seen);
    }
    seen
}

/// Who spoke to whom, and how that was protected. The one place that decides whether an identity counts.
fn transport(seen: &mut Observation, reporter: &Party, reading: &mut Reading<'_>, symbols: &mut SymbolTable) {
    let failure = security::handshake_failure(reading, seen.side);
    let failed = failure.is_some();
    seen.handshake_failure = failure.map_or(Symbol::NONE, |class| symbols.intern(class));
    seen.reporter = party::reporter_of_record(reporter, reading, seen.side, failed, symbols);
    let shown = match seen.side {
        Side::Client => party::callee_by_principal(reading, seen.kind == ObservationKind::Span, symbols),
        Side::Server | Side::Internal => party::caller_by_principal(reading, symbols),
    };
    let verified = shown.principal.present() && !failed;
    seen.security = security::security(reading, seen.side, verified, failed);
    seen.peer = match seen.side {
        _ if verified => shown,
        Side::Client => party::callee(reading, symbols),
        // Whoever failed to prove who they are stays unnamed, whatever else the record says of them.
        Side::Server if failed => Party::default(),
        Side::Server | Side::Internal => party::caller(reading, symbols),
    };
    if failed {
        seen.claimed_principal = shown.principal;
    }
    [seen.tls_version, seen.tls_cipher, seen.sni] = security::tls_facts(reading, seen.side, symbols);
    if seen.side == Side::Server {
        seen.certificate = certificate(reading, symbols);
        forwarded(seen, reading, verified, symbols);
    }
}

fn certificate(reading: &mut Reading<'_>, symbols: &mut SymbolTable) -> Certificate {
    let facts = [Field::Fingerprint, Field::Serial, Field::NotAfter, Field::Issuer];
    if reading.has_any(&facts) { security::certificate(reading, symbols) } else { Certificate::default() }
}

fn forwarded(seen: &mut Observation, reading: &mut Reading<'_>, verified: bool, symbols: &mut SymbolTable) {
    let (header, raw) = (reading.text(Field::Xfcc), reading.text(Field::RawXfcc));
    if header.is_none() && raw.is_none() {
        return;
    }
    let peer = party::caller_principal(reading).filter(|_| verified);
    let header = header.as_deref().unwrap_or("");
    let verdict = xfcc::judge(header, raw.as_deref().unwrap_or(""), peer.as_deref(), seen.security);
    seen.forwarded = verdict.forwarded;
    if verdict.forwarded == ForwardedIdentity::Contradicts && !seen.claimed_principal.present() {
        seen.claimed_principal =
            verdict.claimed.map_or(Symbol::NONE, |text| symbols.intern(cut(text, PRINCIPAL_MAX)));
    }
}
