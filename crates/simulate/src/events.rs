//! Things that come and go: at random, or by the clock as crons do.

use std::time::Duration;

use selvedge_model::EventTime;

use crate::config::{Between, MeshConfig, Occasional, between};
use crate::draw::{Draw, Purpose};
use crate::fault::Effect;
use crate::label::{Cause, Extent, Label, Labels};

const DAY_SECONDS: f64 = 86_400.0;
const HOUR: u64 = 3_600;
/// A cron starts so late at most (config: `cron_strength`).
const CRON_LATE_SECONDS: Between = between(0.0, 20.0);
/// And is so much weaker or stronger.
const CRON_VARIES: Between = between(0.8, 1.2);

/// When something comes again.
#[derive(Clone, Copy, Debug)]
enum Timing {
    Never,
    /// After an exponential gap with this mean, in seconds.
    Random(f64),
    /// At an offset into each period, both in seconds.
    Clock {
        period: u64,
        offset: u64,
    },
}

/// Something that comes and goes. Asked with times that do not go back.
#[derive(Clone, Debug)]
pub(crate) struct Recurring {
    timing: Timing,
    seconds: Between,
    strength: Between,
    either_way: bool,
    draw: Draw,
    start: EventTime,
    end: EventTime,
    value: f64,
    told: bool,
}

impl Recurring {
    /// At random, from a time on.
    pub(crate) fn random(what: Occasional, draw: Draw, from: EventTime) -> Self {
        let timing = if what.a_day > 0.0 { Timing::Random(DAY_SECONDS / what.a_day) } else { Timing::Never };
        Self::new(timing, what.seconds, what.strength, draw, from)
    }

    /// The same, with a strength that may be negative.
    pub(crate) fn random_either_way(what: Occasional, draw: Draw, from: EventTime) -> Self {
        Self { either_way: true, ..Self::random(what, draw, from) }
    }

    fn new(timing: Timing, seconds: Between, strength: Between, draw: Draw, from: EventTime) -> Self {
        let mut new = Self {
            timing,
            seconds,
            strength,
            either_way: false,
            draw,
            start: from,
            end: from,
            value: 1.0,
            told: false,
        };
        new.plan(from);
        new
    }

    /// Its strength if it happens now, and its label if it was not told yet.
    pub(crate) fn now(&mut self, now: EventTime) -> Option<(f64, Option<(EventTime, EventTime)>)> {
        while self.end <= now {
            self.plan(self.end);
        }
        if now < self.start {
            return None;
        }
        let first = !std::mem::replace(&mut self.told, true);
        Some((self.value, first.then_some((self.start, self.end))))
    }

    /// Nothing happens before this time.
    fn calm_until(&self) -> EventTime {
        self.start
    }

    fn plan(&mut self, after: EventTime) {
        self.told = false;
        self.start = match self.timing {
            Timing::Never => EventTime(u64::MAX),
            Timing::Random(mean) => after.after(seconds(self.draw.exponential(mean))),
            Timing::Clock { period, offset } => {
                let next =
                    (after.0 / 1_000_000_000).saturating_sub(offset).div_ceil(period) * period + offset;
                EventTime(next * 1_000_000_000).after(seconds(self.draw.within(CRON_LATE_SECONDS)))
            }
        };
        // A length of nothing would be planned again for ever.
        let length = seconds(self.draw.log_within(self.seconds)).max(Duration::from_secs(1));
        self.end = self.start.after(length);
        self.value = self.draw.within(self.strength);
        if self.either_way && self.draw.chance(0.5) {
            self.value = -self.value;
        }
    }
}

/// What comes and goes on one edge.
#[derive(Clone, Debug)]
pub(crate) struct EdgeEvents {
    /// Bursts, slow minutes, failing minutes, uploads, cron.
    recurring: [Recurring; 5],
    calm_until: EventTime,
}

impl EdgeEvents {
    pub(crate) fn new(config: &MeshConfig, index: u64, from: EventTime) -> Self {
        let draw = |what: u64| Draw::new(config.seed, Purpose::Event, index * 8 + what);
        let events = &config.events;
        let recurring = [
            Recurring::random(events.volume, draw(0), from),
            Recurring::random(events.latency, draw(1), from),
            Recurring::random(events.errors, draw(2), from),
            Recurring::random(events.bytes, draw(3), from),
            cron(config, draw(4), from),
        ];
        Self { recurring, calm_until: from }
    }

    /// What they change now. Most windows are calm and cost one comparison.
    pub(crate) fn effect(&mut self, now: EventTime, edge: usize, labels: &mut Labels) -> Effect {
        let mut effect = Effect::NONE;
        if now < self.calm_until {
            return effect;
        }
        for (which, recurring) in self.recurring.iter_mut().enumerate() {
            let Some((value, told)) = recurring.now(now) else { continue };
            let cause = match which {
                0 => Cause::Burst(value),
                1 => Cause::Slow(value),
                2 => Cause::Failing(value),
                3 => Cause::Upload(value),
                _ => Cause::Cron(value),
            };
            match cause {
                Cause::Slow(share) => effect.slow_min = share,
                Cause::Failing(times) => effect.failing *= times,
                Cause::Upload(times) => effect.size *= times,
                _ => effect.rate *= value,
            }
            if let Some((start, end)) = told {
                labels.add(Label { cause, extent: Extent::Edge(edge), start, end });
            }
        }
        self.calm_until = self.recurring.iter().map(Recurring::calm_until).min().unwrap_or(now);
        effect
    }
}

/// Some edges have one, half of them by the hour and half by the day. The minute is a round one mostly for people, so
/// every tenth is at a full hour.
fn cron(config: &MeshConfig, mut draw: Draw, from: EventTime) -> Recurring {
    let volume = &config.volume;
    let exists = draw.chance(volume.crons);
    let period = if draw.chance(0.5) { HOUR } else { 24 * HOUR };
    let round = draw.chance(0.1);
    let minute = draw.below(usize::try_from(period / 60).unwrap_or(60)) as u64;
    let offset = if round { minute / 60 * HOUR } else { minute * 60 };
    let timing = if exists { Timing::Clock { period, offset } } else { Timing::Never };
    let usual = draw.within(volume.cron_strength);
    let strength = between(CRON_VARIES.low * usual, CRON_VARIES.high * usual);
    let usual = draw.log_within(volume.cron_seconds);
    let lasts = between(CRON_VARIES.low * usual, CRON_VARIES.high * usual);
    Recurring::new(timing, lasts, strength, draw, from)
}

/// Seconds as a duration; nothing when negative, a century at most.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.0, 3.2e9))
}
