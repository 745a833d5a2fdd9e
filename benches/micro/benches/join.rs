//! Observations to counted calls: spans and access logs of both sides of every call of a window.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use selvedge_join::{CallStore, JoinConfig};
use selvedge_microbenches::{World, observations};
use selvedge_model::EventTime;

/// As the engine does.
const SETTLED_EVERY: usize = 200;

fn join(criterion: &mut Criterion) {
    let mut world = World::default();
    world.next_window();
    let happened = world.next_window();
    let config = JoinConfig::default();
    let records = observations(&happened.frames, &config);
    let mut group = criterion.benchmark_group("join");
    group.throughput(Throughput::Elements(records.len() as u64));
    group.bench_function("records of a window", |bencher| {
        bencher.iter_batched_ref(
            || CallStore::new(&config),
            |store| {
                for records in records.chunks(SETTLED_EVERY) {
                    for (key, observation) in records {
                        store.admit(*key, observation, EventTime::ABSENT);
                    }
                    store.settle_touched();
                }
                store.flush()
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, join);
criterion_main!(benches);
