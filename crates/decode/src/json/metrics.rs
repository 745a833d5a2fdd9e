//! JSON metrics: every data point of every metric.

use std::borrow::Cow;

use super::cursor::Cursor;
use super::{record_object, value};
use crate::fault::Fault;
use crate::point::{Head, Parts, PointKind, emit};
use crate::rejection::Rejection;
use crate::sink::{RecordSink, Visit};

/// Reads one metric. Keys come in any order, so name, kind and temporality are looked for before the points.
pub(super) fn metric<'a, S: RecordSink>(
    mut metric: Cursor<'a>,
    visit: &mut Visit<'_, 'a, S>,
) -> Result<(), Fault> {
    let (mut name, mut unit) = (Cow::Borrowed(&[][..]), Cow::Borrowed(&[][..]));
    let mut data = None;
    record_object(&mut metric)?;
    while let Some(key) = metric.key() {
        match (&key[..], kind_of(&key)) {
            (b"name", _) => name = metric.string()?,
            (b"unit", _) => unit = metric.string()?,
            (_, Some(kind)) if !metric.null() => {
                data = Some((kind, metric));
                metric.skip();
            }
            (_, Some(_)) => {}
            _ => {
                metric.skip();
            }
        }
    }
    let Some((kind, mut data)) = data else { return Ok(()) };
    let mut head = Head { name: &name, unit: &unit, kind, temporality: 0, monotonic: false };
    let mut list = Cursor::new(&[]);
    data.object()?;
    while let Some(key) = data.key() {
        match &key[..] {
            b"aggregationTemporality" => head.temporality = data.enumeration()?,
            b"isMonotonic" => head.monotonic = data.boolean()?,
            b"dataPoints" => {
                list = data;
                data.skip();
            }
            _ => {
                data.skip();
            }
        }
    }
    if list.peek() != 0 && list.array()? {
        while list.element() {
            let one = list;
            list.skip();
            match point(one, kind, visit) {
                Ok(parts) => emit(&head, &parts, visit),
                Err(fault) => visit.sink.reject(Rejection::Malformed, fault),
            }
        }
    }
    Ok(())
}

fn kind_of(key: &[u8]) -> Option<PointKind> {
    match key {
        b"gauge" => Some(PointKind::Gauge),
        b"sum" => Some(PointKind::Sum),
        b"histogram" => Some(PointKind::Histogram),
        b"exponentialHistogram" => Some(PointKind::Exponential),
        b"summary" => Some(PointKind::Summary),
        _ => None,
    }
}

/// One data point of any kind: the kinds share most keys, and none means two things.
fn point<'a, S: RecordSink>(
    mut point: Cursor<'a>,
    kind: PointKind,
    visit: &mut Visit<'_, 'a, S>,
) -> Result<Parts, Fault> {
    let scratch = &mut *visit.scratch;
    scratch.fields.clear();
    scratch.counts.clear();
    scratch.bounds.clear();
    let mut parts = Parts::new(point.offset());
    record_object(&mut point)?;
    while let Some(key) = point.key() {
        match (&key[..], kind) {
            (b"attributes", _) => {
                let sum = value::attributes_and_hash(&mut point, &mut scratch.fields)?;
                parts.attributes_hash = parts.attributes_hash.wrapping_add(sum);
            }
            (b"startTimeUnixNano", _) => parts.start_unix_nano = point.integer()?,
            (b"timeUnixNano", _) => parts.time_unix_nano = point.integer()?,
            (b"flags", _) => parts.flags = point.integer()?,
            (b"asDouble", PointKind::Gauge | PointKind::Sum) => {
                parts.number = point.double()?.unwrap_or(f64::NAN);
            }
            (b"asInt", PointKind::Gauge | PointKind::Sum) if !point.null() => {
                parts.number = point.integer::<i64>()? as f64;
            }
            (b"asInt", PointKind::Gauge | PointKind::Sum) => {}
            (b"count", _) => parts.count = point.integer()?,
            (b"sum", _) => parts.sum = point.double()?.unwrap_or(f64::NAN),
            (b"bucketCounts", PointKind::Histogram) => counts(&mut point, &mut scratch.counts)?,
            (b"explicitBounds", PointKind::Histogram) => bounds(&mut point, &mut scratch.bounds)?,
            (b"scale", PointKind::Exponential) => parts.scale = point.integer()?,
            (b"zeroCount", PointKind::Exponential) => parts.zero_count = point.integer()?,
            (b"positive", PointKind::Exponential) => buckets(&mut point, &mut parts, &mut scratch.counts)?,
            _ => {
                point.skip();
            }
        }
    }
    Ok(parts)
}

/// The `positive` buckets of an exponential histogram.
fn buckets(point: &mut Cursor<'_>, parts: &mut Parts, into: &mut Vec<u64>) -> Result<(), Fault> {
    if !point.object()? {
        return Ok(());
    }
    while let Some(key) = point.key() {
        match &key[..] {
            b"offset" => parts.positive_offset = point.integer()?,
            b"bucketCounts" => counts(point, into)?,
            _ => {
                point.skip();
            }
        }
    }
    Ok(())
}

fn counts(list: &mut Cursor<'_>, into: &mut Vec<u64>) -> Result<(), Fault> {
    if list.array()? {
        while list.element() {
            into.push(list.integer()?);
        }
    }
    Ok(())
}

fn bounds(list: &mut Cursor<'_>, into: &mut Vec<f64>) -> Result<(), Fault> {
    if list.array()? {
        while list.element() {
            into.push(list.double()?.unwrap_or(f64::NAN));
        }
    }
    Ok(())
}
