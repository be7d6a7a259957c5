//! cargo run --release --example actix_web
//!
//! A server for resumable uploads: the endpoint at /files, and a page to upload from at /.

use actix_web::{App, HttpServer, web};
use actix_web_tus::Tus;
use example_shared::{Failed, GRACE, PAGE, Settings, stopped};

#[actix_web::main]
async fn main() -> Result<(), Failed> {
    example_shared::log();
    let settings = Settings::from_env()?;

    let storage = settings.open().await?;
    let tus = Tus::builder_shared(storage).config(settings.config).build();
    let files = tus.clone();
    let app = move || {
        let page = web::get().to(async || web::Html::new(PAGE));
        App::new().route("/", page).service(actix_web_tus::scope("/files", files.clone()))
    };

    let server = HttpServer::new(app).disable_signals().shutdown_timeout(GRACE.as_secs()).bind(&settings.address)?;
    for address in server.addrs() {
        eprintln!("listening on http://{address}");
    }
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(async move {
        stopped(tus).await;
        handle.stop(true).await;
    });
    Ok(server.await?)
}
