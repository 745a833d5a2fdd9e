//! A closed window of all edges, after an hour that was learned: judged, and learned. The figure is for an edge and window.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use selvedge_microbenches::{Known, World};

/// Windows of ten seconds in an hour.
const LEARNED: usize = 360;

fn window(criterion: &mut Criterion) {
    let (mut world, mut known) = (World::default(), Known::default());
    for _ in 0..LEARNED {
        let happened = world.next_window();
        known.judge(&happened, world.symbols());
        known.learn(&happened, world.symbols());
    }
    let happened = world.next_window();
    let mut group = criterion.benchmark_group("edge and window");
    group.throughput(Throughput::Elements(happened.edges.len() as u64));
    group.bench_function("judge", |bencher| {
        let judge = |known: &mut Known| known.judge(&happened, world.symbols());
        bencher.iter_batched_ref(|| known.clone(), judge, BatchSize::LargeInput);
    });
    known.judge(&happened, world.symbols());
    group.bench_function("learn", |bencher| {
        let learn = |known: &mut Known| known.learn(&happened, world.symbols());
        bencher.iter_batched_ref(|| known.clone(), learn, BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, window);
criterion_main!(benches);
