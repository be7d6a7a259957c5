//! `cargo bench -p tus-core`: what the protocol costs, without I/O, and beside it what the same body costs to copy.
#![allow(missing_docs)]

mod exchanges;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};

fn machine(criterion: &mut Criterion) {
    for exchange in exchanges::all() {
        criterion.bench_function(exchange.name, |bencher| bencher.iter(|| exchange.run()));
    }
    let body = vec![0x5a_u8; exchanges::BODY];
    criterion.bench_function("copying 1 KiB", |bencher| bencher.iter(|| black_box(&body).clone()));
}

criterion_group!(benches, machine);
criterion_main!(benches);
