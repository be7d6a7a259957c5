//! The client's machine: sentence by sentence, and joined to the server's over a wire that fails.

mod joined;
mod retries;
mod script;
mod specification;
mod wire;
