//! Every row of the OTLP/JSON conformance table (`ecosystem.md` 1.4), and the rest of the mapping's rules.

use selvedge_model::SignalKind;

use super::seen::read;
use crate::decoder::Encoding;

/// What the reader hands on of one span with these members.
fn span(members: &str) -> String {
    let body = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{members}}}]}}]}}]}}"#);
    let (notes, _) = read(SignalKind::Traces, Encoding::Json, body.as_bytes()).expect("a request");
    assert_eq!(notes.len(), 2, "{notes:?}");
    notes[1].clone()
}

/// The same for one point of a gauge.
fn point(members: &str) -> String {
    let body = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"m","gauge":{{"dataPoints":[{{{members}}}]}}}}]}}]}}]}}"#
    );
    let (notes, _) = read(SignalKind::Metrics, Encoding::Json, body.as_bytes()).expect("a request");
    assert_eq!(notes.len(), 2, "{notes:?}");
    notes[1].clone()
}

/// The value that `service.name` has after this `AnyValue`.
fn attribute(value: &str) -> String {
    let note = span(&format!(r#""attributes":[{{"key":"service.name","value":{value}}}]"#));
    let (_, values) = note.split_once("status 0 [Some((true, ").expect("a span with a first value");
    values.split("), ").next().expect("a first value").trim_end_matches(')').to_owned()
}

const NOTHING: &str = "span [] [] [] \"\" kind 0 times 0 0 status 0";

#[test]
fn an_empty_request_is_a_success() {
    for empty in ["{}", " { } ", "null", r#"{"resourceSpans":[]}"#, r#"{"resourceSpans":null}"#] {
        let (notes, contents) = read(SignalKind::Traces, Encoding::Json, empty.as_bytes()).expect(empty);
        assert!(notes.is_empty() && !contents.resources && contents.unknown.is_none(), "{empty}");
    }
}

#[test]
fn resource_and_scope_may_be_missing_and_keys_come_in_any_order() {
    let bare = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{}]}]}]}"#;
    assert_eq!(read(SignalKind::Traces, Encoding::Json, bare).expect("valid").0.len(), 2);
    let late = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"n"}]}],
        "resource":{"attributes":[{"value":{"stringValue":"web"},"key":"service.name"}]}}]}"#;
    let (notes, _) = read(SignalKind::Traces, Encoding::Json, late).expect("valid");
    assert!(notes[0].starts_with("resource") && notes[0].contains("Text"), "{notes:?}");
    assert!(notes[1].contains("\"n\""));
}

