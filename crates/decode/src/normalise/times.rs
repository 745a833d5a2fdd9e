//! Times and durations as senders write them, into nanoseconds.

use std::time::Duration;

use selvedge_model::{EventTime, ObservedTime, Timing};

use super::reading::{Decimal, whole};
use crate::rejection::Rejection;

/// A sender's clock may be this far ahead of ours; further, we take the time of arrival instead. Otherwise one
/// wild clock would push the watermark past everybody else's records. The same as join's default `future_max`, so
/// that every record that keeps its own time may move event time on.
pub const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(10);
/// Envoy writes some times in microseconds (`envoy.md` 3.6, item 3). As nanoseconds these would lie before 1973.
const MICROSECONDS: std::ops::Range<u64> = 100_000_000_000_000..100_000_000_000_000_000;

/// A time in nanoseconds, whether it was written in nano- or microseconds.
pub(crate) fn scaled(time: u64) -> u64 {
    if MICROSECONDS.contains(&time) { time.saturating_mul(1_000) } else { time }
}

/// Start and end of what a record tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: EventTime,
    pub(crate) end: EventTime,
    pub(crate) timing: Timing,
}

impl Extent {
    /// From the two times of a span; a missing or earlier end is the start, a missing start is the end.
    pub(crate) fn between(start: u64, end: u64, observed: ObservedTime) -> Result<Self, Rejection> {
        let (start, end) = (scaled(start), scaled(end));
        let start = if start == 0 { end } else { start };
        Self::own(EventTime(start), EventTime(end.max(start))).plausible(observed)
    }

    /// From the start and duration of a log record.
    pub(crate) fn from_start(start: u64, nanos: u64, observed: ObservedTime) -> Result<Self, Rejection> {
        let start = EventTime(scaled(start));
        Self::own(start, start.after(Duration::from_nanos(nanos))).plausible(observed)
    }

    /// From the time at which a finished request was seen, and its duration.
    pub(crate) fn until(end: u64, nanos: u64, observed: ObservedTime) -> Result<Self, Rejection> {
        let end = EventTime(scaled(end));
        let start = end.before(Duration::from_nanos(nanos));
        Self::own(if start.present() { start } else { end }, end).plausible(observed)
    }

    /// From the time at which we received a finished request that says nothing of its time, and its duration.
    pub(crate) fn arrived(nanos: u64, observed: ObservedTime) -> Result<Self, Rejection> {
        let extent = Self::until(observed.0, nanos, observed)?;
        Ok(Self { timing: Timing::Absent, ..extent })
    }

    fn own(start: EventTime, end: EventTime) -> Self {
        Self { start, end, timing: Timing::Own }
    }

    fn plausible(self, observed: ObservedTime) -> Result<Self, Rejection> {
        if observed.0 == 0 {
            return if self.end.present() { Ok(self) } else { Err(Rejection::NoTime) };
        }
        if self.start.present() && self.end.0 <= observed.after(CLOCK_AHEAD_MAX).0 {
            return Ok(self);
        }
        let timing = if self.start.present() {
            Timing::Ahead(seconds_up(self.end.since(EventTime(observed.0))))
        } else {
            Timing::Absent
        };
        let end = EventTime(observed.0);
        let start = end.before(self.end.since(self.start));
        Ok(Self { start: if start.present() { start } else { end }, end, timing })
    }
}

/// Rounded up, so that what is past the bound by a part of a second is seen to be past it.
fn seconds_up(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u32::MAX)
}

/// One point in time: a metric point's, or the arrival when it is missing or far ahead of our clock.
pub(crate) fn instant(time: u64, observed: ObservedTime) -> Result<EventTime, Rejection> {
    Extent::between(time, time, observed).map(|extent| extent.end)
}

