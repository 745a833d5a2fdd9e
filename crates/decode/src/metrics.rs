//! Protobuf metrics: every data point of every metric.

use crate::attribute;
use crate::fault::Fault;
use crate::point::{Head, Parts, PointKind, emit};
use crate::rejection::Rejection;
use crate::sink::{RecordSink, Visit};
use crate::wire::{Reader, Tag};

/// Reads one `Metric`. Its name, kind and temporality may come after its points, so they are looked for first;
/// the metric's own frame is therefore whole before its first point is handed on.
pub(crate) fn metric<'a, S: RecordSink>(
    mut metric: Reader<'a>,
    visit: &mut Visit<'_, 'a, S>,
) -> Result<(), Fault> {
    let (mut name, mut unit): (&[u8], &[u8]) = (&[], &[]);
    let mut data = None;
    let mut first_pass = metric;
    while let Some(tag) = first_pass.field()? {
        match (tag.field, kind_of(tag.field)) {
            (1, _) => name = first_pass.bytes(tag)?,
            (3, _) => unit = first_pass.bytes(tag)?,
            (field, Some(kind)) => {
                // One of several: the last counts, as in any protobuf reader.
                data = Some((field, kind));
                first_pass.message(tag)?;
            }
            _ => first_pass.skip(tag)?,
        }
    }
    let Some((field, kind)) = data else { return Ok(()) };
    let mut head = Head { name, unit, kind, temporality: 0, monotonic: false };
    let mut second_pass = metric;
    while let Some(tag) = second_pass.field()? {
        if tag.field == field {
            read_aggregation(second_pass.message(tag)?, &mut head)?;
        } else {
            second_pass.skip(tag)?;
        }
    }
    while let Some(tag) = metric.field()? {
        if tag.field == field {
            points(metric.message(tag)?, &head, visit)?;
        } else {
            metric.skip(tag)?;
        }
    }
    Ok(())
}

/// The kind of metric that a field of `Metric` holds.
fn kind_of(field: u32) -> Option<PointKind> {
    match field {
        5 => Some(PointKind::Gauge),
        7 => Some(PointKind::Sum),
        9 => Some(PointKind::Histogram),
        10 => Some(PointKind::Exponential),
        11 => Some(PointKind::Summary),
        _ => None,
    }
}

/// `aggregation_temporality` and `is_monotonic`, which have the same numbers in every kind that has them.
fn read_aggregation(mut data: Reader<'_>, head: &mut Head<'_>) -> Result<(), Fault> {
    let has_temporality = !matches!(head.kind, PointKind::Gauge | PointKind::Summary);
    while let Some(tag) = data.field()? {
        match tag.field {
            2 if has_temporality => head.temporality = data.int32(tag)?,
            3 if head.kind == PointKind::Sum => head.monotonic = data.varint(tag)? != 0,
            _ => data.skip(tag)?,
        }
    }
    Ok(())
}

/// The points of one `Gauge`, `Sum`, `Histogram`, `ExponentialHistogram` or `Summary`: always field 1.
fn points<'a, S: RecordSink>(
    mut data: Reader<'a>,
    head: &Head<'_>,
    visit: &mut Visit<'_, 'a, S>,
) -> Result<(), Fault> {
    while let Some(tag) = data.field()? {
        if tag.field != 1 {
            data.skip(tag)?;
            continue;
        }
        let message = data.message(tag)?;
        visit.scratch.fields.clear();
        visit.scratch.counts.clear();
        visit.scratch.bounds.clear();
        let mut parts = Parts::new(message.offset());
        let read = match head.kind {
            PointKind::Gauge | PointKind::Sum => number(message, &mut parts, visit),
            PointKind::Histogram => histogram(message, &mut parts, visit),
            PointKind::Exponential => exponential(message, &mut parts, visit),
            PointKind::Summary => summary(message, &mut parts, visit),
        };
        match read {
            Ok(()) => emit(head, &parts, visit),
            Err(fault) => visit.sink.reject(Rejection::Malformed, fault),
        }
    }
    Ok(())
}

