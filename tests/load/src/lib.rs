//! What the programs here share.

pub mod content;
pub mod http;
pub mod process;
