//! Hours of mixed load with faults: `cargo run --release -p load --bin soak -- --minutes 60`.
//!
//! A server in a process of its own gets uploads of all kinds at a fixed rate, connections that break, stall and lie,
//! and a SIGKILL from time to time. What it acknowledged is checked each time, and its resources are recorded every few
//! seconds: `soak.csv`, `soak.svg` and `soak.md` in the output directory. It exits with 1 if anything was wrong.

mod ledger;
mod plot;
mod report;
mod server;
mod uploads;
mod worker;

use std::{
    error::Error,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use tests::{Framework, Store};

use crate::{ledger::Ledger, server::Server, worker::Schedule};

/// Hours of mixed load with faults.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long to run.
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
    /// Operations started per second, whether or not earlier ones are done.
    #[arg(long, default_value_t = 30.0)]
    rate: f64,
    /// Seconds between kills; 0 for none.
    #[arg(long, default_value_t = 300)]
    kill_every: u64,
    /// axum, actix-web or warp.
    #[arg(long, default_value = "axum")]
    framework: Framework,
    /// synced or buffered.
    #[arg(long, default_value = "synced")]
    store: Store,
    /// Where the results go.
    #[arg(long, default_value = "tests/load")]
    output: PathBuf,
    /// Recreate `soak.svg` and `soak.md` from the existing `soak.csv`.
    #[arg(long)]
    draw: bool,
    /// Run as the server.
    #[arg(long, hide = true, value_names = ["DIRECTORY", "ADDRESS"], num_args = 2)]
    serve: Option<Vec<String>>,
}

/// Seconds between two samples.
const SAMPLE: Duration = Duration::from_secs(5);

/// Maximum number of concurrent operations: more than the rate needs.
const WORKERS: usize = 48;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    if let Some([directory, address]) = arguments.serve.as_deref() {
        return server::serve(arguments.framework, arguments.store, directory.as_ref(), address.parse()?);
    }
    std::fs::create_dir_all(&arguments.output)?;
    let violations = if arguments.draw { 0 } else { soak(&arguments)? };
    report::write(&arguments.output)?;
    match violations {
        0 => Ok(()),
        _ => Err(format!("{violations} violations").into()),
    }
}

/// The number of violations.
fn soak(arguments: &Arguments) -> Result<u64, Box<dyn Error>> {
    let directory = tempfile::tempdir_in(".")?;
    let mut server = Server::start(arguments.framework, arguments.store, directory.path())?;
    let ledger = Arc::new(Ledger::create(&arguments.output.join("soak.csv"), &settings(arguments))?);
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(arguments.minutes * 60.0);
    let schedule = Arc::new(Schedule::new(began, until, arguments.rate));
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let (schedule, ledger) = (schedule.clone(), ledger.clone());
            let (address, uploads): (SocketAddr, _) = (server.address, directory.path().join("uploads"));
            thread::spawn(move || worker::run(&schedule, &ledger, address, &uploads))
        })
        .collect();
    let mut next_kill = began + Duration::from_secs(arguments.kill_every);
    let mut next_sample = began;
    while Instant::now() < until {
        next_sample += SAMPLE;
        thread::sleep(next_sample.saturating_duration_since(Instant::now()));
        // Only if there is time for interrupted uploads to resume.
        let kills = arguments.kill_every > 0 && Instant::now() >= next_kill && next_sample + SAMPLE * 4 < until;
        if kills {
            next_kill += Duration::from_secs(arguments.kill_every);
            server.kill_and_start()?;
        }
        ledger.sample(began.elapsed(), kills, &server.usage()?)?;
    }
    for worker in workers {
        worker.join().map_err(|_| "a worker panicked")?;
    }
    ledger.end()
}

fn settings(arguments: &Arguments) -> String {
    let Arguments { minutes, rate, kill_every, framework, store, .. } = arguments;
    format!("--minutes {minutes} --rate {rate} --kill-every {kill_every} --framework {framework} --store {store}")
}
