//! What was asked for.

use anyhow::{Context as _, Result, bail, ensure};

/// The profile of a server that nobody tuned: optimised, crate by crate. What the yardstick is defined by.
pub(super) const RELEASE: &str = "release";
/// What a round sends, unless it is said in requests.
const RECORDS_A_ROUND: u64 = 1_000_000;
/// The largest request, of the largest records, stays below the 20 MiB that servers take; the generator holds 64 of them.
const RECORDS_A_REQUEST_MAX: u64 = 8_000;
/// Before the first round: connections and tables reach their usual size, and so does what is kept of calls within the
/// allowed lateness, which is first touched here and used again afterwards. Three million spans.
const WARM_UP_MEGABYTES: u64 = 2_500;

/// What requests carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Logs,
    Metrics,
}

impl Signal {
    /// As the generator and the record call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
        }
    }

    /// What one record of it is called.
    pub(super) fn record(self) -> &'static str {
        match self {
            Self::Traces => "span",
            Self::Logs => "log record",
            Self::Metrics => "point",
        }
    }
}

/// What all forms of the benchmark have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Common {
    /// What everything is built with: `release`, or as it is packaged, `dist`.
    pub(super) profile: String,
    pub(super) rounds: usize,
    /// Server and generator on a core each, where there are two.
    pub(super) pin: bool,
    /// Makes this run the recorded one.
    pub(super) record: bool,
    /// Sent to each server before the first round.
    pub(super) warm_up_megabytes: u64,
}

impl Common {
    fn new() -> Self {
        Self {
            profile: RELEASE.to_owned(),
            rounds: 5,
            pin: true,
            record: false,
            warm_up_megabytes: WARM_UP_MEGABYTES,
        }
    }

    /// Takes one flag, with its value; false when it is none of ours.
    fn take<'a>(&mut self, flag: &str, flags: &mut impl Iterator<Item = &'a str>) -> Result<bool> {
        match flag {
            "--profile" => value(flag, flags)?.clone_into(&mut self.profile),
            "--rounds" => self.rounds = number(flag, flags)?,
            "--no-pin" => self.pin = false,
            "--record" => self.record = true,
            "--warm-up" => self.warm_up_megabytes = number(flag, flags)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn check(&self) -> Result<()> {
        ensure!(self.rounds > 0 && self.warm_up_megabytes > 0, "--rounds and --warm-up must be above zero");
        Ok(())
    }
}

/// What a record costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Throughput {
    pub(super) common: Common,
    pub(super) signal: Signal,
    pub(super) http: bool,
    /// Records in a request.
    pub(super) records: u64,
    /// Requests in a round.
    pub(super) requests: u64,
    pub(super) with_glibc: bool,
    pub(super) with_rotel: bool,
    pub(super) yardstick_only: bool,
}

impl Throughput {
    pub(super) fn parse(flags: &[&str]) -> Result<Self> {
        let mut options = Self {
            common: Common::new(),
            signal: Signal::Traces,
            http: false,
            records: 100,
            requests: 0,
            with_glibc: false,
            with_rotel: false,
            yardstick_only: false,
        };
        let mut requests = None;
        let mut flags = flags.iter().copied();
        while let Some(flag) = flags.next() {
            match flag {
                "--signal" => {
                    options.signal = match value(flag, &mut flags)? {
                        "traces" => Signal::Traces,
                        "logs" => Signal::Logs,
                        "metrics" => Signal::Metrics,
                        other => bail!("--signal takes traces, logs or metrics, not {other}"),
                    }
                }
                "--http" => options.http = true,
                "--spans" | "--records" => options.records = number(flag, &mut flags)?,
                "--requests" => requests = Some(number(flag, &mut flags)?),
                "--glibc" => options.with_glibc = true,
                "--rotel" => options.with_rotel = true,
                "--yardstick-only" => options.yardstick_only = true,
                _ if options.common.take(flag, &mut flags)? => {}
                _ => bail!("unknown flag {flag}; see `cargo xtask`"),
            }
        }
        options.common.check()?;
        let size = 1..=RECORDS_A_REQUEST_MAX;
        ensure!(size.contains(&options.records), "--spans takes 1 to {RECORDS_A_REQUEST_MAX} a request");
        options.requests = requests.unwrap_or_else(|| RECORDS_A_ROUND.div_ceil(options.records));
        ensure!(options.requests > 0, "--requests must be above zero");
        Ok(options)
    }

