//! The record of what has no classes and no paces: the largest evidence of each series in each hour, pooled.

use super::pool::Pool;
use super::{BLOCKS_MIN, DAYS_MIN};
use serde::{Deserialize, Serialize};

const HOURS: u32 = 24;

/// Hourly maxima of the last four weeks. Days are as many hours as were told of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct HourlyRecord {
    pool: Pool,
    hours: u32,
}

impl HourlyRecord {
    /// An hour ended with these maxima; nothing when none did.
    pub(crate) fn end_hour(&mut self, largest: &[f32]) {
        if largest.is_empty() {
            return;
        }
        largest.iter().for_each(|&score| self.pool.add(score));
        self.hours += 1;
        if self.hours == HOURS {
            self.hours = 0;
            self.pool.close_day();
        }
    }

    /// From which score on no more than `an_hour` blocks an hour are expected; nothing before there is a record.
    pub(crate) fn threshold(&self, an_hour: f64) -> Option<f64> {
        let ready = DAYS_MIN <= self.pool.days() && BLOCKS_MIN <= self.pool.blocks();
        let a_day = an_hour * f64::from(HOURS);
        ready.then(|| f64::from(self.pool.inverse(|score| self.pool.exceedances_a_day(score) <= a_day)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_is_where_the_record_has_as_many_exceedances_as_the_budget() {
        let mut record = HourlyRecord::default();
        assert!(record.threshold(1.0).is_none());
        for hour in 0..24 * 10_u32 {
            // A hundred series; each hour one of them reaches 9, and each tenth hour another one 15.
            let mut largest = vec![1.0_f32; 98];
            largest.push(9.0);
            largest.push(if hour % 10 == 0 { 15.0 } else { 2.0 });
            record.end_hour(&largest);
        }
        let (often, seldom) = (record.threshold(1.0).unwrap(), record.threshold(0.2).unwrap());
        assert!((8.5..10.5).contains(&often), "{often}");
        assert!((9.0..15.5).contains(&seldom) && often < seldom, "{seldom}");
    }
}
