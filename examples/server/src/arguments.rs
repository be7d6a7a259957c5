//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::admin;

/// A server for resumable uploads: tus 1.0.0, and the IETF's draft.
///
/// Every setting has a key in the file and an environment variable; a variable outranks the file. The name of a variable
/// is TUS_ and the key in capitals, with underscores for dots: TUS_ADDR, TUS_BUCKET_PART_SIZE.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    /// File with the settings (TOML).
    #[arg(long, short, env = "TUS_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Check the settings and exit.
    #[arg(long)]
    pub(crate) check_config: bool,
    #[command(subcommand)]
    pub(crate) action: Option<Action>,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Inspect and manage uploads.
    Admin {
        #[command(subcommand)]
        command: admin::Command,
    },
}
