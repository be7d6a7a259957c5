//! What an example needs for many large uploads to a bucket.

use std::{sync::Arc, thread};

use tempfile::TempDir;

use super::{
    between::{Between, Fate, Plan, Request},
    servers::Foreign,
};
use crate::{client::Response, content::bytes, example::Example, harness::missing};

const UPLOADS: u64 = 32;
/// More than a part, and in all three times what the storage may hold, which is more than the test allows. `TUS_TEST_UPLOAD_MIB`
/// gives another length. Then the proxy discards parts instead of passing
/// them on.
const LENGTH: u64 = 12 << 20;

struct Swallows;

impl Plan for Swallows {
    fn fate(&self, request: &Request) -> Fate {
        if request.target.contains("uploadId=") { Fate::Swallowed } else { Fate::Done }
    }
}

/// The storage's budget, and what else uploads may take, in KiB: the buffers of the framework and of the client of the store,
/// which are larger than the bytes in them, and what the allocator keeps.
const BUDGET: u64 = 128 * 1024;
const ELSE: u64 = 32 * 1024;

#[test]
#[cfg_attr(
    not(all(has_python, has_proc)),
    ignore = "TUS_TEST_OTHERS names no directory with a Python environment, or /proc does not show memory"
)]
fn many_large_uploads_to_a_bucket_stay_within_the_memory() {
    let moto = Foreign::moto();
    let between = Between::to(moto.address);
    let directory = TempDir::new().unwrap();
    let chosen = std::env::var("TUS_TEST_UPLOAD_MIB").ok().map(|mib| mib.parse::<u64>().unwrap() << 20);
    let (length, endpoint) = match chosen {
        Some(length) => (length, format!("http://{}", between.address)),
        None => (LENGTH, moto.endpoint()),
    };
    let variables = moto.variables_by(&endpoint, "memory");
    let mut variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    // As over TLS.
    variables.push(("AWS_UNSIGNED_PAYLOAD", "true"));
    // What is measured is not how much glibc keeps for each thread, unless this is in the environment already.
    if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
        variables.push(("MALLOC_ARENA_MAX", "2"));
    }
    let server = Example::start("axum", directory.path(), &variables);
    // After the test of the store.
    between.follow(Arc::new(Swallows));
    let idle = server.memory("VmHWM");
    let body = bytes(9, 0..length);
    thread::scope(|scope| {
        for _ in 0..UPLOADS {
            scope.spawn(|| {
                let path = server.connect().create(length);
                // A busy store may take too long: 503, and the client resumes.
                let sent = |response: Response| {
                    assert!(response.status < 300 || response.status == 503, "{response:?}");
                    (response.status < 300).then_some(response)
                };
                let is_complete = (0..20).any(|_| {
                    let head = sent(server.connect().request("HEAD", &path, &[], b""));
                    let rest = head.map(|head| (head.offset(), &body[head.offset() as usize..]));
                    rest.is_some_and(|(at, rest)| {
                        at == length || sent(server.connect().patch(&path, at, rest)).is_some()
                    })
                });
                assert!(is_complete, "503 each time");
            });
        }
    });
    match idle.zip(server.memory("VmHWM")) {
        Some((idle, peak)) => {
            let more = peak - idle;
            eprintln!("{UPLOADS} uploads of {} MiB: {} MiB more than {} MiB", length >> 20, more / 1024, idle / 1024);
            assert!(more <= BUDGET + ELSE, "{} MiB more than the {} MiB without uploads", more / 1024, idle / 1024);
        }
        None => missing("/proc does not show how much memory a process uses"),
    }
}