/// `NumberDataPoint`.
fn number<'a, S: RecordSink>(
    mut point: Reader<'a>,
    parts: &mut Parts,
    visit: &mut Visit<'_, 'a, S>,
) -> Result<(), Fault> {
    while let Some(tag) = point.field()? {
        match tag.field {
            2 | 3 => time(tag, &mut point, parts)?,
            4 => parts.number = point.double(tag)?,
            6 => parts.number = point.fixed64(tag)?.cast_signed() as f64,
            7 => attribute(point.message(tag)?, parts, visit)?,
            8 => parts.flags = flags(tag, &mut point)?,
            _ => point.skip(tag)?,
        }
    }
    Ok(())
}

/// `HistogramDataPoint`.
fn histogram<'a, S: RecordSink>(
    mut point: Reader<'a>,
    parts: &mut Parts,
    visit: &mut Visit<'_, 'a, S>,
) -> Result<(), Fault> {
    while let Some(tag) = point.field()? {
        match tag.field {
            2 | 3 => time(tag, &mut point, parts)?,
            4 => parts.count = point.fixed64(tag)?,
            5 => parts.sum = point.double(tag)?,
            6 => point.fixed64s(tag, |count| visit.scratch.counts.push(count))?,
            7 => point.fixed64s(tag, |bits| visit.scratch.bounds.push(f64::from_bits(bits)))?,
            9 => attribute(point.message(tag)?, parts, visit)?,
            10 => parts.flags = flags(tag, &mut point)?,
            _ => point.skip(tag)?,
        }
    }
    Ok(())
}

/// `ExponentialHistogramDataPoint`. Negative values are stepped over: durations and sizes have none.
fn exponential<'a, S: RecordSink>(
    mut point: Reader<'a>,
    parts: &mut Parts,
    visit: &mut Visit<'_, 'a, S>,
) -> Result<(), Fault> {
    while let Some(tag) = point.field()? {
        match tag.field {
            1 => attribute(point.message(tag)?, parts, visit)?,
            2 | 3 => time(tag, &mut point, parts)?,
            4 => parts.count = point.fixed64(tag)?,
            5 => parts.sum = point.double(tag)?,
            6 => parts.scale = point.sint32(tag)?,
            7 => parts.zero_count = point.fixed64(tag)?,
            8 => {
                let mut buckets = point.message(tag)?;
                while let Some(tag) = buckets.field()? {
                    match tag.field {
                        1 => parts.positive_offset = buckets.sint32(tag)?,
                        2 => buckets.varints(tag, &mut visit.scratch.counts)?,
                        _ => buckets.skip(tag)?,
                    }
                }
            }
            10 => parts.flags = flags(tag, &mut point)?,
            _ => point.skip(tag)?,
        }
    }
    Ok(())
}

/// `SummaryDataPoint`.
fn summary<'a, S: RecordSink>(
    mut point: Reader<'a>,
    parts: &mut Parts,
    visit: &mut Visit<'_, 'a, S>,
) -> Result<(), Fault> {
    while let Some(tag) = point.field()? {
        match tag.field {
            2 | 3 => time(tag, &mut point, parts)?,
            4 => parts.count = point.fixed64(tag)?,
            5 => parts.sum = point.double(tag)?,
            7 => attribute(point.message(tag)?, parts, visit)?,
            8 => parts.flags = flags(tag, &mut point)?,
            _ => point.skip(tag)?,
        }
    }
    Ok(())
}

/// Fields 2 and 3 of every kind of point.
fn time(tag: Tag, point: &mut Reader<'_>, parts: &mut Parts) -> Result<(), Fault> {
    let nanos = point.fixed64(tag)?;
    if tag.field == 2 {
        parts.start_unix_nano = nanos;
    } else {
        parts.time_unix_nano = nanos;
    }
    Ok(())
}

fn flags(tag: Tag, point: &mut Reader<'_>) -> Result<u32, Fault> {
    point.int32(tag).map(i32::cast_unsigned)
}

fn attribute<'a, S: RecordSink>(
    entry: Reader<'a>,
    parts: &mut Parts,
    visit: &mut Visit<'_, 'a, S>,
) -> Result<(), Fault> {
    let part = attribute::read_and_hash(entry, &mut visit.scratch.fields)?;
    parts.attributes_hash = parts.attributes_hash.wrapping_add(part);
    Ok(())
}
