//! cargo run --release --example poem
//!
//! Another framework, through tower: the endpoint at /files of a poem application, and a page to upload from at /.

use example_shared::{Failed, GRACE, PAGE, Settings, stopped};
use poem::{
    Route, Server,
    endpoint::TowerCompatExt,
    get, handler,
    listener::{Acceptor, Listener, TcpListener},
    web::Html,
};
use tus_service::{Mount, Tus};

#[handler]
fn page() -> Html<&'static str> {
    Html(PAGE)
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    example_shared::log();
    let settings = Settings::from_env()?;
    let tus = Tus::builder_shared(settings.open().await?).config(settings.config).build();

    // `no_strip`: the service sees the full path, which `Location` repeats.
    let files = tus.service(Mount::at("/files")).compat();
    let app = Route::new().at("/", get(page)).nest_no_strip("/files", files);

    let acceptor = TcpListener::bind(settings.address).into_acceptor().await?;
    for address in acceptor.local_addr().iter().filter_map(|address| address.as_socket_addr()) {
        eprintln!("listening on http://{address}");
    }
    Ok(Server::new_with_acceptor(acceptor).run_with_graceful_shutdown(app, stopped(tus), Some(GRACE)).await?)
}
