//! From options to a mesh, and to what is done to it.

use std::time::Duration;

use selvedge_model::time::nanos;
use selvedge_model::{EventTime, Window};
use selvedge_simulate::{
    Attack, Cover, Fault, Ground, Mesh, MeshConfig, Rates, SignalConfig, Signals, between,
};

use crate::cli::{AttackName, FaultName, SimulateArgs, SimulationSpeed, name_of};
use crate::clock::SystemClock;
use crate::exit::Failure;

/// Spread of the usual rates of edges, as standard deviation of the logarithm. Less than in the mesh of weeks that
/// detection is measured on: there most edges would not be called once in a stretch of minutes.
const RATE_SIGMA: f64 = 1.0;
/// No edge is rarer or busier than the median by more.
const RATE_FACTOR_MAX: f64 = 20.0;
/// The victims are edges behind the busiest tenth: there is something to see, and not everybody sees it.
const SPARED: usize = 10;
const HOPS: usize = 3;
const BEACON_PERIOD: Duration = Duration::from_secs(20);
const BEACON_JITTER: f64 = 0.05;
const SUPPRESSED: f64 = 0.9;
const WINDOW: Duration = Duration::from_secs(10);

/// What is to be simulated.
pub(super) struct Plan {
    pub(super) config: MeshConfig,
    pub(super) calm: bool,
    /// When the mesh's time begins.
    pub(super) begin: EventTime,
    /// The stretch that is told.
    pub(super) from: EventTime,
    pub(super) until: EventTime,
    /// When attacks and faults begin.
    pub(super) harm_at: EventTime,
    pub(super) attacks: Vec<AttackName>,
    pub(super) faults: Vec<FaultName>,
    pub(super) speed: SimulationSpeed,
}

/// The mesh, with what is done to it.
pub(super) struct World {
    pub(super) mesh: Mesh,
    pub(super) signals: Signals,
    /// By scenario of `signals`.
    pub(super) attacks: Vec<AttackName>,
    pub(super) faults: Vec<(FaultName, Fault)>,
}

impl Plan {
    pub(super) fn of(args: &SimulateArgs) -> Result<Self, Failure> {
        let harmed = !args.attack.is_empty() || !args.fault.is_empty();
        if args.length < WINDOW {
            return Err(Failure::usage(anyhow::anyhow!("--for must be at least 10s")));
        }
        let attack_at = args.attack_at.unwrap_or(args.length / 2);
        if attack_at >= args.length {
            let told = humantime::format_duration(args.length);
            return Err(Failure::usage(anyhow::anyhow!(
                "--attack-at must be less than --for, which is {told}"
            )));
        }
        if args.attack_at.is_some() && !harmed {
            return Err(Failure::usage(anyhow::anyhow!("--attack-at needs an --attack or a --fault")));
        }
        let speed = args.speed.unwrap_or(match args.out {
            Some(_) => SimulationSpeed::Max,
            None => SimulationSpeed::Times(1.0),
        });
        let skip = args.skip.unwrap_or(if harmed { args.length } else { Duration::ZERO });
        let edges = args.edges as usize;
        let usual = if args.calm { MeshConfig::quiet } else { MeshConfig::noisy };
        let usual = usual(args.seed, edges);
        let start = match (args.start, &args.out) {
            (Some(start), _) => start,
            (None, Some(_)) => usual.start,
            (None, None) => now_at_the_end(args.length, skip, speed),
        };
        let median = f64::from(args.rate) / f64::from(args.edges) / (0.5 * RATE_SIGMA * RATE_SIGMA).exp();
        let bounds = between(median / RATE_FACTOR_MAX, median * RATE_FACTOR_MAX);
        let config = MeshConfig { start, rates: Rates { median, sigma: RATE_SIGMA, bounds }, ..usual };
        let begin = Window::holding(start, config.window).start;
        let from = begin.after(skip);
        Ok(Self {
            config,
            calm: args.calm,
            begin,
            from,
            until: from.after(args.length),
            harm_at: from.after(attack_at),
            attacks: args.attack.clone(),
            faults: args.fault.clone(),
            speed,
        })
    }

    /// The mesh before its first window.
    pub(super) fn world(&self) -> anyhow::Result<World> {
        let mut mesh = Mesh::new(self.config);
        let usual = SignalConfig::default();
        let none =
            SignalConfig { dormant: 0.0, unexplained_a_week: 0.0, new_edge: 0.0, new_route: 0.0, ..usual };
        let mut signals = Signals::new(&mesh, if self.calm { none } else { usual });
        let mut victims = victims(&mesh).into_iter().cycle();
        let mut faults = Vec::new();
        let length = self.until.since(self.harm_at);
        for name in &self.attacks {
            let Some(edge) = victims.next() else { anyhow::bail!("the mesh has no edges") };
            let attack = attack(*name, edge, mesh.edges()[edge].caller);
            let planned = signals.attack(&mut mesh, attack, self.harm_at, length);
            anyhow::ensure!(
                planned.is_some(),
                "this mesh has no room for {}; give more --edges, or another --seed",
                name_of(name)
            );
        }
        for name in &self.faults {
            let Some(edge) = victims.next() else { anyhow::bail!("the mesh has no edges") };
            let fault = Fault { kind: name.kind(), edge, start: self.harm_at, end: self.until };
            mesh.inject(fault);
            faults.push((*name, fault));
        }
        Ok(World { mesh, signals, attacks: self.attacks.clone(), faults })
    }
}

/// Telemetry must not be of the future: what is sent faster than real time begins in the past, and ends now.
fn now_at_the_end(length: Duration, skip: Duration, speed: SimulationSpeed) -> EventTime {
    let takes = match speed {
        SimulationSpeed::Max => Duration::ZERO,
        SimulationSpeed::Times(times) => {
            Duration::try_from_secs_f64(length.as_secs_f64() / times).unwrap_or(length)
        }
    };
    let now = EventTime(SystemClock::read().0);
    EventTime(now.0.saturating_sub(nanos(length.saturating_sub(takes) + skip)))
}

/// Edges, in the order in which they are harmed.
fn victims(mesh: &Mesh) -> Vec<usize> {
    let mut edges: Vec<usize> = (0..mesh.edges().len()).collect();
    edges.sort_by(|&a, &b| mesh.edges()[b].usual_rate.total_cmp(&mesh.edges()[a].usual_rate));
    let spared = edges.len() / SPARED;
    edges.rotate_left(spared);
    edges
}

fn attack(name: AttackName, edge: usize, service: usize) -> Attack {
    match name {
        AttackName::LateralMovement => {
            Attack::LateralMovement { hops: HOPS, over: Ground::NewEdges, cover: Cover::None }
        }
        AttackName::KnownEdges => {
            Attack::LateralMovement { hops: HOPS, over: Ground::KnownEdges, cover: Cover::None }
        }
        AttackName::ForgedIdentity => Attack::ForgedIdentity { edge },
        AttackName::Downgrade => Attack::Downgrade { edge },
        AttackName::BypassedSidecar => Attack::BypassedSidecar { edge },
        AttackName::Beaconing => Attack::Beaconing { service, period: BEACON_PERIOD, jitter: BEACON_JITTER },
        AttackName::SuppressedTelemetry => Attack::SuppressedTelemetry { edge, share: SUPPRESSED },
    }
}
