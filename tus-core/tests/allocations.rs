//! How many allocations an exchange makes: each of them costs time in every request.

use tus_core::Config;

#[path = "../benches/exchanges/mod.rs"]
mod exchanges;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

#[test]
fn an_exchange_makes_few_allocations() {
    let exchanges = exchanges::all(Config::default());
    let tus_alone = exchanges::all(Config::default().without_draft());
    let _profiler = dhat::Profiler::builder().testing().build();
    let blocks = || dhat::HeapStats::get().total_blocks;
    let mut counted = Vec::new();
    for (exchange, tus_alone) in exchanges.iter().zip(&tus_alone) {
        let before = blocks();
        drop(exchange.run());
        let count = blocks() - before;
        drop(tus_alone.run());
        assert_eq!(blocks() - before, count * 2, "the draft costs requests of tus no memory");
        counted.push((exchange.name, count));
    }
    let at_most = [12, 12, 10, 13];
    for ((name, count), most) in counted.iter().zip(at_most) {
        assert!(*count <= most, "{name} asks for memory {count} times, and {most} was enough");
    }
}
