//! Access-log lines in a log record's text body: Istio's and Envoy's default text format, and JSON objects
//! (Istio, Consul, Linkerd, ztunnel), into fields.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::field::{Field, field_of};
use crate::record::{Fields, Value};

/// True when a body is worth a closer look: it begins like a JSON object or like `[2026-...`.
pub(crate) fn is_candidate(body: &[u8]) -> bool {
    let body = body.trim_ascii_start();
    body.first() == Some(&b'{')
        || (body.first() == Some(&b'[') && body.get(1).is_some_and(u8::is_ascii_digit))
}

/// The fields of an access-log line; `None` when it is something else.
pub(crate) fn parse(body: &str) -> Option<Fields<'_>> {
    let body = body.trim();
    if body.starts_with('{') { parse_object(body) } else { parse_line(body) }
}

fn parse_object(body: &str) -> Option<Fields<'_>> {
    let Object(fields) = serde_json::from_str(body).ok()?;
    let known =
        [Field::Method, Field::Status, Field::ZtunnelSource, Field::ZtunnelDestination, Field::ConnectionId];
    known.iter().any(|field| fields.sent(*field)).then_some(fields)
}

/// Istio's default format, and Envoy's, which lacks the details after the flags and everything after the host:
/// `[start] "method path protocol" code flags [details termination "failure"] received sent duration service-time
/// "xff" "user agent" "request id" "authority" "host" [cluster local local remote sni route]`.
/// The user agent may hold blanks and quotes, so the line is read from both ends towards it.
fn parse_line(line: &str) -> Option<Fields<'_>> {
    let mut fields = Fields::new();
    let mut set = |field, text| fields.set(field, Value::Text(Cow::Borrowed(str::as_bytes(text))));
    let (start, rest) = line.strip_prefix('[')?.split_once("] \"")?;
    set(Field::StartTime, start);
    // Neither method, path nor protocol can hold a blank.
    let (method, rest) = rest.split_once(' ')?;
    let (path, rest) = rest.split_once(' ')?;
    let (protocol, rest) = rest.split_once("\" ")?;
    set(Field::Method, method);
    set(Field::Path, path);
    set(Field::Protocol, protocol);
    let (code, rest) = rest.split_once(' ')?;
    let (flags, mut rest) = rest.split_once(' ')?;
    if code.parse::<u16>().is_err() {
        return None;
    }
    set(Field::Status, code);
    set(Field::ResponseFlags, flags);
    if rest.split(' ').next()?.parse::<u64>().is_err() {
        let (details, after) = rest.split_once(' ')?;
        let (_termination, after) = after.split_once(" \"")?;
        let (failure, after) = after.split_once("\" ")?;
        set(Field::CodeDetails, details);
        set(Field::UpstreamTlsFailure, failure);
        rest = after;
        // From the right: route, server name, three addresses, cluster.
        let (before, _route) = rest.rsplit_once(' ')?;
        let (before, server_name) = before.rsplit_once(' ')?;
        let before = before.rsplitn(4, ' ').nth(3)?;
        let (before, cluster) = before.rsplit_once(' ')?;
        set(Field::Sni, server_name);
        set(Field::UpstreamCluster, cluster);
        rest = before;
    }
    for field in [Field::RequestBytes, Field::ResponseBytes, Field::Duration] {
        let (number, after) = rest.split_once(' ')?;
        set(field, number);
        rest = after;
    }
    let (_service_time, rest) = rest.split_once(" \"")?;
    let mut from_the_right = rest.strip_suffix('"')?.rsplitn(4, "\" \"");
    for field in [Field::UpstreamHost, Field::Authority, Field::RequestId] {
        set(field, from_the_right.next()?);
    }
    let (_forwarded_for, user_agent) = from_the_right.next()?.split_once("\" \"")?;
    set(Field::UserAgent, user_agent);
    Some(fields)
}

/// The entries of a flat JSON object that we have a use for. Nested values are skipped.
struct Object<'a>(Fields<'a>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::new();
        while let Some(Scalar(key)) = map.next_key()? {
            let Scalar(value) = map.next_value()?;
            if let Value::Text(name) = key
                && let Some(field) = field_of(&name)
            {
                fields.set(field, value);
            }
        }
        Ok(Object(fields))
    }
}

