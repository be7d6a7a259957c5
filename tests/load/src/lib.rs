//! Code shared by the load programs.

pub mod content;
pub mod http;
pub mod process;
