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
mod serve;
mod settings;
mod tls;
mod view;
mod webhooks;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use arguments::{Action, Arguments};
use clap::Parser;
use settings::Settings;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever reads the output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tus-serve: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all went well; what did not has been reported.
async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    let settings = Settings::load(arguments.config.as_deref())?;
    let doubtful = Settings::doubtful_variables();
    if arguments.check_config {
        for doubt in doubtful {
            eprintln!("tus-serve: {doubt}");
        }
        println!("the configuration is valid");
        return Ok(true);
    }
    log(&settings)?;
    for doubt in doubtful {
        tracing::warn!("{doubt}");
    }
    match arguments.action {
        None => serve::serve(settings).await.map(|()| true),
        Some(Action::Admin { command }) => {
            let mut out = io::stdout().lock();
            let done = admin::run(&settings, command, &mut out).await?;
            out.flush()?;
            Ok(done)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Writes the log to standard error.
fn log(settings: &Settings) -> anyhow::Result<()> {
    let colours = io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_writer(io::stderr).with_target(false).with_ansi(colours);
    let log = log.with_max_level(settings.log_level()?);
    if settings.is_log_json()? {
        log.json().init()
    } else {
        log.init()
    }
    Ok(())
}
