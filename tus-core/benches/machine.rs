//! `cargo bench -p tus-core`: the cost of the protocol without I/O, compared with copying the same body.
#![allow(missing_docs)]

mod exchanges;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use tus_core::Config;

fn machine(criterion: &mut Criterion) {
    // The additional cost of the IETF's draft for requests of tus.
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
