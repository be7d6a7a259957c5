//! Why uploads are deleted.

/// Why an upload was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// A client deleted it.
    Client,
    /// The application deleted it with [`Tus::terminate`](crate::Tus::terminate).
    Application,
    /// It expired.
    Expired,
    /// The request that created it failed.
    Failed,
}
