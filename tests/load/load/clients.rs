//! Compares clients: the same file to the same server, and the client's cost.

use std::{
    error::Error,
    fmt::{self, Write},
    fs,
    io::Read,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use clap::ValueEnum;
use load::{http::Connection, process};
use sha1::{Digest, Sha1};
use tests::{Framework, MOUNT, Store};
use tus_reqwest::{Options, Source, Verification};

use crate::{
    servers::{self, Kind},
    table::{middle, sorted},
    workloads,
};

/// A client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Client {
    /// curl, in one request.
    Curl,
    /// Ours, in one request.
    OneRequest,
    /// Ours, in requests of 8 MiB.
    Large,
    /// Ours, in requests of 1 MiB.
    Small,
    /// Ours, in requests of 8 MiB, each with its SHA-1.
    LargeVerified,
    /// Ours, in requests of 1 MiB, each with its SHA-1.
    SmallVerified,
    /// Ours with its defaults.
    Default,
    /// None: the SHA-1 of the same number of bytes in memory.
    Digest,
}

const MIB: u64 = 1 << 20;

/// Sends a file with each client to one of our servers, repeatedly, and reports the results in Markdown.
pub(crate) fn measure(directory: &Path, length: u64, rounds: usize) -> Result<String, Box<dyn Error>> {
    let directory = tempfile::tempdir_in(directory)?;
    let file = directory.path().join("film");
    std::io::copy(&mut workloads::content(length)?, &mut fs::File::create(&file)?)?;
    let clients: Vec<_> = Client::value_variants().iter().filter(|client| client.is_there()).collect();
    let mut runs: Vec<(Client, Vec<(Duration, Duration)>)> =
        clients.iter().map(|client| (**client, Vec::new())).collect();
    for round in 0..rounds {
        for (client, measured) in &mut runs {
            let uploads = tempfile::tempdir_in(directory.path())?;
            let (_process, address) =
                servers::start(Kind::Ours(Framework::Axum, Store::Buffered), Path::new(""), uploads.path())?;
            let mut command = client.command(address, &file, length)?;
            let (began, before) = (Instant::now(), process::children()?);
            let output = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
            let (elapsed, processor) = (began.elapsed(), process::children()? - before);
            let mut stored = fs::read_dir(uploads.path().join("uploads"))?;
            let arrived = match client {
                Client::Digest => true,
                _ => stored.next().ok_or("there is no upload")??.metadata()?.len() == length,
            };
            if !output.success() || !arrived {
                return Err(format!("{client}: {output}").into());
            }
            eprintln!("{client}, round {}: {:.3} s", round + 1, elapsed.as_secs_f64());
            measured.push((elapsed, processor));
        }
    }
    let gib = length as f64 / f64::from(1 << 30);
    let cost = |measured: &[(Duration, Duration)]| {
        middle(&sorted(measured.iter().map(|(_, processor)| processor.as_secs_f64() / gib)))
    };
    let curl = runs.iter().find(|(client, _)| *client == Client::Curl).map(|(_, measured)| cost(measured));
    let mut text = format!(
        "\n## clients, one file of {gib} GiB\n\n| client | MiB/s | the client's processor, s/GiB | beside curl's |\n|---|---|---|---|\n"
    );
    for (client, measured) in runs {
        let rate = middle(&sorted(measured.iter().map(|(elapsed, _)| gib * 1024.0 / elapsed.as_secs_f64())));
        let processor = cost(&measured);
        let beside = curl.map_or(String::new(), |curl| format!("{:.2}", processor / curl));
        writeln!(text, "| {client} | {rate:.0} | {processor:.3} | {beside} |")?;
    }
    Ok(text)
}

impl Client {
    fn is_there(self) -> bool {
        self != Self::Curl || Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok()
    }

    fn command(self, address: SocketAddr, file: &Path, length: u64) -> Result<Command, Box<dyn Error>> {
        if self != Self::Curl {
            let mut command = process::this_program()?;
            let name = self.to_possible_value().ok_or("no name")?;
            command.args(["--send", name.get_name(), &format!("http://{address}{MOUNT}")]).arg(file);
            return Ok(command);
        }
        let path = workloads::create(&mut Connection::open(address)?, length)?;
        let mut command = Command::new("curl");
        command.args(["-sSf", "-X", "PATCH", "-H", "Tus-Resumable: 1.0.0", "-H", "Upload-Offset: 0", "-H", "Expect:"]);
        command.args(["-H", "Content-Type: application/offset+octet-stream"]);
        command.arg("-T").arg(file).arg(format!("http://{address}{path}"));
        Ok(command)
    }

    /// Runs as that client.
    pub(crate) fn send(self, endpoint: &str, file: &str) -> Result<(), Box<dyn Error>> {
        let unverified = Options::default().verification(Verification::Off);
        let options = match self {
            Self::Curl => return Err("curl is another program".into()),
            Self::OneRequest => unverified.chunk_size(None),
            Self::Large => unverified.chunk_size(Some(8 * MIB)),
            Self::Small => unverified.chunk_size(Some(MIB)),
            Self::LargeVerified => Options::default().chunk_size(Some(8 * MIB)),
            Self::SmallVerified => Options::default().chunk_size(Some(MIB)),
            Self::Default => Options::default(),
            Self::Digest => return digest(fs::metadata(file)?.len()),
        };
        let client = tus_reqwest::Client::builder(endpoint).options(options).build()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async { client.upload(Source::path(file).await?).send().await })?;
        Ok(())
    }
}

/// The cost of a SHA-1 of that many bytes alone.
fn digest(length: u64) -> Result<(), Box<dyn Error>> {
    let mut piece = vec![0; 64 * 1024];
    workloads::content(length)?.read_exact(&mut piece)?;
    let mut digest = Sha1::new();
    for _ in 0..length / piece.len() as u64 {
        digest.update(&piece);
    }
    match std::hint::black_box(digest.finalize())[..] {
        [] => Err("there is no digest".into()),
        _ => Ok(()),
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Curl => "curl, one request",
            Self::OneRequest => "tus-reqwest, one request",
            Self::Large => "tus-reqwest, requests of 8 MiB",
            Self::Small => "tus-reqwest, requests of 1 MiB",
            Self::LargeVerified => "tus-reqwest, requests of 8 MiB with SHA-1",
            Self::SmallVerified => "tus-reqwest, requests of 1 MiB with SHA-1",
            Self::Default => "tus-reqwest with its defaults",
            Self::Digest => "SHA-1 alone",
        })
    }
}