    /// What a run is recorded as: its figures are comparable with those of the same form only.
    pub(super) fn form(&self) -> String {
        let transport = if self.http { "http" } else { "grpc" };
        let profile = if self.common.profile == RELEASE { "" } else { &format!(" {}", self.common.profile) };
        format!("{} {transport} {}{profile}", self.signal.name(), self.records)
    }
}

/// What else a program can measure of the running product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct System {
    pub(super) common: Common,
    /// Names of the measures that are wanted; all without.
    pub(super) only: Vec<String>,
    /// For how long memory and cost are watched.
    pub(super) minutes: usize,
    /// Seconds of each run with open loop, and of doing nothing.
    pub(super) seconds: u64,
    /// Calls that nobody may make, to measure how soon one is told of.
    pub(super) alerts: u64,
}

impl System {
    pub(super) fn parse(flags: &[&str]) -> Result<Self> {
        let mut options =
            Self { common: Common::new(), only: Vec::new(), minutes: 10, seconds: 20, alerts: 200 };
        let mut flags = flags.iter().copied();
        while let Some(flag) = flags.next() {
            match flag {
                "--only" => options.only = value(flag, &mut flags)?.split(',').map(str::to_owned).collect(),
                "--minutes" => options.minutes = number(flag, &mut flags)?,
                "--seconds" => options.seconds = number(flag, &mut flags)?,
                "--alerts" => options.alerts = number(flag, &mut flags)?,
                _ if options.common.take(flag, &mut flags)? => {}
                _ => bail!("unknown flag {flag}; see `cargo xtask`"),
            }
        }
        options.common.check()?;
        ensure!(
            options.minutes >= 3,
            "--minutes must be at least 3: memory is compared with that of the second"
        );
        ensure!(options.seconds > 0 && options.alerts > 0, "--seconds and --alerts must be above zero");
        Ok(options)
    }
}

fn value<'a>(flag: &str, flags: &mut impl Iterator<Item = &'a str>) -> Result<&'a str> {
    flags.next().with_context(|| format!("{flag} needs a value"))
}

fn number<'a, N>(flag: &str, flags: &mut impl Iterator<Item = &'a str>) -> Result<N>
where
    N: std::str::FromStr<Err = std::num::ParseIntError>,
{
    value(flag, flags)?.parse().with_context(|| format!("{flag} takes a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_flags_and_missing_values_are_refused() {
        assert!(Throughput::parse(&["--fast"]).is_err());
        assert!(Throughput::parse(&["--rounds"]).is_err());
        assert!(Throughput::parse(&["--rounds", "0"]).is_err());
        assert!(Throughput::parse(&["--signal", "profiles"]).is_err());
        assert!(Throughput::parse(&["--spans", "2000000"]).is_err());
        assert!(Throughput::parse(&["--warm-up", "0"]).is_err());
        assert!(System::parse(&["--minutes", "2"]).is_err());
        assert!(System::parse(&["--http"]).is_err());
        assert_eq!(Throughput::parse(&["--profile", "dist"]).unwrap().common.profile, "dist");
        assert_eq!(Throughput::parse(&["--rounds", "7"]).unwrap().common.rounds, 7);
        assert_eq!(System::parse(&["--only", "start,idle"]).unwrap().only, ["start", "idle"]);
    }

    #[test]
    fn a_round_has_a_million_records_unless_requests_are_counted() {
        let requests = |flags: &[&str]| Throughput::parse(flags).unwrap().requests;
        assert_eq!(requests(&[]), 10_000);
        assert_eq!(requests(&["--spans", "5"]), 200_000);
        assert_eq!(requests(&["--spans", "512"]), 1_954);
        assert_eq!(requests(&["--spans", "5", "--requests", "9"]), 9);
    }

    #[test]
    fn a_form_says_all_that_figures_depend_on() {
        let form = |flags: &[&str]| Throughput::parse(flags).unwrap().form();
        assert_eq!(form(&[]), "traces grpc 100");
        assert_eq!(form(&["--signal", "logs", "--http", "--records", "7"]), "logs http 7");
        assert_eq!(form(&["--profile", "dist"]), "traces grpc 100 dist");
    }
}
