//! How a storage fails, as far as the protocol distinguishes it.

/// How a storage failed, as far as the protocol distinguishes it. Its text is for the log and the application; what a
/// client reads is the dialects' business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The record is not as expected, mostly because something else changed it first; nothing was done.
    #[error("the upload has changed in the meantime")]
    Conflict,
    /// There is no such upload, or no longer.
    #[error("there is no such upload")]
    NotFound,
    /// The upload is complete, and its bytes are no longer in the storage: the application moved them away.
    #[error("the bytes of the upload were moved away")]
    Gone,
    /// There is already an upload with this id.
    #[error("an upload with this id already exists")]
    Exists,
    /// The upload or the storage is in use. Try again later.
    #[error("the upload or the storage is in use")]
    Busy,
    /// There is no room left.
    #[error("there is no room left")]
    Full,
    /// The server's limit for concurrent work of this kind has been reached.
    #[error("too much work of this kind is in progress")]
    Overloaded,
    /// The store in which the server keeps uploads does not answer, or failed in a way that may pass.
    #[error("the store does not answer, or failed in a way that may pass")]
    Unavailable,
    /// Any other failure. The reason belongs in the server's log, not in a response.
    #[error("the storage failed")]
    Internal,
}

impl Failure {
    /// Whether the record has changed or is gone since it was seen: something else was first, and the same call would fail
    /// again.
    pub fn is_overtaken(self) -> bool {
        matches!(self, Self::Conflict | Self::NotFound)
    }
}