/// Nanoseconds of a duration; a number without a unit is in milliseconds.
pub(crate) fn duration_nanos(value: Decimal<'_>) -> u64 {
    match value {
        Decimal::Whole(millis) => millis.saturating_mul(1_000_000),
        Decimal::Fraction(millis) => whole(millis * 1e6).unwrap_or(0),
        Decimal::Text(text) => {
            let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
            let (number, unit) = text.split_at(unit_at);
            let scale = match unit.trim() {
                "" | "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "us" | "µs" | "μs" => 1_000,
                "ns" => 1,
                _ => return 0,
            };
            match number.parse::<u64>() {
                Ok(number) => number.saturating_mul(scale),
                Err(_) => {
                    number.parse::<f64>().ok().and_then(|number| whole(number * precise(scale))).unwrap_or(0)
                }
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a power of ten up to 10^9")]
fn precise(scale: u64) -> f64 {
    scale as f64
}

/// Nanoseconds since the epoch of `2026-11-24T20:31:16.000Z` (UTC only) or of `1795467355.421859` (seconds).
pub(crate) fn parse_time(text: &str) -> Option<u64> {
    if text.as_bytes().get(4) == Some(&b'-') { parse_rfc3339(text) } else { parse_epoch_seconds(text) }
}

fn parse_epoch_seconds(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: u64 = seconds.parse().ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction_nanos(fraction)?)
}

/// RFC 3339 with a `Z`: years 1970 to 2553, after which nanoseconds no longer fit.
fn parse_rfc3339(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if bytes.len() < 20 || !separators.iter().all(|(at, byte)| bytes[*at] == *byte) {
        return None;
    }
    let fraction = text.get(19..)?.strip_suffix('Z')?;
    let fraction = if fraction.is_empty() { "" } else { fraction.strip_prefix('.')? };
    let number = |at: usize, length: usize| -> Option<u64> {
        let digits = text.get(at..at + length)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    let in_range = (1970..=2553).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !in_range || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = ((days_since_epoch(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction_nanos(fraction)?)
}

/// Days from 1970-01-01 in the Gregorian calendar: years are counted from March, so that the leap day is the last.
fn days_since_epoch(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let leap_days = year / 4 - year / 100 + year / 400;
    // 719468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + leap_days + day_of_year - 719_468
}

fn fraction_nanos(digits: &str) -> Option<u64> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(
        digits
            .bytes()
            .chain(std::iter::repeat(b'0'))
            .take(9)
            .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_467_355_000_000_000;

    #[test]
    fn certificate_dates_are_read_to_the_millisecond() {
        let cases = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-11-24T20:31:16.000Z", Some(1_795_552_276_000_000_000)),
            ("2000-02-29T12:00:00.5Z", Some(951_825_600_500_000_000)),
            ("1795467355.421859", Some(1_795_467_355_421_859_000)),
            ("2026-13-24T20:31:16Z", None),
            ("2026-11-24T20:31:16+01:00", None),
            ("2026-11-24", None),
            ("9999-12-31T23:59:59Z", None),
            ("soon", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_time(text), expected, "{text}");
        }
    }

    #[test]
    fn durations_come_with_and_without_a_unit() {
        assert_eq!(duration_nanos(Decimal::Text("12")), 12_000_000);
        assert_eq!(duration_nanos(Decimal::Text("12ms")), 12_000_000);
        assert_eq!(duration_nanos(Decimal::Text("1.5s")), 1_500_000_000);
        assert_eq!(duration_nanos(Decimal::Text("7us")), 7_000);
        assert_eq!(duration_nanos(Decimal::Fraction(0.5)), 500_000);
        assert_eq!(duration_nanos(Decimal::Text("long")), 0);
    }

    #[test]
    fn microseconds_are_scaled_and_nanoseconds_are_not() {
        assert_eq!(scaled(NOW / 1_000), NOW);
        assert_eq!(scaled(NOW), NOW);
        assert_eq!(scaled(25), 25);
    }

    #[test]
    fn an_end_before_its_start_is_the_start() {
        let extent = Extent::between(NOW, NOW - 5, ObservedTime(NOW));
        assert_eq!(extent, Ok(Extent::own(EventTime(NOW), EventTime(NOW))));
    }

    #[test]
    fn a_clock_far_ahead_or_no_clock_gives_the_time_of_arrival() {
        let ahead = NOW + 3_600_000_000_000;
        let extent = Extent::between(ahead, ahead + 7, ObservedTime(NOW));
        let timing = Timing::Ahead(3_601);
        assert_eq!(extent, Ok(Extent { start: EventTime(NOW - 7), end: EventTime(NOW), timing }));
        let (bound, beyond) = (NOW + 10_000_000_000, NOW + 10_000_000_001);
        let timing = |end| Extent::between(end, end, ObservedTime(NOW)).map(|extent| extent.timing);
        assert_eq!([timing(bound), timing(beyond)], [Ok(Timing::Own), Ok(Timing::Ahead(11))]);
        let timing = Timing::Absent;
        let extent = Extent::between(0, 0, ObservedTime(NOW));
        assert_eq!(extent, Ok(Extent { start: EventTime(NOW), end: EventTime(NOW), timing }));
        let extent = Extent::arrived(7, ObservedTime(NOW));
        assert_eq!(extent, Ok(Extent { start: EventTime(NOW - 7), end: EventTime(NOW), timing }));
        assert_eq!(Extent::between(0, 0, ObservedTime(0)), Err(Rejection::NoTime));
    }
}
