//! Finds out which programs exist that the end-to-end tests need in addition to Rust and a C compiler. A test that lacks
//! one is reported as ignored. With `TUS_TEST_NO_SKIP` all tests run, and those that lack something fail.

use std::{
    env,
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A network namespace with a line that has a rate.
const SHAPED_LINE: &str =
    "ss -ltn && ip link set lo up && tc qdisc add dev lo root tbf rate 480kbit burst 3000 limit 8000";

/// Whether a program exists.
type IsHere = fn() -> bool;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for variable in ["PATH", "TUS_TEST_NO_SKIP", "TUS_TEST_OTHERS"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    for directory in programs().filter(|directory| directory.is_dir()) {
        println!("cargo::rerun-if-changed={}", directory.display());
    }
    let needs: [(&str, IsHere); 14] = [
        ("has_proc", || Path::new("/proc/net/tcp").exists() && Path::new("/proc/self/status").exists()),
        ("has_small_disks", || mounts(&["-t", "tmpfs", "tmpfs"]) && mounts_ext4()),
        // Attached to a process that is not its own child, as the tests do it.
        ("has_strace", || runs(Command::new("sh").args(["-c", "sleep 1 & strace -o /dev/null -p $!"]))),
        ("has_shaped_lines", || runs(Command::new("unshare").args(["-Urn", "sh", "-c", SHAPED_LINE]))),
        // A terminal for a program, as util-linux makes it.
        ("has_script", || runs(Command::new("script").args(["-qfec", "stty size", "/dev/null"]))),
        ("has_nginx", || is_installed("nginx")),
        ("has_haproxy", || is_installed("haproxy")),
        ("has_caddy", || is_installed("caddy")),
        ("has_chromium", || is_installed("chromium") && is_installed("chromedriver")),
        ("has_node", || is_installed("node") && others().is_some_and(|others| others.join("node_modules").is_dir())),
        ("has_react", || others().is_some_and(|others| others.join("react/dist").is_dir())),
        ("has_postgres", has_postgres),
        ("has_prometheus", || is_installed("prometheus") && is_installed("promtool")),
        ("has_python", || others().is_some_and(|others| others.join("venv/bin/python").exists())),
    ];
    let all = env::var_os("TUS_TEST_NO_SKIP").is_some();
    for (name, is_here) in needs {
        println!("cargo::rustc-check-cfg=cfg({name})");
        if all || is_here() {
            println!("cargo::rustc-cfg={name}");
        }
    }
}

fn others() -> Option<PathBuf> {
    env::var_os("TUS_TEST_OTHERS").map(PathBuf::from)
}

/// Where programs are. Servers may be where only the administrator looks.
fn programs() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(["/usr/sbin".into()]).collect::<Vec<_>>().into_iter()
}

fn is_installed(program: &str) -> bool {
    programs().any(|directory| directory.join(program).exists())
}

/// Debian keeps the programs of each version of Postgres by themselves. A client alone has no `initdb`.
fn has_postgres() -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin/initdb")).any(|program| program.exists())
}

fn runs(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Whether a file system can be mounted.
fn mounts(what: &[&str]) -> bool {
    let at = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("mounted");
    std::fs::create_dir_all(&at).is_ok()
        && runs(Command::new("mount").args(what).arg(&at))
        && runs(Command::new("umount").arg("--lazy").arg(&at))
}

fn mounts_ext4() -> bool {
    let image = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("image");
    let made = File::create(&image).and_then(|file| file.set_len(32 << 20)).is_ok();
    let made = made && runs(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
    let mounted = made && image.to_str().is_some_and(|image| mounts(&["-o", "loop", image]));
    let _ = std::fs::remove_file(&image);
    mounted
}
