//! The client's machine, sentence by sentence, and connected to the server's machine over a wire that fails.

mod connected;
mod discovery;
mod draft;
mod gone;
mod limits;
mod redirects;
mod retries;
mod script;
mod specification;
mod wire;
