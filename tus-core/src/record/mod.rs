//! The record of an upload, shared by protocol, service and storage.

mod id;
mod metadata;
mod new_upload;
mod stored;
mod upload;
mod verbatim;

#[cfg(feature = "serde")]
mod document;

pub use id::{Incarnation, InvalidUploadId, UploadId};
pub use metadata::{InvalidMetadata, Metadata};
pub(crate) use new_upload::Asked;
pub use new_upload::NewUpload;
pub use stored::{Change, Stored, Version};
pub use upload::{Dialect, Kind, Part, Phase, Upload};
pub use verbatim::Verbatim;
