//! A sink that writes down what it is given, and the same notes made from `opentelemetry-proto`'s messages.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as WireValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord as WireLog;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as WireNumber;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, metric::Data};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use selvedge_model::{SignalKind, Temporality};

use crate::decoder::{Encoding, walk};
use crate::fault::Fault;
use crate::field::field_of;
use crate::record::{Fields, LogRecord, PointRecord, PointValue, SpanHead, SpanRecord, Value};
use crate::rejection::Rejection;
use crate::sink::{Contents, RecordSink, Scratch};

/// Attribute names that the tests use: known ones (to whatever field) and unknown ones.
pub(super) const KEYS: [&str; 8] = [
    "service.name",
    "http.method",
    "http.request.method",
    "request_id",
    "response_code",
    "bytes_sent",
    "made.up",
    "",
];

/// Writes down what it is given, one line each.
#[derive(Default)]
pub(super) struct Notes(pub(super) Vec<String>);

/// What the readers hand on of a request, or the fault.
pub(super) fn read(
    signal: SignalKind,
    encoding: Encoding,
    body: &[u8],
) -> Result<(Vec<String>, Contents), Fault> {
    let mut notes = Notes::default();
    let contents = walk(signal, encoding, body, &mut Scratch::new(), &mut notes)?;
    Ok((notes.0, contents))
}

/// The values of the fields that [`KEYS`] fill.
fn values(fields: &Fields<'_>) -> String {
    let value =
        |key: &&str| field_of(key.as_bytes()).map(|field| (fields.sent(field), fields.get(field).clone()));
    format!("{:?}", KEYS.iter().map(value).collect::<Vec<_>>())
}

fn id(bytes: &[u8], length: usize) -> &[u8] {
    if bytes.len() == length { bytes } else { &[] }
}

impl RecordSink for Notes {
    type Resource = usize;

    fn resource(&mut self, fields: &Fields<'_>, _: Option<&[u8]>) -> usize {
        self.0.push(format!("resource {}", values(fields)));
        self.0.len()
    }

    fn span(&mut self, _: &usize, record: &SpanRecord<'_, '_>) {
        self.0.push(format!(
            "span {:?} {:?} {:?} {:?} kind {} times {} {} status {} {} state {:?}",
            id(record.head.trace_id, 16),
            id(record.head.span_id, 8),
            id(record.head.parent_span_id, 8),
            String::from_utf8_lossy(record.head.name),
            record.head.kind,
            record.head.start_unix_nano,
            record.head.end_unix_nano,
            record.head.status_code,
            values(record.fields),
            String::from_utf8_lossy(record.head.trace_state)
        ));
    }

    fn log(&mut self, _: &usize, record: &LogRecord<'_, '_>) {
        self.0.push(format!(
            "log times {} {} severity {} {:?} {:?} body {:?} {}",
            record.time_unix_nano,
            record.observed_unix_nano,
            record.severity_number,
            id(record.trace_id, 16),
            id(record.span_id, 8),
            record.body,
            values(record.fields)
        ));
    }

    fn point(&mut self, _: &usize, record: &PointRecord<'_, '_>) {
        let value = match record.value {
            PointValue::Number(number) => format!("number {number:?}"),
            PointValue::Explicit { count, sum, bounds, counts } => {
                format!("explicit {count} {sum:?} {bounds:?} {counts:?}")
            }
            PointValue::Exponential { count, sum, scale, zero_count, positive_offset, positive } => {
                format!("exponential {count} {sum:?} {scale} {zero_count} {positive_offset} {positive:?}")
            }
        };
        self.0.push(format!(
            "point {:?} {:?} times {} {} {:?} {} {value} {}",
            String::from_utf8_lossy(record.name),
            String::from_utf8_lossy(record.unit),
            record.start_unix_nano,
            record.time_unix_nano,
            record.temporality,
            record.monotonic,
            values(record.fields)
        ));
    }

