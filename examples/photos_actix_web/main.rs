//! cargo run --release --example photos_actix_web
//!
//! A handler that knows nothing about uploads, made resumable: any content at /backup. A client of the IETF's draft
//! that starts with a part of its content resumes where it stopped; curl works as before: `curl -T a.jpg
//! :8080/backup`

use actix_web::{App, HttpServer, error::PayloadError, web};
use actix_web_tus::Tus;
use example_shared::{Failed, GRACE, Settings, stopped};
use futures_util::TryStreamExt;

async fn backup(content: web::Payload) -> Result<String, PayloadError> {
    let bytes = content.try_fold(0, async |bytes, piece| Ok(bytes + piece.len())).await?;
    Ok(format!("{bytes} bytes\n"))
}

#[actix_web::main]
async fn main() -> Result<(), Failed> {
    example_shared::log();
    let settings = Settings::from_env()?;

    let tus = Tus::builder_shared(settings.open().await?).config(settings.config).build();
    let resumable = actix_web_tus::resumable(tus.clone());
    let app = move || {
        let handlers = web::resource("/backup").route(web::post().to(backup)).route(web::put().to(backup));
        App::new().service(handlers.wrap(resumable.clone()))
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
