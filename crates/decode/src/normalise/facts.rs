//! What spans and proxy logs say alike of one call: parties, request, answer, transport.

use selvedge_model::{
    Certificate, ForwardedIdentity, Observation, ObservationKind, Party, RequestId, Side, Symbol, SymbolTable,
};

use super::memo::{Lesson, Memory};
use super::party::{self, PRINCIPAL_MAX};
use super::reading::{Reading, cut};
use super::{ResourceContext, authorization, http, security, version, xfcc};
use crate::field::Field;
use crate::patterns::Uses;

/// Fields whose text comes from the client: broken UTF-8 in them is noticed even when they are not used.
const CLIENT_TEXT: [Field; 6] =
    [Field::UserAgent, Field::Path, Field::Url, Field::Method, Field::Authority, Field::RequestId];

/// Fields that are read of every record, because they differ from call to call.
const EACH: u128 = bits(&[
    Field::RequestId,
    Field::TraceId,
    Field::SpanId,
    Field::Traceparent,
    Field::StartTime,
    Field::Duration,
    Field::DurationNanos,
    Field::Route,
    Field::Path,
    Field::Url,
    Field::GrpcPath,
    Field::RpcMethod,
    Field::RpcService,
    Field::Messaging,
    Field::Status,
    Field::GrpcStatus,
    Field::RequestBytes,
    Field::ResponseBytes,
    Field::Error,
]);

const fn bits(fields: &[Field]) -> u128 {
    let (mut bits, mut at) = (0, 0);
    while at < fields.len() {
        bits |= fields[at].bit();
        at += 1;
    }
    bits
}

/// How the fields of a record are used whose answer the fields in `decided` had a part in.
pub(crate) fn uses(decided: u128, tag: u8) -> Uses {
    Uses { decided, read: EACH, checked: bits(&CLIENT_TEXT), tag }
}

/// Nothing is read of every record but what is handed on of a record that is not read in full.
pub(crate) fn assert_handed_on(reading: &Reading<'_>) {
    debug_assert_eq!(
        reading.looked_at() & !(EACH | bits(&CLIENT_TEXT)),
        0,
        "the field must be among those of each record"
    );
}

/// Fills everything but ids, times and the error mark. Only what `reading` looked at so far decides with it what there
/// is to learn.
pub(crate) fn observe(
    cx: &ResourceContext,
    reading: &mut Reading<'_>,
    kind: ObservationKind,
    side: Side,
    span_name: &[u8],
    memory: &mut Memory,
    symbols: &mut SymbolTable,
) -> Observation {
    let overflowed = symbols.overflowed();
    let answer = understand(cx, reading, kind, side, symbols);
    let decided = reading.looked_at();
    reading.set_looked_at(0);
    let mut seen = answer;
    complete(&mut seen, cx, reading, span_name, memory, symbols);
    let leaves_no_trace = reading.repaired() == 0 && symbols.overflowed() == overflowed;
    memory.lesson = leaves_no_trace.then_some(Lesson { decided, answer });
    seen
}

/// What a record says of everything that repeats from call to call.
fn understand(
    cx: &ResourceContext,
    reading: &mut Reading<'_>,
    kind: ObservationKind,
    side: Side,
    symbols: &mut SymbolTable,
) -> Observation {
    let mut seen =
        Observation { kind, side, reporter: cx.reporter, grpc_status: -1, ..Observation::default() };
    if side != Side::Internal {
        transport(&mut seen, &cx.reporter, reading, symbols);
        seen.version = version::of_record(&cx.reporter, &seen.reporter, reading, side, symbols);
        seen.method = http::method(reading, symbols);
        seen.user_agent = http::user_agent(reading, symbols);
        seen.protocol = http::protocol(reading, symbols);
        seen.denied_by = authorization::denied_by(reading, symbols);
        seen.shadow_denied_by = authorization::shadow_denied_by(reading, symbols);
    }
    seen
}

/// Fills what differs from call to call.
pub(crate) fn complete(
    seen: &mut Observation,
    cx: &ResourceContext,
    reading: &mut Reading<'_>,
    span_name: &[u8],
    memory: &mut Memory,
    symbols: &mut SymbolTable,
) {
    reading.check(&CLIENT_TEXT);
    seen.origin = cx.origin;
    seen.version = cx.version_of(&seen.reporter).unwrap_or(seen.version);
    seen.request_id = reading.bytes(Field::RequestId).map_or(RequestId::default(), RequestId::from_text);
    if seen.side == Side::Internal {
        return;
    }
    seen.route = http::route(reading, span_name, memory, symbols);
    seen.status = http::status(reading);
    seen.grpc_status = http::grpc_status(reading);
    seen.request_bytes = reading.number(Field::RequestBytes).unwrap_or(0);
    seen.response_bytes = reading.number(Field::ResponseBytes).unwrap_or(0);
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
