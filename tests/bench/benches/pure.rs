//! The time of the pure paths.

use std::time::Instant;

use bench::operations::{Operation, Subjects};
use criterion::{Criterion, criterion_group, criterion_main};

fn pure(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let subjects = runtime.block_on(Subjects::prepare());
    for operation in Operation::all() {
        criterion.bench_function(&operation.name(), |bencher| {
            // One `block_on` around all of them: what the runtime costs is not theirs.
            bencher.iter_custom(|times| {
                runtime.block_on(async {
                    let started = Instant::now();
                    for _ in 0..times {
                        subjects.run(operation).await;
                    }
                    started.elapsed()
                })
            });
        });
    }
}

criterion_group! {
    name = benches;
    // Fifteen paths at two seconds each leave the fifteen minutes to the processes.
    config = Criterion::default().warm_up_time(std::time::Duration::from_millis(500)).measurement_time(std::time::Duration::from_secs(2)).sample_size(50);
    targets = pure
}
criterion_main!(benches);
