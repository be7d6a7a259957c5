//! How a storage fails, as far as the protocol distinguishes it.

/// How a storage failed, as far as the protocol distinguishes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The record is not as expected, mostly because something else changed it first; nothing was done.
    #[error("the upload has changed in the meantime; ask for its offset and continue from there")]
    Conflict,
    /// There is no such upload, or no longer.
    #[error("there is no such upload")]
    NotFound,
    /// The upload is complete, and its bytes are no longer in the storage: the application moved them away.
    #[error("the file was moved and can no longer be downloaded here")]
    Gone,
    /// There is already an upload with this id.
    #[error("an upload with this id already exists")]
    Exists,
    /// The upload or the storage is in use. Try again later.
    #[error("the upload is in use elsewhere; try again in a moment")]
    Busy,
    /// There is no room left.
    #[error("the server has no room left; acknowledged bytes are kept; try again later")]
    Full,
    /// The server's limit for concurrent work of this kind has been reached.
    #[error("the server is handling too many requests of this kind; try again in a moment")]
    Overloaded,
    /// The store in which the server keeps uploads does not answer, or failed in a way that may pass.
    #[error("the server's store does not answer at the moment; acknowledged bytes are kept; try again")]
    Unavailable,
    /// Any other failure. The reason belongs in the server's log, not in a response.
    #[error("the server failed; acknowledged bytes are kept; try again later")]
    Internal,
}

impl Failure {
    /// Whether the record has changed or is gone since it was seen: something else was first, and the same call would fail
    /// again.
    pub fn is_overtaken(self) -> bool {
        matches!(self, Self::Conflict | Self::NotFound)
    }
}
