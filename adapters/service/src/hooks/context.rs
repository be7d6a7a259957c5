//! The contexts of hooks. A context owns its data, so that a hook can move it into a task; uploads and request heads
//! are shared, not copied.
//!
//! Fields may be added. `new` keeps its parameters, and gives later fields a default, so that tests of hooks still compile.

use std::sync::Arc;

use http::request::Parts;
use tus_core::{NewUpload, Upload, server::Operation};

use crate::cause::Cause;

macro_rules! context {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)+
        }

        impl $name {
            /// Constructs a context as the service does, for tests of an application's hooks. A field that is added later
            /// is no parameter: it has a default here.
            pub fn new($($field: $type),+) -> Self {
                Self { $($field),+ }
            }
        }
    };
}

context! {
    /// Whether an operation is allowed: see [`Hooks::authorize`](super::Hooks::authorize).
    Authorize {
        /// The operation.
        operation: Operation,
        /// The upload, even if it has expired or can never be complete; `None` for [`Operation::Create`], and if there
        /// is no such upload.
        upload: Option<Arc<Upload>>,
        /// The head of the request, with its full path.
        request: Arc<Parts>,
    }
}

context! {
    /// An upload is about to be created: see [`Hooks::before_create`](super::Hooks::before_create).
    BeforeCreate {
        /// The upload that the client wants to create.
        upload: NewUpload,
        /// The head of the request.
        request: Arc<Parts>,
    }
}

context! {
    /// An upload is not created after all: see [`Hooks::creation_failed`](super::Hooks::creation_failed).
    CreationFailed {
        /// The upload that was to be created. Another upload may have its id.
        upload: Arc<Upload>,
        /// The head of the request.
        request: Arc<Parts>,
    }
}

context! {
    /// An upload was created: see [`Hooks::created`](super::Hooks::created).
    Created {
        /// The upload.
        upload: Arc<Upload>,
        /// The head of the request.
        request: Arc<Parts>,
    }
}

context! {
    /// An upload makes progress: see [`Hooks::progress`](super::Hooks::progress).
    Progress {
        /// The upload; the last bytes up to its offset may not be committed yet.
        upload: Arc<Upload>,
        /// The head of the request.
        request: Arc<Parts>,
    }
}

context! {
    /// An upload is complete: see [`Hooks::before_finish`](super::Hooks::before_finish).
    BeforeFinish {
        /// The upload.
        upload: Arc<Upload>,
        /// The head of the request that completed it; `None` if the server found it complete without a request.
        request: Option<Arc<Parts>>,
    }
}

context! {
    /// An upload is complete: see [`Hooks::finished`](super::Hooks::finished).
    Finished {
        /// The upload.
        upload: Arc<Upload>,
        /// The number of this attempt, from 1. Each process counts separately, and starts again after a restart.
        attempt: u32,
    }
}

context! {
    /// A client wants to delete an upload: see [`Hooks::before_terminate`](super::Hooks::before_terminate).
    BeforeTerminate {
        /// The upload.
        upload: Arc<Upload>,
        /// The head of the request.
        request: Arc<Parts>,
    }
}

context! {
    /// An upload was deleted: see [`Hooks::terminated`](super::Hooks::terminated).
    Terminated {
        /// The upload as it was.
        upload: Arc<Upload>,
        /// Why it was deleted.
        cause: Cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Shared = Arc<Upload>;

    /// Otherwise tests of applications would no longer compile.
    #[test]
    fn constructors_keep_their_parameters() {
        let _: fn(Operation, Option<Shared>, Arc<Parts>) -> Authorize = Authorize::new;
        let _: fn(NewUpload, Arc<Parts>) -> BeforeCreate = BeforeCreate::new;
        let _: fn(Shared, Arc<Parts>) -> CreationFailed = CreationFailed::new;
        let _: fn(Shared, Arc<Parts>) -> Created = Created::new;
        let _: fn(Shared, Arc<Parts>) -> Progress = Progress::new;
        let _: fn(Shared, Option<Arc<Parts>>) -> BeforeFinish = BeforeFinish::new;
        let _: fn(Shared, u32) -> Finished = Finished::new;
        let _: fn(Shared, Arc<Parts>) -> BeforeTerminate = BeforeTerminate::new;
        let _: fn(Shared, Cause) -> Terminated = Terminated::new;
    }
}
