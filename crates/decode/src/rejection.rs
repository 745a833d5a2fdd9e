//! Why a single record was refused, and how often each reason occurred. A refused record never costs its batch.

/// Why one record (span, log record, metric point) became nothing. Closed list; each reason is a label of the
/// counters and part of the partial-success answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Rejection {
    /// Its bytes are not a message, or a field has a type that it cannot have.
    Malformed,
    /// It does not say when, and we do not know when it came either.
    NoTime,
    /// A metric point without a metric name.
    NoName,
    /// A histogram whose bounds are not ascending numbers or do not fit its counts.
    BadHistogram,
    /// More signals in one request than [`crate::DecodeConfig::signals_max`], or than its bytes can hold.
    OverLimit,
}

impl Rejection {
    /// All reasons, in the order of [`RejectionCounts`].
    pub const ALL: [Self; 5] =
        [Self::Malformed, Self::NoTime, Self::NoName, Self::BadHistogram, Self::OverLimit];

    /// Snake-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NoTime => "no_time",
            Self::NoName => "no_name",
            Self::BadHistogram => "bad_histogram",
            Self::OverLimit => "over_limit",
        }
    }
}

/// How many records were refused for each reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RejectionCounts([u64; Rejection::ALL.len()]);

impl RejectionCounts {
    /// Counts one record.
    pub fn add(&mut self, reason: Rejection) {
        self.0[reason as usize] += 1;
    }

    /// Adds the counts of another batch.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }

    /// How many were refused for `reason`.
    #[must_use]
    pub fn get(&self, reason: Rejection) -> u64 {
        self.0[reason as usize]
    }

    /// How many were refused at all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The reasons that occurred, in the order of [`Rejection::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Rejection, u64)> + '_ {
        Rejection::ALL.into_iter().map(|reason| (reason, self.get(reason))).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_counted_under_its_own_name() {
        let mut counts = RejectionCounts::default();
        for reason in Rejection::ALL {
            counts.add(reason);
            assert_eq!(counts.get(reason), 1);
        }
        counts.add(Rejection::NoTime);
        let mut twice = counts;
        twice.merge(&counts);
        assert_eq!(counts.total(), 6);
        assert_eq!(twice.get(Rejection::NoTime), 4);
        let names: Vec<_> = counts.iter().map(|(reason, _)| reason.name()).collect();
        assert_eq!(names, ["malformed", "no_time", "no_name", "bad_histogram", "over_limit"]);
    }
}
