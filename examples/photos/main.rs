//! cargo run --release --example photos
//!
//! Two handlers that know nothing about uploads, made resumable: a form at /photos, and any content at /backup. An
//! iPhone's upload to them resumes where it stopped; curl works as before: `curl -F title=Sunset -F photo=@a.jpg
//! :8080/photos`

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Multipart, multipart::MultipartError},
    routing::post,
};
use axum_tus::{Informed, Informing, Tus};
use example_shared::{Failed, Settings};
use futures_util::TryStreamExt;

async fn photos(mut form: Multipart) -> Result<String, MultipartError> {
    let mut text = String::new();
    while let Some(mut field) = form.next_field().await? {
        let name = field.file_name().or(field.name()).unwrap_or_default().to_owned();
        let mut bytes = 0;
        while let Some(piece) = field.chunk().await? {
            bytes += piece.len();
        }
        text.push_str(&format!("{name}: {bytes} bytes\n"));
    }
    Ok(text)
}

async fn backup(content: Body) -> Result<String, String> {
    let bytes = content.into_data_stream().try_fold(0, async |bytes, piece| Ok(bytes + piece.len())).await;
    Ok(format!("{} bytes\n", bytes.map_err(|error| error.to_string())?))
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    example_shared::log();
    let settings = Settings::from_env()?;

    let tus = Tus::builder_shared(settings.open().await?).config(settings.config).build();
    let app = Router::new()
        .route("/photos", axum_tus::resumable(tus.clone(), post(photos)))
        .route("/backup", axum_tus::resumable(tus.clone(), post(backup).put(backup)))
        .layer(DefaultBodyLimit::disable());

    // Clients that send everything at once learn about their upload before its end.
    let listener = Informing(tokio::net::TcpListener::bind(&settings.address).await?);
    eprintln!("listening on http://{}", listener.0.local_addr()?);
    let app = app.into_make_service_with_connect_info::<Informed>();
    let server = |stop| axum::serve(listener, app).with_graceful_shutdown(stop);
    Ok(example_shared::serve(tus, server).await.transpose().map(drop)?)
}
