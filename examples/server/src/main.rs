//! cargo install --path examples/server, then: tus-serve --config server.toml
//!
//! A server for resumable uploads that needs no program of your own.

mod admin;
mod app;
mod arguments;
mod connections;
mod descriptors;
mod listen;
mod monitor;
mod object;
mod serve;
mod settings;
mod tls;
mod view;
mod webhooks;

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use arguments::{Action, Arguments};
use clap::Parser;
use settings::Settings;
use tokio::runtime::Runtime;

/// How long calls that block, such as those to a disk that hangs, may take after everything else has ended.
const BLOCKED: Duration = Duration::from_secs(5);

/// How the program ended.
enum End {
    /// All went well.
    Well,
    /// Something did not, and has been reported.
    Badly,
    /// By a second signal: nothing is waited for.
    AtOnce,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(format_args!("{error}"));
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(run(arguments));
    // Dropping it would wait for calls that block, however long they take.
    match ended {
        Ok(End::AtOnce) => runtime.shutdown_background(),
        _ => runtime.shutdown_timeout(BLOCKED),
    }
    match ended {
        Ok(End::Well) => ExitCode::SUCCESS,
        // What arrived last may be lost.
        Ok(End::Badly | End::AtOnce) => ExitCode::FAILURE,
        // Whoever reads the output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<End> {
    let settings = Settings::load(arguments.config.as_deref())?;
    if arguments.check_config || arguments.action.is_none() {
        settings.check_serving()?;
    }
    let doubtful = Settings::doubtful_variables();
    if arguments.check_config {
        for doubt in doubtful {
            say(format_args!("{doubt}"));
        }
        writeln!(io::stdout(), "the configuration is valid")?;
        return Ok(End::Well);
    }
    log(&settings)?;
    for doubt in doubtful {
        tracing::warn!("{doubt}");
    }
    match arguments.action {
        None => serve::serve(settings).await,
        Some(Action::Admin { command }) => {
            let mut out = io::stdout().lock();
            if !admin::run(&settings, command, &mut out).await? {
                return Ok(End::Badly);
            }
            out.flush()?;
            Ok(End::Well)
        }
    }
}

/// Writes a line to standard error. If nobody can read it, the exit code still shows what happened.
fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "tus-serve: {line}");
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Writes the log to standard error.
fn log(settings: &Settings) -> anyhow::Result<()> {
    let colours = io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_writer(io::stderr).with_target(false).with_ansi(colours);
    // A log that cannot be written, for example to a full disk, would cause a panic when that is reported.
    let log = log.log_internal_errors(false).with_max_level(settings.log_level()?);
    if settings.is_log_json()? {
        log.json().init()
    } else {
        log.init()
    }
    Ok(())
}
