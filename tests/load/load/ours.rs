//! Our servers, as in the quick starts of the README.

use std::{error::Error, net::TcpListener};

use tests::{Framework, MOUNT};
use tus_service::Tus;

pub(crate) async fn serve(framework: Framework, listener: TcpListener, tus: Tus) -> Result<(), Box<dyn Error>> {
    listener.set_nonblocking(true)?;
    match framework {
        Framework::Axum => {
            let app = axum::Router::new().merge(axum_tus::router(MOUNT, tus));
            axum::serve(tokio::net::TcpListener::from_std(listener)?, app).await?;
        }
        Framework::ActixWeb => {
            let app = move || actix_web::App::new().service(actix_web_tus::scope(MOUNT, tus.clone()));
            actix_web::HttpServer::new(app).workers(2).disable_signals().listen(listener)?.run().await?;
        }
        Framework::Warp => {
            use warp::Filter;
            let app = warp::path(MOUNT.trim_start_matches('/')).and(warp_tus::filter(tus));
            warp::serve(app).incoming(tokio::net::TcpListener::from_std(listener)?).run().await;
        }
    }
    Ok(())
}
