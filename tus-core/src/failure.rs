//! How a storage fails, as far as the protocol distinguishes it.

/// How a storage failed, as far as the protocol distinguishes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The record changed meanwhile; nothing was done.
    #[error("the upload changed meanwhile; ask for its offset and go on from there")]
    Conflict,
    /// There is no such upload, or not any more.
    #[error("there is no such upload")]
    NotFound,
    /// The upload is complete, and its bytes are no longer in the storage: the application moved them away.
    #[error("the file of the upload was moved away, and can no longer be downloaded here")]
    Gone,
    /// There is an upload of that id already.
    #[error("there is an upload of that id already")]
    Exists,
    /// Somebody else uses the upload or the store at the moment.
    #[error("the upload is in use elsewhere; try again in a moment")]
    Busy,
    /// There is no room left.
    #[error("the server has no room left, and keeps what it has acknowledged; try again later")]
    Full,
    /// More of this is under way than the server allows at once.
    #[error("the server is busy with many requests like this one; try again in a moment")]
    Overloaded,
    /// Anything else; the reason is for the server's log, not for the client.
    #[error("the server could not do this, and keeps what it has acknowledged; try again later")]
    Internal,
}
