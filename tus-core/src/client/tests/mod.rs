//! The client's machine: sentence by sentence, and connected to the server's over a wire that fails.

mod connected;
mod retries;
mod script;
mod specification;
mod wire;