/// A JSON value, where arrays and objects count as absent.
struct Scalar<'a>(Value<'a>);

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor).map(Scalar)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Borrowed(text.as_bytes())))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Owned(text.as_bytes().to_vec())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(number).map_or(Value::Absent, Value::Int))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Value::Double(number))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Self::Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Absent)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Absent)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Absent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'a>(fields: &'a Fields<'_>, field: Field) -> &'a str {
        match fields.get(field) {
            Value::Text(bytes) => std::str::from_utf8(bytes).unwrap(),
            _ => "",
        }
    }

    const ISTIO: &str = "[2026-11-24T20:31:16.123Z] \"GET /carts/17?x=1 HTTP/1.1\" 200 - via_upstream - \"-\" 5 99 12 11 \
        \"-\" \"odd \" agent\" \"7a391762-31bf-9d00-95df-c3e9671236ff\" \"cart.front.svc.cluster.local\" \
        \"10.0.0.7:8080\" outbound|80||cart.front.svc.cluster.local 10.0.0.8:1 10.0.0.9:2 10.0.0.8:3 - default\n";

    #[test]
    fn istios_default_line_is_read_from_both_ends_around_the_user_agent() {
        assert!(is_candidate(ISTIO.as_bytes()));
        let fields = parse(ISTIO).unwrap();
        for (field, expected) in [
            (Field::StartTime, "2026-11-24T20:31:16.123Z"),
            (Field::Method, "GET"),
            (Field::Path, "/carts/17?x=1"),
            (Field::Status, "200"),
            (Field::ResponseFlags, "-"),
            (Field::CodeDetails, "via_upstream"),
            (Field::RequestBytes, "5"),
            (Field::ResponseBytes, "99"),
            (Field::Duration, "12"),
            (Field::UserAgent, "odd \" agent"),
            (Field::RequestId, "7a391762-31bf-9d00-95df-c3e9671236ff"),
            (Field::Authority, "cart.front.svc.cluster.local"),
            (Field::UpstreamHost, "10.0.0.7:8080"),
            (Field::UpstreamCluster, "outbound|80||cart.front.svc.cluster.local"),
            (Field::Sni, "-"),
        ] {
            assert_eq!(text(&fields, field), expected, "{field:?}");
        }
    }

    #[test]
    fn envoys_shorter_default_line_is_read_too() {
        let line = "[2026-11-24T20:31:16.123Z] \"POST /carts HTTP/2\" 503 UF 5 0 12 - \"-\" \"cart-app/1\" \"id\" \"cart\" \"-\"";
        let fields = parse(line).unwrap();
        assert_eq!(text(&fields, Field::ResponseFlags), "UF");
        assert_eq!(text(&fields, Field::UserAgent), "cart-app/1");
        assert_eq!(text(&fields, Field::Authority), "cart");
    }

    #[test]
    fn a_json_line_gives_its_known_keys_and_skips_nesting() {
        let body = r#"{"method":"GET","response_code":200,"duration":12.5,"x":{"y":[1,{"z":null}]},"path":"/a\u0041"}"#;
        let fields = parse(body).unwrap();
        assert_eq!(text(&fields, Field::Path), "/aA");
        assert_eq!(fields.get(Field::Status), &Value::Int(200));
        assert_eq!(fields.get(Field::Duration), &Value::Double(12.5));
    }

    #[test]
    fn other_text_is_not_an_access_log() {
        for body in [
            "{\"message\":\"hello\"}",
            "{",
            "[2026-11-24T20:31:16.123Z] \"GET /carts HTTP/1.1\" 200",
            "[2026-11-24T20:31:16.123Z] \"GET /carts HTTP/1.1\" ok - 1",
            "[1] \"",
            "",
        ] {
            assert!(parse(body).is_none(), "{body}");
        }
        assert!(!is_candidate(b"GET /carts 200") && !is_candidate(b"[warn] x"));
    }
}
