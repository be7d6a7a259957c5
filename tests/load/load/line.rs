//! How fast the client sends a file over a line with a round trip, by the size of its requests.

use std::{
    error::Error,
    fmt::Write as _,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::mpsc::sync_channel,
    thread,
    time::{Duration, Instant},
};

use tests::{Framework, MOUNT, Store};
use tus_reqwest::{Client, Options, Source, Verification, block_on};

use crate::{
    servers::{self, Kind},
    workloads,
};

/// Bytes per second, in each direction.
const RATE: u64 = 200_000_000 / 8;

/// In each direction.
const DELAY: Duration = Duration::from_millis(50);

const LENGTH: u64 = 64 << 20;

/// Sends a file with requests of each size, and reports the results in Markdown.
pub(crate) fn measure(directory: &Path) -> Result<String, Box<dyn Error>> {
    let mut content = Vec::new();
    workloads::content(LENGTH)?.read_to_end(&mut content)?;
    let content = Source::bytes(content);
    let mut text = format!(
        "\n## requests, {} MiB over {} Mbit/s with a round trip of {} ms\n\n| size of requests | MiB/s |\n|---|---|\n",
        LENGTH >> 20,
        RATE * 8 / 1_000_000,
        2 * DELAY.as_millis(),
    );
    let sizes = [1, 2, 4, 8, 16, 32].map(|mib| (format!("{mib} MiB"), Some(Some(mib << 20))));
    for (name, size) in sizes.into_iter().chain([("one".into(), Some(None)), ("default".into(), None)]) {
        let uploads = tempfile::tempdir_in(directory)?;
        let kind = Kind::Ours(Framework::Axum, Store::Buffered);
        let (_process, address) = servers::start(kind, Path::new(""), uploads.path())?;
        let options = Options::default().verification(Verification::Off);
        let options = size.into_iter().fold(options, Options::chunk_size);
        let client = Client::builder(&format!("http://{}{MOUNT}", line(address)?)).options(options).build()?;
        let began = Instant::now();
        send(&client, &content)?;
        writeln!(text, "| {name} | {:.1} |", (LENGTH >> 20) as f64 / began.elapsed().as_secs_f64())?;
    }
    Ok(text)
}

fn send(client: &Client, content: &Source) -> Result<(), Box<dyn Error>> {
    block_on(client.upload(content.clone()).send())?;
    Ok(())
}

/// A line to a server. It ends with the process.
fn line(server: SocketAddr) -> Result<SocketAddr, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(server) else { continue };
            for stream in [&client, &server] {
                let _ = stream.set_nodelay(true);
            }
            if let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) {
                carry(from, to);
            }
            carry(server, client);
        }
    });
    Ok(address)
}

/// Carries bytes in one direction.
fn carry(mut from: TcpStream, mut to: TcpStream) {
    let (sender, receiver) = sync_channel::<(Instant, Vec<u8>)>(256);
    thread::spawn(move || {
        let mut free = Instant::now();
        for (came, piece) in receiver {
            let sent = free.max(came) + Duration::from_nanos(piece.len() as u64 * 1_000_000_000 / RATE);
            free = sent;
            thread::sleep((sent + DELAY).saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        let mut piece = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            if sender.send((Instant::now(), piece[..length].to_vec())).is_err() {
                break;
            }
        }
    });
}
