//! Deterministic simulation: the engine's real stages under a seeded scheduler with virtual time, on a journal, checkpoints
//! and a sink that fail.
//!
//! A seed draws a small mesh with faults and attacks, the order in which its batches arrive, and what goes wrong: the process
//! is killed (a batch in hand may be stored and not acknowledged, so that it comes twice), a checkpoint is damaged or gone,
//! the sink is down, the next process has another number of shards. Whatever happens, what is known in the end must be, byte
//! for byte, what a process knows that took the same journal and never died. `SELVEDGE_SEEDS=FROM..TO` asks for other seeds.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

#[path = "../common/mod.rs"]
mod common;
mod mesh;
mod world;

use std::ops::Range;

use selvedge_model::SignalKind;
use world::{Told, World, fresh, take};

/// Seeds of the ordinary run.
const SEEDS: Range<u64> = 0..40;

#[expect(clippy::disallowed_methods, reason = "a test is told by its caller how long to go on")]
fn seeds() -> Range<u64> {
    let Ok(asked) = std::env::var("SELVEDGE_SEEDS") else { return SEEDS };
    let (from, to) = asked.split_once("..").expect("SELVEDGE_SEEDS=FROM..TO");
    from.parse().unwrap()..to.parse().unwrap()
}

/// Guarantees: for every seed, after whatever went wrong: all that is known equals that of an undisturbed process; every
/// record that was acknowledged has one fate; every alert that had to be sent was delivered; none was delivered again that the
/// mark covers.
#[test]
fn whatever_goes_wrong_what_is_known_and_told_is_what_it_would_have_been() {
    let mut sums = world::Sums::default();
    for seed in seeds() {
        let run = std::panic::catch_unwind(|| simulate(seed));
        match run {
            Ok(of_seed) => sums.add(&of_seed),
            Err(panic) => {
                eprintln!("seed {seed} fails: SELVEDGE_SEEDS={seed}..{} repeats it", seed + 1);
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{} seeds, 0 violations: {sums}", seeds().count());
    assert!(sums.kills > 0 && sums.resumed > 0 && sums.delivered > 0, "nothing went wrong: {sums}");
}

fn simulate(seed: u64) -> world::Sums {
    let mut world = World::new(seed);
    let mut frames = mesh::frames(seed);
    let last = frames.pop().expect("a mesh says something");
    frames.into_iter().for_each(|frame| world.arrive(frame));
    world.end(last);

    let mut reference = fresh(1);
    let mut effects = Vec::new();
    let mut must_tell: Vec<Told> = Vec::new();
    for stored in world.journal() {
        take(&mut reference, stored, &mut effects);
        must_tell.extend(effects.drain(..).filter_map(|effect| Told::of(&effect)));
    }
    common::assert_same_knowledge(world.pipeline(), &mut reference, "what is known");
    let stats = reference.stats();
    let records: u64 = world.journal().iter().map(|stored| stored.records).sum();
    let taught: u64 = SignalKind::ALL.iter().map(|kind| fresh(1).stats().ledger.received(*kind)).sum();
    let received: u64 = SignalKind::ALL.iter().map(|kind| stats.ledger.received(*kind)).sum();
    assert!(stats.ledger.balanced(), "every record has one fate");
    assert_eq!(received - taught, records, "every record that was stored is counted once");
    for told in must_tell {
        assert!(world.delivered().contains(&told), "never told: {told:?}");
    }
    world.sums()
}
