//! What a server costs before a bucket: one upload in one PATCH to the example `axum` with `TUS_STORE`, beside a multipart
//! upload of the same bytes by the same client of the store, with parts of the same size, as many of them on the way at once;
//! and beside a server that receives as much and drops it.

use std::{
    error::Error,
    fmt::{self, Write},
    fs::File,
    net::{SocketAddr, TcpListener},
    os::unix::fs::FileExt,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use load::{
    http::{Connection, OCTETS},
    process::{self, Process},
};
use tests::MOUNT;
use tus_object_store::object_store::{ObjectStoreExt, aws::AmazonS3Builder, multipart::MultipartStore, path};

use crate::{
    table::{middle, sorted},
    workloads,
};

/// As the storage has them by default.
const PART: u64 = 8 << 20;
const AT_ONCE: usize = 4;

/// Who moves the bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mover {
    Client,
    Server,
    Nobody,
}

const ALL: [Mover; 3] = [Mover::Client, Mover::Server, Mover::Nobody];

/// What it took, and the peak of a server's memory above what it had before, in KiB.
struct Run {
    elapsed: Duration,
    processor: Duration,
    memory: Option<u64>,
}

/// Measures each of them in turn, and reports the results in Markdown. `store` is as in `TUS_STORE`, of S3; credentials and
/// endpoint are in the environment.
pub(crate) fn measure(store: &str, directory: &Path, length: u64, rounds: usize) -> Result<String, Box<dyn Error>> {
    let directory = tempfile::tempdir_in(directory)?;
    let path = directory.path().join("film");
    std::io::copy(&mut workloads::content(length)?, &mut File::create(&path)?)?;
    let gib = length as f64 / f64::from(1 << 30);
    let mut all = ALL.map(|mover| (mover, Vec::new()));
    for round in 0..rounds {
        for (mover, runs) in &mut all {
            let run = match mover {
                Mover::Client => client(store, &path)?,
                Mover::Server => server(Some(store), directory.path(), &File::open(&path)?, length)?,
                Mover::Nobody => server(None, directory.path(), &File::open(&path)?, length)?,
            };
            eprintln!("{mover}, round {}: {:.3} s", round + 1, run.elapsed.as_secs_f64());
            runs.push(run);
        }
    }
    let rate = |runs: &[Run]| middle(&sorted(runs.iter().map(|run| gib * 1024.0 / run.elapsed.as_secs_f64())));
    let cost = |runs: &[Run]| middle(&sorted(runs.iter().map(|run| run.processor.as_secs_f64() / gib)));
    let of = |wanted: Mover| all.iter().find(|(mover, _)| *mover == wanted).map_or(&[][..], |(_, runs)| runs);
    let mut text = format!(
        "\n## a bucket, one upload of {gib} GiB\n\n| | MiB/s | processor, s/GiB | memory, MiB |\n|---|---|---|---|\n"
    );
    for (mover, runs) in &all {
        let memory = runs.iter().filter_map(|run| run.memory).max();
        let memory = memory.map_or(String::new(), |kib| format!("{:.0}", kib as f64 / 1024.0));
        writeln!(text, "| {mover} | {:.0} | {:.2} | {memory} |", rate(runs), cost(runs))?;
    }
    let beside = rate(of(Mover::Server)) / rate(of(Mover::Client));
    let above = cost(of(Mover::Server)) - cost(of(Mover::Nobody));
    writeln!(
        text,
        "\nThe server has {beside:.2} of the client's throughput, and costs {above:.2} s/GiB above receiving."
    )?;
    Ok(text)
}

fn client(store: &str, file: &Path) -> Result<Run, Box<dyn Error>> {
    let mut command = process::this_program()?;
    command.args(["--put", store]).arg(file).stdin(Stdio::null());
    let (began, before) = (Instant::now(), process::children()?);
    let status = command.status()?;
    let (elapsed, processor) = (began.elapsed(), process::children()? - before);
    if !status.success() {
        return Err(format!("the client of the store: {status}").into());
    }
    Ok(Run { elapsed, processor, memory: None })
}

/// Runs as the client of the store.
pub(crate) fn put(store: &str, file: &str) -> Result<(), Box<dyn Error>> {
    let (bucket, prefix) =
        store.strip_prefix("s3://").and_then(|store| store.split_once('/')).ok_or("no URL as s3://bucket/prefix")?;
    let store = Arc::new(AmazonS3Builder::from_env().with_bucket_name(bucket).build()?);
    let path = path::Path::from(format!("{prefix}/put"));
    let file = Arc::new(File::open(file)?);
    let length = file.metadata()?.len();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let id = store.create_multipart(&path).await?;
        let parts = stream::iter(0..length.div_ceil(PART)).map(|number| {
            let (store, path, id, file) = (store.clone(), path.clone(), id.clone(), file.clone());
            async move {
                let bytes = tokio::task::spawn_blocking(move || {
                    let mut bytes = vec![0; PART.min(length - number * PART) as usize];
                    file.read_exact_at(&mut bytes, number * PART).map(|()| bytes)
                });
                let bytes = bytes.await??;
                Ok::<_, Box<dyn Error>>(store.put_part(&path, &id, number as usize, bytes.into()).await?)
            }
        });
        let parts = parts.buffered(AT_ONCE).try_collect().await?;
        store.complete_multipart(&path, &id, parts).await?;
        Ok(store.delete(&path).await?)
    })
}

/// The example on the store, or a server that drops what it receives.
fn server(store: Option<&str>, directory: &Path, file: &File, length: u64) -> Result<Run, Box<dyn Error>> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut command = match store {
        Some(store) => {
            let program = std::env::current_exe()?.with_file_name("examples").join("axum");
            if !program.exists() {
                return Err("the example is missing: cargo build --release --example axum".into());
            }
            let mut command = Command::new(program);
            command.env("TUS_ADDR", address.to_string()).env("TUS_DIR", directory).env("TUS_STORE", store);
            command.stderr(Stdio::null());
            command
        }
        None => {
            let mut command = process::this_program()?;
            command.args(["--receive", &address.to_string()]);
            command
        }
    };
    let process = Process::start(&mut command, address)?;
    let mut connection = Connection::open(address)?;
    let path = match store {
        Some(_) => workloads::create(&mut connection, length)?,
        None => MOUNT.to_owned(),
    };
    let (before, resident) = (process.processor()?, process.status("VmRSS")?);
    let began = Instant::now();
    connection.begin("PATCH", &path, &format!("Upload-Offset: 0\r\n{OCTETS}"), length)?;
    connection.send_file(file, length)?;
    let response = connection.response(false)?;
    let elapsed = began.elapsed();
    if response.status != 204 {
        return Err(format!("the server: {response:?}").into());
    }
    let (processor, peak) = (process.processor()? - before, process.status("VmHWM")?);
    if store.is_some() && connection.request("DELETE", &path, "", b"")?.status != 204 {
        return Err("the upload cannot be deleted".into());
    }
    Ok(Run { elapsed, processor, memory: Some(peak.saturating_sub(resident)) })
}

/// Runs as a server that drops what it receives.
pub(crate) fn receive(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    use axum::{Router, body::Body, http::StatusCode, routing::patch};
    let drop_all = async |body: Body| match body.into_data_stream().try_for_each(async |_| Ok(())).await {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::BAD_REQUEST,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        Ok(axum::serve(listener, Router::new().route(MOUNT, patch(drop_all))).await?)
    })
}

impl fmt::Display for Mover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "the client of the store",
            Self::Server => "the example `axum`",
            Self::Nobody => "a server that drops what it receives",
        })
    }
}
