//! How fast, and at what cost: `cargo run --release -p load --bin load`.
//!
//! Each workload runs on each server, in a process of its own on an empty directory. The servers take turns, so that
//! other load on the machine affects all of them. Ours are compared with a bare server of each framework, which only
//! writes bodies to files (the limit), and with the installed servers of other projects. Offsets and contents are
//! checked. Prints a table in Markdown, and writes it with a chart to `load.md` and `load.svg` in the output directory.

mod bare;
mod buckets;
mod clients;
mod line;
mod ours;
mod peers;
mod plot;
mod servers;
mod table;
mod workloads;

use std::{
    error::Error,
    fs::File,
    path::{Path, PathBuf},
};

use clap::{Parser, ValueEnum};

use crate::{
    clients::Client,
    servers::Kind,
    table::{Measured, Results},
    workloads::{Sizes, Workload},
};

/// How fast, and at what cost.
#[derive(Debug, Parser)]
struct Arguments {
    /// Which servers: a framework and a storage, a framework and `bare`, or a peer. All available ones by default.
    #[arg(long, value_delimiter = ',')]
    servers: Vec<Kind>,
    /// Where `tests/load/peers/install` put the servers of other projects.
    #[arg(long, default_value = "target/peers")]
    peers: PathBuf,
    /// Which workloads.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = Workload::USUAL)]
    workloads: Vec<Workload>,
    /// How often to run each of them.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Where the servers store uploads: a directory on the disk, or in the memory, to be measured.
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    /// Measure clients instead.
    #[arg(long)]
    clients: bool,
    /// Measure what a bucket costs instead: `s3://bucket/prefix`, with endpoint and credentials in the environment, as for
    /// `TUS_STORE`.
    #[arg(long)]
    bucket: Option<String>,
    /// A tenth of the work, as a smoke test.
    #[arg(long)]
    quick: bool,
    /// Where the results go.
    #[arg(long, default_value = "target")]
    output: PathBuf,
    /// Run as a server.
    #[arg(long, hide = true, value_names = ["KIND", "DIRECTORY", "ADDRESS"], num_args = 3)]
    serve: Option<Vec<String>>,
    /// Run as a client of a store.
    #[arg(long, hide = true, value_names = ["STORE", "FILE"], num_args = 2)]
    put: Option<Vec<String>>,
    /// Run as a server that drops what it receives.
    #[arg(long, hide = true)]
    receive: Option<std::net::SocketAddr>,
    /// Run as a client.
    #[arg(long, hide = true, value_names = ["CLIENT", "ENDPOINT", "FILE"], num_args = 3)]
    send: Option<Vec<String>>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    if let Some([kind, directory, address]) = arguments.serve.as_deref() {
        return servers::serve(kind.parse()?, directory.as_ref(), address.parse()?);
    }
    if let Some([client, endpoint, file]) = arguments.send.as_deref() {
        return Client::from_str(client, false)?.send(endpoint, file);
    }
    if let Some([store, file]) = arguments.put.as_deref() {
        return buckets::put(store, file);
    }
    if let Some(address) = arguments.receive {
        return buckets::receive(address);
    }
    let sizes = if arguments.quick { Sizes::QUICK } else { Sizes::FULL };
    if arguments.clients {
        println!("{}", line::measure(&arguments.directory)?);
        println!("{}", clients::measure(&arguments.directory, sizes.large, arguments.rounds)?);
        return Ok(());
    }
    if let Some(store) = &arguments.bucket {
        println!("{}", buckets::measure(store, &arguments.directory, sizes.large / 2, arguments.rounds)?);
        return Ok(());
    }
    let content = workloads::content(sizes.large)?;
    let mut results = Results::default();
    // A file system may be slow to create files where many were deleted a moment ago.
    let mut kept = Vec::new();
    let servers = if arguments.servers.is_empty() { Kind::all(&arguments.peers) } else { arguments.servers };
    for workload in &arguments.workloads {
        for round in 0..arguments.rounds {
            for kind in &servers {
                if !workload.runs_on(*kind) {
                    continue;
                }
                let directory = tempfile::tempdir_in(&arguments.directory)?;
                let (workload, kind, round) = (*workload, *kind, round + 1);
                match measure(workload, kind, &arguments.peers, directory.path(), &sizes, &content) {
                    Ok(measured) => {
                        eprintln!("{workload}, round {round}: {kind}: {:.3} s", measured.done.elapsed.as_secs_f64());
                        results.add(workload, kind, measured);
                    }
                    // The others are still measured.
                    Err(error) if matches!(kind, Kind::Peer(_)) => {
                        eprintln!("{workload}, round {round}: {kind} failed: {error}");
                        results.failed(workload, kind);
                    }
                    Err(error) => return Err(error),
                }
                if workload.counts_requests() {
                    kept.push(directory);
                }
            }
        }
    }
    let mut text = results.text();
    if arguments.workloads.contains(&Workload::Small) {
        let rate = workloads::synced_files(&arguments.directory)?;
        text += &format!("\nNew files of 1 KiB, one after the other, each synced with its name: {rate:.0} a second.\n");
    }
    println!("{text}");
    std::fs::create_dir_all(&arguments.output)?;
    std::fs::write(arguments.output.join("load.md"), text)?;
    plot::draw(&results, &arguments.output.join("load.svg"))
}

/// Starts a server and runs a workload on it.
fn measure(
    workload: Workload,
    kind: Kind,
    peers: &Path,
    directory: &Path,
    sizes: &Sizes,
    content: &File,
) -> Result<Measured, Box<dyn Error>> {
    let (process, address) = servers::start(kind, peers, directory)?;
    let work = workload.prepare(address, sizes, content)?;
    let (before, resident) = (process.processor()?, process.status("VmRSS")?);
    let done = work.run()?;
    let processor = process.processor()? - before;
    workload.check(address, kind, directory, &done, content)?;
    let peak = process.status("VmHWM")?;
    Ok(Measured { done, processor, resident, peak })
}