    fn reject(&mut self, reason: Rejection, _: Fault) {
        self.0.push(format!("rejected {}", reason.name()));
    }
}

fn plain(value: &AnyValue) -> Option<Value<'_>> {
    Some(match value.value.as_ref()? {
        WireValue::StringValue(text) => Value::Text(text.as_bytes().into()),
        WireValue::BytesValue(bytes) => Value::Text(bytes.into()),
        WireValue::IntValue(number) => Value::Int(*number),
        WireValue::DoubleValue(number) => Value::Double(*number),
        WireValue::BoolValue(truth) => Value::Bool(*truth),
        _ => return None,
    })
}

fn value_of(value: Option<&AnyValue>) -> Value<'_> {
    let Some(value) = value else { return Value::Absent };
    match &value.value {
        Some(WireValue::ArrayValue(array)) if array.values.len() == 1 => {
            plain(&array.values[0]).unwrap_or_default()
        }
        _ => plain(value).unwrap_or_default(),
    }
}

fn set_all<'a>(attributes: &'a [KeyValue], fields: &mut Fields<'a>) {
    for attribute in attributes {
        if let Some(field) = field_of(attribute.key.as_bytes()) {
            fields.set(field, value_of(attribute.value.as_ref()));
        }
    }
}

fn fields_of(attributes: &[KeyValue]) -> Fields<'_> {
    let mut fields = Fields::new();
    set_all(attributes, &mut fields);
    fields
}

fn temporality_of(number: i32) -> Temporality {
    match number {
        1 => Temporality::Delta,
        2 => Temporality::Cumulative,
        _ => Temporality::Gauge,
    }
}

fn number(point: &NumberDataPoint) -> f64 {
    match point.value {
        Some(WireNumber::AsDouble(number)) => number,
        Some(WireNumber::AsInt(number)) => number as f64,
        None => f64::NAN,
    }
}

impl Notes {
    fn wire_resource(&mut self, resource: Option<&Resource>) {
        self.resource(&fields_of(resource.map_or(&[], |resource| &resource.attributes)), None);
    }

    pub(super) fn traces(request: &ExportTraceServiceRequest) -> Vec<String> {
        let mut notes = Self::default();
        for resource in &request.resource_spans {
            notes.wire_resource(resource.resource.as_ref());
            resource.scope_spans.iter().flat_map(|scope| &scope.spans).for_each(|span| notes.wire_span(span));
        }
        notes.0
    }

    fn wire_span(&mut self, span: &Span) {
        let record = SpanRecord {
            head: SpanHead {
                trace_id: &span.trace_id,
                span_id: &span.span_id,
                parent_span_id: &span.parent_span_id,
                name: span.name.as_bytes(),
                kind: span.kind,
                start_unix_nano: span.start_time_unix_nano,
                end_unix_nano: span.end_time_unix_nano,
                status_code: span.status.as_ref().map_or(0, |status| status.code),
                trace_state: span.trace_state.as_bytes(),
            },
            fields: &fields_of(&span.attributes),
        };
        self.span(&0, &record);
    }

    pub(super) fn logs(request: &ExportLogsServiceRequest) -> Vec<String> {
        let mut notes = Self::default();
        for resource in &request.resource_logs {
            notes.wire_resource(resource.resource.as_ref());
            resource
                .scope_logs
                .iter()
                .flat_map(|scope| &scope.log_records)
                .for_each(|log| notes.wire_log(log));
        }
        notes.0
    }

    fn wire_log(&mut self, log: &WireLog) {
        let mut fields = fields_of(&log.attributes);
        if !log.event_name.is_empty()
            && let Some(field) = field_of(b"event.name")
        {
            fields.set(field, Value::Text(log.event_name.as_bytes().into()));
        }
        if let Some(AnyValue { value: Some(WireValue::KvlistValue(map)) }) = &log.body {
            set_all(&map.values, &mut fields);
        }
        let record = LogRecord {
            time_unix_nano: log.time_unix_nano,
            observed_unix_nano: log.observed_time_unix_nano,
            severity_number: log.severity_number,
            trace_id: &log.trace_id,
            span_id: &log.span_id,
            body: &value_of(log.body.as_ref()),
            fields: &fields,
        };
        self.log(&0, &record);
    }

