//! Event time as text for people and for wires: RFC 3339 in UTC, and short durations.

use std::fmt;
use std::time::Duration;

use selvedge_model::EventTime;

const NANOS_PER_MILLI: u64 = 1_000_000;
const MILLIS_PER_DAY: u64 = 86_400_000;

/// A point in time as RFC 3339 in UTC, with milliseconds: `2026-11-23T20:00:00.000Z`. Always the same width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utc {
    year: u64,
    month: u64,
    day: u64,
    millis_of_day: u64,
}

/// The time in UTC; what is finer than a millisecond is cut off.
#[must_use]
pub fn format_utc(at: EventTime) -> Utc {
    let millis = at.0 / NANOS_PER_MILLI;
    let (year, month, day) = civil_from_days(millis / MILLIS_PER_DAY);
    Utc { year, month, day, millis_of_day: millis % MILLIS_PER_DAY }
}

impl Utc {
    /// Hours, minutes, seconds, milliseconds.
    fn clock(self) -> (u64, u64, u64, u64) {
        let seconds = self.millis_of_day / 1_000;
        (seconds / 3_600, seconds / 60 % 60, seconds % 60, self.millis_of_day % 1_000)
    }

    /// Without the milliseconds, and with a blank for the `T`: for reading, not for parsing.
    #[must_use]
    pub fn for_people(self) -> String {
        let (hours, minutes, seconds, _) = self.clock();
        format!("{:04}-{:02}-{:02} {hours:02}:{minutes:02}:{seconds:02} UTC", self.year, self.month, self.day)
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hours, minutes, seconds, millis) = self.clock();
        let Self { year, month, day, .. } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
    }
}

/// Year, month and day of the proleptic Gregorian calendar, for days since 1970-01-01.
///
/// Howard Hinnant's `civil_from_days` ("chrono-compatible low-level date algorithms"), for days that are not
/// negative: years are counted from March, so that the leap day is the last of its year.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar; `None` before it, and for no date.
///
/// Howard Hinnant's `days_from_civil`.
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year > 9_999 {
        return None;
    }
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let year_of_era = year % 400;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (year / 400 * 146_097 + day_of_era).checked_sub(719_468)
}

/// Seconds since the Unix epoch of a date as HTTP writes it (RFC 9110, 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`. Its
/// two obsolete forms are not read.
pub(crate) fn parse_http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, date) = text.split_once(", ")?;
    let words: Vec<&str> = date.split(' ').collect();
    let [day, month, year, clock, "GMT"] = words[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let days = days_from_civil(year.parse().ok()?, month, day.parse().ok()?)?;
    let clock: Vec<u64> = clock.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hours @ 0..=23, minutes @ 0..=59, seconds @ 0..=60] = clock[..] else { return None };
    Some(days * 86_400 + hours * 3_600 + minutes * 60 + seconds)
}

/// A duration in its two largest units, cut off: `0 s`, `42 s`, `2 min 10 s`, `3 h 4 min`, `5 d 2 h`.
pub(crate) fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let largest = units.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let mut words = Vec::new();
    for (unit, name) in units.iter().skip(largest).take(2) {
        if rest >= *unit || words.is_empty() {
            words.push(format!("{} {name}", rest / unit));
        }
        rest %= unit;
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(seconds: u64) -> String {
        format_utc(EventTime(seconds * 1_000_000_000)).to_string()
    }

    #[test]
    fn times_read_as_the_calendar_has_them() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59.000Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(utc(1_764_000_000), "2025-11-24T16:00:00.000Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00.000Z");
        assert_eq!(format_utc(EventTime(u64::MAX)).to_string(), "2554-07-21T23:34:33.709Z");
    }

    #[test]
    fn a_time_agrees_with_another_formatter() {
        for day in 0..150_000_u64 {
            let seconds = day * 86_400 + day % 86_400;
            let other = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(utc(seconds), humantime::format_rfc3339_millis(other).to_string());
        }
    }

    #[test]
    fn a_date_as_http_writes_it_is_read_back() {
        assert_eq!(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        for text in [
            "",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
        ] {
            assert_eq!(parse_http_date(text), None, "{text}");
        }
        for days in 0..150_000 {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), Some(days));
        }
    }

    #[test]
    fn durations_read_in_their_two_largest_units() {
        let text = |seconds| format_duration(Duration::from_secs(seconds));
        assert_eq!(text(0), "0 s");
        assert_eq!(text(42), "42 s");
        assert_eq!(text(60), "1 min");
        assert_eq!(text(130), "2 min 10 s");
        assert_eq!(text(3_600 + 59), "1 h");
        assert_eq!(text(442_800), "5 d 3 h");
    }
}
