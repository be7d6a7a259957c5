//! `cargo bench -p tus-core`: what the protocol costs, without I/O, and beside it what the same body costs to copy.
#![allow(missing_docs)]

mod exchanges;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tus_core::Config;

fn machine(criterion: &mut Criterion) {
    // What it costs requests of tus that the IETF's draft is spoken, too.
    for (dialects, config) in [("both dialects", Config::default()), ("tus alone", Config::default().without_draft())] {
        for exchange in exchanges::all(config) {
            let name = format!("{} ({dialects})", exchange.name);
            criterion.bench_function(&name, |bencher| bencher.iter(|| exchange.run()));
        }
    }
    let body = vec![0x5a_u8; exchanges::BODY];
    criterion.bench_function("copying 1 KiB", |bencher| bencher.iter(|| black_box(&body).clone()));
}

criterion_group!(benches, machine);
criterion_main!(benches);
