//! Interim responses over a Unix socket.
#![cfg(all(unix, feature = "interim"))]
#![allow(clippy::unwrap_used)] // a test that cannot continue fails

use axum::{Router, routing::post};
use axum_tus::{Informed, Informing, Memory, Tus};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream, unix},
};

#[tokio::test]
async fn a_client_of_a_unix_socket_is_informed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let tus = Tus::builder(Memory::new()).build();
    let photos = axum_tus::resumable(tus.clone(), post(async || ()));
    let app = Router::new().route("/photos", photos).merge(axum_tus::router("/files", tus));
    let app = app.into_make_service_with_connect_info::<Informed<unix::SocketAddr>>();
    let listener = Informing(UnixListener::bind(&path).unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    for target in ["/files", "/photos"] {
        let mut client = UnixStream::connect(&path).await.unwrap();
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: a\r\ncontent-length: 2000000\r\nupload-complete: ?1\r\n\
             upload-draft-interop-version: 6\r\n\r\n"
        );
        client.write_all(head.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        client.read_exact(&mut status).await.unwrap();
        assert_eq!(status, *b"HTTP/1.1 104");
    }
}
