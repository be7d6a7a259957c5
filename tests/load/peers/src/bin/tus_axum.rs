//! Serves uploads with tus-axum: DIRECTORY ADDRESS.

use std::{error::Error, path::PathBuf};

use tus_axum::{RouterOptions, TusState, create_router};
use tus_protocol::{
    Config, Extension, NoopHookExecutor, ProtocolHandle, locking::memory::MemoryLocker, state::file::FileStateStore,
    storage::file::FileStorage,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(directory), Some(address)) = (arguments.next().map(PathBuf::from), arguments.next()) else {
        return Err("tus-axum DIRECTORY ADDRESS".into());
    };
    // Everything that would make it wait for the end of a body is off.
    let config = Config::all_extensions().without_extension(Extension::ChecksumTrailer).with_base_path("/files");
    let protocol = ProtocolHandle::new(
        config,
        FileStorage::new(directory.join("data")).await?,
        FileStateStore::new(directory.join("state")).await?,
        MemoryLocker::new(),
        NoopHookExecutor::new(),
    );
    let router = create_router(TusState::new(protocol), RouterOptions::default())?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    Ok(axum::serve(listener, router).await?)
}