    pub(super) fn metrics(request: &ExportMetricsServiceRequest) -> Vec<String> {
        let mut notes = Self::default();
        for resource in &request.resource_metrics {
            notes.wire_resource(resource.resource.as_ref());
            for metric in resource.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
                notes.wire_metric(metric);
            }
        }
        notes.0
    }

    fn wire_metric(&mut self, metric: &Metric) {
        let mut note = |aggregation, times, flags, value: PointValue<'_>, attributes: &[KeyValue]| {
            self.wire_point(metric, aggregation, times, flags, value, attributes);
        };
        match &metric.data {
            Some(Data::Gauge(gauge)) => gauge.data_points.iter().for_each(|p| {
                let times = (p.start_time_unix_nano, p.time_unix_nano);
                note(
                    (Temporality::Gauge, false),
                    times,
                    p.flags,
                    PointValue::Number(number(p)),
                    &p.attributes,
                );
            }),
            Some(Data::Sum(sum)) => sum.data_points.iter().for_each(|p| {
                let times = (p.start_time_unix_nano, p.time_unix_nano);
                let temporality = temporality_of(sum.aggregation_temporality);
                note(
                    (temporality, sum.is_monotonic),
                    times,
                    p.flags,
                    PointValue::Number(number(p)),
                    &p.attributes,
                );
            }),
            Some(Data::Histogram(histogram)) => histogram.data_points.iter().for_each(|p| {
                let bare = p.bucket_counts.is_empty().then(|| vec![p.count]);
                let counts = bare.as_ref().unwrap_or(&p.bucket_counts);
                let sum = p.sum.unwrap_or(f64::NAN);
                let value = PointValue::Explicit { count: p.count, sum, bounds: &p.explicit_bounds, counts };
                let times = (p.start_time_unix_nano, p.time_unix_nano);
                let temporality = temporality_of(histogram.aggregation_temporality);
                note((temporality, true), times, p.flags, value, &p.attributes);
            }),
            Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.iter().for_each(|p| {
                let value = PointValue::Exponential {
                    count: p.count,
                    sum: p.sum.unwrap_or(f64::NAN),
                    scale: p.scale,
                    zero_count: p.zero_count,
                    positive_offset: p.positive.as_ref().map_or(0, |buckets| buckets.offset),
                    positive: p.positive.as_ref().map_or(&[], |buckets| &buckets.bucket_counts),
                };
                let times = (p.start_time_unix_nano, p.time_unix_nano);
                let temporality = temporality_of(histogram.aggregation_temporality);
                note((temporality, true), times, p.flags, value, &p.attributes);
            }),
            Some(Data::Summary(summary)) => summary.data_points.iter().for_each(|p| {
                let times = (p.start_time_unix_nano, p.time_unix_nano);
                note(
                    (Temporality::Cumulative, true),
                    times,
                    p.flags,
                    PointValue::Number(p.count as f64),
                    &p.attributes,
                );
            }),
            None => {}
        }
    }

    fn wire_point(
        &mut self,
        metric: &Metric,
        (temporality, monotonic): (Temporality, bool),
        (start_unix_nano, time_unix_nano): (u64, u64),
        flags: u32,
        value: PointValue<'_>,
        attributes: &[KeyValue],
    ) {
        let record = PointRecord {
            name: metric.name.as_bytes(),
            unit: metric.unit.as_bytes(),
            start_unix_nano,
            time_unix_nano,
            temporality,
            monotonic,
            value: if flags & 1 == 1 { PointValue::Number(f64::NAN) } else { value },
            attributes_hash: 0,
            fields: &fields_of(attributes),
        };
        self.point(&0, &record);
    }
}