#[test]
fn integers_of_64_bits_come_as_number_or_string() {
    let times = "times 1795466033803115000 18446744073709551615";
    let text = r#""startTimeUnixNano":"1795466033803115000","endTimeUnixNano":"18446744073709551615""#;
    assert!(span(text).contains(times));
    assert!(
        span(&text.replace("\"1", "1").replace("5000\"", "5000").replace("1615\"", "1615")).contains(times)
    );
    assert_eq!(attribute(r#"{"intValue":"-7"}"#), "Int(-7");
    assert_eq!(attribute(r#"{"intValue":-7}"#), "Int(-7");
}

#[test]
fn unknown_fields_are_ignored() {
    let unknown = r#""fancy":{"a":[1,{"b":null}]},"name":"n","x":[],"name_":"other""#;
    assert!(span(unknown).starts_with(r#"span [] [] [] "n" kind 0"#));
    assert_eq!(attribute(r#"{"stringValueStrindex":4}"#), "Absent");
}

#[test]
fn ids_are_hex_of_either_case_and_absent_when_empty_or_of_another_length() {
    let mixed = span(r#""traceId":"5B8EFFF798038103D269B633813FC60c","spanId":"EEE19B7EC3C1B174""#);
    let trace_id = "[91, 142, 255, 247, 152, 3, 129, 3, 210, 105, 182, 51, 129, 63, 198, 12]";
    assert!(mixed.starts_with(&format!("span {trace_id} [238, 225, 155, 126, 195, 193, 177, 116] []")));
    for odd in [r#""traceId":"","spanId":"""#, r#""traceId":"0b","spanId":"0b0c""#, r#""traceId":null"#] {
        assert!(span(odd).starts_with(NOTHING), "{odd}");
    }
}

#[test]
fn enums_are_integers_known_or_not_and_never_names() {
    assert!(span(r#""kind":2"#).contains("kind 2"));
    assert!(span(r#""kind":99,"status":{"code":2}"#).contains("kind 99 times 0 0 status 2"));
    assert_eq!(span(r#""kind":"SPAN_KIND_SERVER""#), "rejected malformed");
    assert_eq!(span(r#""status":{"code":"STATUS_CODE_ERROR"}"#), "rejected malformed");
}

#[test]
fn an_attribute_without_value_is_there_and_absent() {
    for empty in ["{}", "null", r#"{"stringValue":null}"#] {
        assert_eq!(attribute(empty), "Absent", "{empty}");
    }
    assert!(span(r#""attributes":[{"key":"service.name"}]"#).contains("(true, Absent)"));
}

#[test]
fn empty_and_full_arrays_and_maps_cost_nothing() {
    let empty = [
        r#"{"arrayValue":{}}"#,
        r#"{"kvlistValue":{}}"#,
        r#"{"arrayValue":{"values":[]}}"#,
        r#"{"arrayValue":{"values":null}}"#,
        r#"{"arrayValue":null}"#,
        r#"{"kvlistValue":{"values":[{"key":"a","value":{"intValue":"1"}}]}}"#,
        r#"{"arrayValue":{"values":[{"stringValue":"a"},{"stringValue":"b"}]}}"#,
    ];
    for value in empty {
        assert_eq!(attribute(value), "Absent", "{value}");
    }
    assert_eq!(
        attribute(r#"{"arrayValue":{"values":[{"stringValue":"a"}]}}"#),
        attribute(r#"{"stringValue":"a"}"#)
    );
    assert_eq!(attribute(r#"{"bytesValue":"YQ=="}"#), attribute(r#"{"stringValue":"a"}"#));
}

#[test]
fn null_is_absent_everywhere() {
    let nulls =
        r#""name":null,"attributes":null,"kind":null,"startTimeUnixNano":null,"status":null,"spanId":null"#;
    assert!(span(nulls).starts_with(NOTHING));
    assert!(point(r#""attributes":null,"asInt":null,"timeUnixNano":null"#).contains("number NaN"));
    let bodies = [
        r#"{"resourceSpans":[{"resource":null,"scopeSpans":null}]}"#,
        r#"{"resourceSpans":[{"resource":{"attributes":null},"scopeSpans":[{"scope":null,"spans":null}]}]}"#,
    ];
    for body in bodies {
        assert_eq!(read(SignalKind::Traces, Encoding::Json, body.as_bytes()).expect(body).0.len(), 1);
    }
}

#[test]
fn doubles_that_are_no_numbers_come_as_words() {
    assert_eq!(attribute(r#"{"doubleValue":"NaN"}"#), "Double(NaN");
    assert_eq!(attribute(r#"{"doubleValue":"-Infinity"}"#), "Double(-inf");
    assert_eq!(attribute(r#"{"doubleValue":1}"#), "Double(1.0");
    assert!(point(r#""asDouble":"NaN""#).contains("number NaN"));
    assert!(point(r#""asDouble":"Infinity""#).contains("number inf"));
    assert!(point(r#""asInt":"-5""#).contains("number -5.0"));
    assert!(point(r#""asInt":"5","flags":1"#).contains("number NaN"), "NO_RECORDED_VALUE");
}

#[test]
fn snake_case_keys_are_unknown_and_noted() {
    let top = br#"{"resource_spans":[{"scope_spans":[{"spans":[{}]}]}]}"#;
    let (notes, contents) = read(SignalKind::Traces, Encoding::Json, top).expect("valid");
    assert!(notes.is_empty());
    assert_eq!(contents.unknown.as_deref(), Some("key `resource_spans`"));
    let inner = br#"{"resourceSpans":[{"scope_spans":[{"spans":[{}]}]}]}"#;
    let (_, contents) = read(SignalKind::Traces, Encoding::Json, inner).expect("valid");
    assert_eq!(contents.unknown.as_deref(), Some("key `scope_spans`"));
    assert!(
        span(r#""start_time_unix_nano":"5","trace_id":"5b8efff798038103d269b633813fc60c""#)
            .starts_with(NOTHING)
    );
}

#[test]
fn one_bad_record_costs_only_itself() {
    let bad = [
        r#"{"kind":"SERVER"}"#,
        r#"{"name":5}"#,
        r#"{"startTimeUnixNano":"soon"}"#,
        r#"{"startTimeUnixNano":-1}"#,
        r#"{"attributes":{}}"#,
        r#"{"attributes":[5]}"#,
        r#"{"attributes":[{"key":"service.name","value":{"intValue":1.5}}]}"#,
        "5",
        "null",
        "[]",
    ];
    for bad in bad {
        let body =
            format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{bad},{{"name":"good"}}]}}]}}]}}"#);
        let (notes, _) = read(SignalKind::Traces, Encoding::Json, body.as_bytes()).expect(bad);
        assert_eq!(notes[1], "rejected malformed", "{bad}");
        assert!(notes[2].contains("good"), "{bad}");
    }
}

#[test]
fn a_wrong_frame_costs_the_body_and_says_where() {
    let of =
        |body: &str| read(SignalKind::Traces, Encoding::Json, body.as_bytes()).expect_err(body).to_string();
    assert_eq!(of("[]"), "expected an object at byte 0");
    assert_eq!(of(r#"{"resourceSpans":{}}"#), "expected an array at byte 17");
    assert_eq!(of(r#"{"resourceSpans":[7]}"#), "expected an object at byte 18");
    assert_eq!(of(r#"{"resourceSpans":[{"scopeSpans":[{"spans":{}}]}]}"#), "expected an array at byte 42");
    assert_eq!(of(r#"{"resourceSpans":[}"#), "unexpected byte 0x7d at byte 18");
    assert_eq!(of(""), "unexpected end of text at byte 0");
}

#[test]
fn log_bodies_that_are_maps_or_json_objects_count_as_attributes() {
    let log = |members: &str| {
        let body = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{{members}}}]}}]}}]}}"#);
        let (notes, _) = read(SignalKind::Logs, Encoding::Json, body.as_bytes()).expect("valid");
        notes[1].clone()
    };
    let attribute = log(r#""attributes":[{"key":"service.name","value":{"stringValue":"web"}}]"#);
    assert!(attribute.contains("body Absent") && attribute.contains("Text([119, 101, 98])"), "{attribute}");
    let map =
        log(r#""body":{"kvlistValue":{"values":[{"key":"service.name","value":{"stringValue":"web"}}]}}"#);
    let text = log(r#""body":{"stringValue":" {\"other\":[1],\"service.name\":\"web\"}"}"#);
    for (note, body) in [(&map, "Absent"), (&text, "Text")] {
        assert!(note.contains(&format!("body {body}")), "{note}");
        assert!(note.contains("Text([119, 101, 98])"), "{note}");
    }
    let torn = log(r#""body":{"stringValue":"{\"service.name\":\"web\""}"#);
    assert!(!torn.contains("(true"), "text that only starts like an object is text");
    let both = log(
        r#""attributes":[{"key":"service.name","value":{"stringValue":"own"}}],"body":{"stringValue":"{\"service.name\":\"web\"}"}"#,
    );
    assert!(both.contains("Text([111, 119, 110])"), "the record's own attribute wins");
}
