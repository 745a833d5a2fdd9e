//! OTLP bytes to observations: spans and access-log records, as the simulated sidecars write them.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use selvedge_microbenches::{Reader, World, of_signal};
use selvedge_model::SignalKind;

fn decode(criterion: &mut Criterion) {
    let mut world = World::default();
    // The first window has every name for the first time.
    world.next_window();
    let happened = world.next_window();
    let mut group = criterion.benchmark_group("decode");
    for (signal, name) in [(SignalKind::Traces, "spans"), (SignalKind::Logs, "log records")] {
        let frames = of_signal(&happened.frames, signal);
        let records: usize = frames.iter().map(|frame| frame.records).sum();
        group.throughput(Throughput::Elements(records as u64));
        let mut reader = Reader::default();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for frame in &frames {
                    black_box(reader.read(frame));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
