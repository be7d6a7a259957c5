//! How many files and connections the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Takes as many as the system allows, and warns if that is less than one for each connection.
pub(crate) fn take_all(connections: usize) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where that fails, the limit stays what it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = getrlimit(Resource::Nofile).current;
    if limit.is_some_and(|limit| limit < connections as u64) {
        tracing::warn!(
            limit,
            max_connections = connections,
            "the limit of file descriptors is lower than max_connections"
        );
    }
}
