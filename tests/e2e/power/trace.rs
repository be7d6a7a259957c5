//! What a process did to the disk and sent to its clients, as recorded by strace(1).

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Command,
};

/// The calls that change the disk, and those by which the process reports it.
const CALLS: &str = "open,openat,creat,close,dup,dup2,dup3,write,writev,pwrite64,pwritev,pwritev2,lseek,ftruncate,truncate,\
    fallocate,copy_file_range,sendfile,splice,fsync,fdatasync,sync_file_range,sync,syncfs,msync,unlink,unlinkat,rename,\
    renameat,renameat2,link,linkat,symlink,symlinkat,mkdir,mkdirat,rmdir,sendto,sendmsg";

/// A system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    /// A file or directory is open from now on, created or truncated if requested.
    Open {
        fd: u32,
        path: PathBuf,
        create: bool,
    },
    Close {
        fd: u32,
    },
    /// Bytes go to a position, or to the cursor.
    Write {
        fd: u32,
        at: Option<u64>,
        bytes: Vec<u8>,
    },
    Seek {
        fd: u32,
        to: u64,
    },
    Cut {
        fd: u32,
        length: u64,
    },
    Copy {
        from: u32,
        to: u32,
        length: u64,
    },
    Sync {
        fd: u32,
    },
    MakeDirectory {
        path: PathBuf,
    },
    Unlink {
        path: PathBuf,
    },
    /// Bytes go to standard output.
    Print {
        bytes: Vec<u8>,
    },
    /// Bytes go to a client, known by its port.
    Send {
        port: u16,
        bytes: Vec<u8>,
    },
}

/// What happened, in order. Calls of several threads overlap.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Begin(usize, Call),
    End(usize),
    /// The process is gone, together with its open files.
    Gone,
}

/// The command that runs another one and records what it does.
pub(super) fn recorded(program: &str, into: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-yy", "-qq", "-xx", "-s", "16777216", "-e"]).arg(format!("trace={CALLS}"));
    command.args(["-e", "signal=none", "-o"]).arg(into).arg(program);
    command
}

/// Parses the recording about files within `root`, standard output and connections.
pub(super) fn parse(text: &str, root: &Path) -> Vec<Event> {
    let mut events = Vec::new();
    // Unfinished calls by thread: their number, their text, and whether they were reported as an event.
    let mut unfinished: HashMap<&str, (usize, String, bool)> = HashMap::new();
    let mut calls = 0;
    for line in text.lines() {
        let (thread, rest) = line.split_once(' ').unwrap();
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        let (number, complete, reported) = if let Some(begun) = rest.strip_suffix("<unfinished ...>") {
            calls += 1;
            let complete = begun.trim_end().to_owned();
            // The opened file is known only at the call's end.
            let call = call(&complete, None, root);
            unfinished.insert(thread, (calls, complete, call.is_some()));
            events.extend(call.map(|call| Event::Begin(calls, call)));
            continue;
        } else if rest.starts_with("<... ") {
            let (number, begun, reported) = unfinished.remove(thread).unwrap();
            (number, begun + rest.split_once("resumed>").unwrap().1, reported)
        } else {
            calls += 1;
            (calls, rest.to_owned(), false)
        };
        let Some((before, result)) = complete.rsplit_once(" = ") else {
            continue;
        };
        let result = result.split([' ', '<']).next().unwrap().parse::<i64>().unwrap_or(-1);
        if result < 0 {
            // A failed call has done nothing; an unfinished one may have.
            continue;
        }
        if !reported {
            let Some(call) = call(before, Some(result as u64), root) else {
                continue;
            };
            events.push(Event::Begin(number, call));
        }
        events.push(Event::End(number));
    }
    events.push(Event::Gone);
    events
}

/// `result` is the call's return value, if it has ended.
fn call(text: &str, result: Option<u64>, root: &Path) -> Option<Call> {
    let (name, arguments) = text.split_once('(')?;
    let arguments: Vec<&str> = arguments.trim_end().trim_end_matches(')').split(", ").collect();
    let first = arguments[0];
    let number = |at: usize| arguments[at].trim_end_matches(')').parse::<u64>().unwrap();
    let file = || opened(first, root);
    let strings = || {
        let mut bytes: Vec<u8> = text.split('"').skip(1).step_by(2).flat_map(unescaped).collect();
        result.inspect(|written| bytes.truncate(*written as usize));
        bytes
    };
    let named = |directory: Option<&str>, name: &str| {
        let name = PathBuf::from(String::from_utf8(unescaped(name.trim_matches('"'))).unwrap());
        let path = directory.and_then(|directory| Some(path_of(directory)?.join(&name))).unwrap_or(name);
        path.starts_with(root).then_some(path)
    };
    Some(match name {
        "open" | "openat" => {
            let path = if name == "open" { named(None, first)? } else { named(Some(first), arguments[1])? };
            assert!(!text.contains("O_TRUNC") && !text.contains("O_APPEND"), "{text}");
            Call::Open { fd: result?.try_into().unwrap(), path, create: text.contains("O_CREAT") }
        }
        "close" => Call::Close { fd: file()? },
        "write" | "writev" | "sendto" | "sendmsg" if first.contains("TCP:[") => {
            let (_, peer) = first.split_once("->")?;
            let port = peer.split(']').next()?.rsplit(':').next()?.parse().ok()?;
            Call::Send { port, bytes: strings() }
        }
        "write" if first.starts_with("1<") => Call::Print { bytes: strings() },
        "write" | "writev" => Call::Write { fd: file()?, at: None, bytes: strings() },
        "pwrite64" => Call::Write { fd: file()?, at: Some(number(3)), bytes: strings() },
        "lseek" => Call::Seek { fd: file()?, to: result? },
        "ftruncate" => Call::Cut { fd: file()?, length: number(1) },
        "copy_file_range" => {
            assert_eq!((arguments[1], arguments[3]), ("NULL", "NULL"), "{text}");
            Call::Copy { from: file()?, to: opened(arguments[2], root)?, length: result? }
        }
        "fsync" | "fdatasync" => Call::Sync { fd: file()? },
        "unlink" => Call::Unlink { path: named(None, first)? },
        "unlinkat" => Call::Unlink { path: named(Some(first), arguments[1])? },
        "mkdir" => Call::MakeDirectory { path: named(None, first)? },
        _ => {
            assert!(!arguments.iter().any(|argument| opened(argument, root).is_some()), "{text} is not known");
            return None;
        }
    })
}

/// The number in `7</path>`, if the path is relevant.
fn opened(argument: &str, root: &Path) -> Option<u32> {
    let path = path_of(argument)?;
    // The content of shared memory is lost in a power cut, and of the reserve only its length matters.
    let is_lost = |path: &str| path.ends_with("-shm") || path.ends_with(".reserve");
    let of_interest = path.starts_with(root) && !path.to_str().is_some_and(is_lost);
    of_interest.then(|| argument.split('<').next().unwrap().parse().unwrap())
}

fn path_of(argument: &str) -> Option<PathBuf> {
    let path = argument.split_once('<')?.1.split(['<', '>']).next()?;
    path.starts_with("\\x").then(|| String::from_utf8(unescaped(path)).unwrap().into())
}

fn unescaped(text: &str) -> Vec<u8> {
    if !text.starts_with("\\x") {
        return text.as_bytes().to_vec();
    }
    text.split("\\x").skip(1).map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}
