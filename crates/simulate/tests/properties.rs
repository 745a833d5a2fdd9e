//! Whatever the seed, the noise and the fault: counts of a window are possible ones.

mod common;

use common::{after, run};
use proptest::prelude::*;
use selvedge_model::{EdgeCounts, Measure};
use selvedge_simulate::{Fault, FaultKind, Mesh, MeshConfig, SignalConfig, Signals};

fn faults() -> impl Strategy<Value = FaultKind> {
    prop_oneof![
        (0.0..1_000.0).prop_map(|times| FaultKind::Volume { times }),
        Just(FaultKind::Vanished),
        (0.01..1_000.0).prop_map(|times| FaultKind::Latency { times }),
        (0.01..1_000.0).prop_map(|times| FaultKind::SlowerTail { times }),
        (0.0..1_000.0).prop_map(|times| FaultKind::LongerTail { times }),
        (0.0..200.0).prop_map(|points| FaultKind::Errors { points }),
        (0.0..1e6).prop_map(|kib_a_minute| FaultKind::Exfiltration { kib_a_minute }),
        (-99.0..1e6).prop_map(|percent_a_day| FaultKind::Ramp { percent_a_day, times_max: 20.0 }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn counts_are_nested_and_none_exceeds_its_requests(seed: u64, edges in 1..30_usize, kind in faults()) {
        let mut mesh = Mesh::new(MeshConfig::noisy(seed, edges));
        for edge in 0..edges {
            mesh.inject(Fault { kind, edge, start: after(100), end: after(900) });
        }
        for of in run(&mut mesh, 120).into_iter().flat_map(|(_, of)| of) {
            let counts = of.counts;
            let cells = [Measure::OverMedian, Measure::OverQ90, Measure::OverQ99, Measure::OverTwiceQ99];
            let mut above = counts.requests;
            for measure in cells {
                prop_assert!(counts.count(measure) <= above, "{counts:?}");
                above = counts.count(measure);
            }
            let errors = [Measure::ClientErrors, Measure::ServerErrors, Measure::GrpcErrors];
            let failed: u64 = errors.into_iter().map(|measure| counts.count(measure)).sum();
            prop_assert!(failed <= counts.requests, "{counts:?}");
            prop_assert_eq!(counts.requests, counts.count(Measure::Requests));
            prop_assert_eq!(counts.requests == 0, counts == EdgeCounts::default());
            prop_assert!(counts.requests == 0 || counts.count(Measure::SentKib) > 0);
            prop_assert!(of.heartbeat || counts.requests == 0);
            prop_assert!(0.0 < of.kept && of.kept <= 1.0);
        }
    }

    #[test]
    fn calls_of_any_mesh_are_as_many_as_were_counted(seed: u64, edges in 0..20_usize) {
        let mut mesh = Mesh::new(MeshConfig::noisy(seed, edges));
        let mut signals = Signals::new(&mesh, SignalConfig { dormant: 0.0, ..SignalConfig::default() });
        let (mut of, mut calls) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let window = mesh.next_window(&mut of);
            signals.calls(&mesh, window, &of, &mut calls);
            let counted: u64 = of.iter().map(|of| of.counts.requests).sum();
            let of_edges = calls.iter().filter(|simulated| simulated.edge.is_some()).count();
            prop_assert_eq!(of_edges as u64, counted);
            prop_assert!(calls.iter().all(|of| window.start <= of.call.end && of.call.end < window.end));
        }
    }
}
