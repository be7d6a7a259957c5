//! cargo run --release --example hyper
//!
//! A server for resumable uploads without a framework: the endpoint at /files, and a page to upload from at /.

use std::{convert::Infallible, pin::pin, time::Duration};

use example_shared::{Failed, GRACE, PAGE, Settings, stopped};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tus_service::{Mount, ResponseBody, Tus};

fn page() -> Response<ResponseBody> {
    let mut response = Response::new(Bytes::from_static(PAGE.as_bytes()).into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    example_shared::log();
    let settings = Settings::from_env()?;

    let storage = settings.open().await?;
    let tus = Tus::builder_shared(storage).config(settings.config).build();
    let files = TowerToHyperService::new(tus.service(Mount::at("/files")));
    let app = service_fn(move |request: Request<Incoming>| {
        let files = files.clone();
        async move {
            match request.uri().path() {
                "/" => Ok::<_, Infallible>(page()),
                _ => files.call(request).await,
            }
        }
    });

    let listener = tokio::net::TcpListener::bind(&settings.address).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let (server, connections) = (auto::Builder::new(TokioExecutor::new()), GracefulShutdown::new());
    let mut stopped = pin!(stopped(tus));
    loop {
        let accepted = tokio::select! { accepted = listener.accept() => accepted, () = &mut stopped => break };
        match accepted {
            Ok((stream, _)) => {
                let connection = server.serve_connection(TokioIo::new(stream), app.clone()).into_owned();
                tokio::spawn(connections.watch(connection));
            }
            // When descriptors run out, they become free again.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    // Clients may keep their connections open for as long as they like.
    let _ = tokio::time::timeout(GRACE, connections.shutdown()).await;
    Ok(())
}
