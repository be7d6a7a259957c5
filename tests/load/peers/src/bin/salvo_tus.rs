//! Serves uploads with salvo-tus: DIRECTORY ADDRESS.

use std::error::Error;

use salvo::{
    prelude::*,
    tus::{Tus, options::MaxSize},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(directory), Some(address)) = (arguments.next(), arguments.next()) else {
        return Err("salvo-tus DIRECTORY ADDRESS".into());
    };
    // It rejects more than 2 GiB by default.
    let tus = Tus::new().path("/files").storage_root(directory).max_size(MaxSize::Fixed(1 << 40));
    let router = Router::new().push(tus.into_router());
    Server::new(TcpListener::new(address).bind().await).serve(router).await;
    Ok(())
}
