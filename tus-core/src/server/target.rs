//! What the URL of a request refers to.

use crate::UploadId;

/// What a request's target refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// The endpoint, where uploads are created.
    Endpoint,
    Upload(UploadId),
    /// A path below the endpoint that cannot be an upload's.
    Nothing,
}
