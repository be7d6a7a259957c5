//! The limit: servers that write each piece of a body to a file immediately, and do nothing else. They neither check
//! nor remember anything, and nothing that they acknowledge is durable.

use std::{
    error::Error,
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::{Stream, StreamExt};
use tests::{Framework, MOUNT};

/// The files, by number.
#[derive(Clone)]
struct Files {
    directory: Arc<PathBuf>,
    next: Arc<AtomicU64>,
}

/// Status, `Location` and `Upload-Offset`.
type Answer = (u16, String, u64);

impl Files {
    fn create(&self) -> io::Result<Answer> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        File::create(self.directory.join(number.to_string()))?;
        Ok((201, format!("{MOUNT}/{number}"), 0))
    }

    async fn append<E>(
        &self,
        name: &str,
        offset: u64,
        mut body: impl Stream<Item = Result<bytes::Bytes, E>> + Unpin,
    ) -> io::Result<Answer> {
        let mut file = OpenOptions::new().write(true).open(self.directory.join(name))?;
        file.seek(SeekFrom::Start(offset))?;
        let mut end = offset;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|_| io::ErrorKind::UnexpectedEof)?;
            file.write_all(&piece)?;
            end += piece.len() as u64;
        }
        Ok((204, String::new(), end))
    }

    fn inspect(&self, name: &str) -> io::Result<Answer> {
        Ok((200, String::new(), self.directory.join(name).metadata()?.len()))
    }
}

pub(crate) async fn serve(framework: Framework, listener: TcpListener, directory: &Path) -> Result<(), Box<dyn Error>> {
    listener.set_nonblocking(true)?;
    let directory = directory.join("uploads");
    std::fs::create_dir_all(&directory)?;
    let files = Files { directory: Arc::new(directory), next: Arc::default() };
    match framework {
        Framework::Axum => serve_axum(listener, files).await,
        Framework::ActixWeb => serve_actix_web(listener, files).await,
        Framework::Warp => serve_warp(listener, files).await,
    }
}

async fn serve_axum(listener: TcpListener, files: Files) -> Result<(), Box<dyn Error>> {
    use axum::{
        Router,
        body::Body,
        extract::{Path, State},
        http::{HeaderMap, Response},
        routing::{patch, post},
    };
    fn response(answer: io::Result<Answer>) -> Response<Body> {
        let (status, location, offset) = answer.unwrap_or((500, String::new(), 0));
        let response = Response::builder().status(status).header("location", location).header("upload-offset", offset);
        response.body(Body::empty()).unwrap_or_default()
    }
    let append = async |State(files): State<Files>, Path(name): Path<String>, headers: HeaderMap, body: Body| {
        response(
            files
                .append(
                    &name,
                    offset(headers.get("upload-offset").map(|value| value.as_bytes())),
                    body.into_data_stream(),
                )
                .await,
        )
    };
    let inspect = async |State(files): State<Files>, Path(name): Path<String>| response(files.inspect(&name));
    let app = Router::new()
        .route(MOUNT, post(async |State(files): State<Files>| response(files.create())))
        .route(&format!("{MOUNT}/{{name}}"), patch(append).head(inspect))
        .with_state(files);
    Ok(axum::serve(tokio::net::TcpListener::from_std(listener)?, app).await?)
}

async fn serve_actix_web(listener: TcpListener, files: Files) -> Result<(), Box<dyn Error>> {
    use actix_web::{App, HttpRequest, HttpResponse, HttpServer, http::StatusCode, web};
    fn response(answer: io::Result<Answer>) -> HttpResponse {
        let (status, location, offset) = answer.unwrap_or((500, String::new(), 0));
        let status = StatusCode::from_u16(status).unwrap_or_default();
        HttpResponse::build(status)
            .insert_header(("location", location))
            .insert_header(("upload-offset", offset))
            .finish()
    }
    let app = move || {
        let append =
            async |files: web::Data<Files>, name: web::Path<String>, request: HttpRequest, body: web::Payload| {
                let offset = offset(request.headers().get("upload-offset").map(|value| value.as_bytes()));
                response(files.append(&name, offset, body).await)
            };
        let inspect = async |files: web::Data<Files>, name: web::Path<String>| response(files.inspect(&name));
        let one =
            web::resource(format!("{MOUNT}/{{name}}")).route(web::patch().to(append)).route(web::head().to(inspect));
        App::new()
            .app_data(web::Data::new(files.clone()))
            .route(MOUNT, web::post().to(async |files: web::Data<Files>| response(files.create())))
            .service(one)
    };
    Ok(HttpServer::new(app).workers(2).disable_signals().listen(listener)?.run().await?)
}

async fn serve_warp(listener: TcpListener, files: Files) -> Result<(), Box<dyn Error>> {
    use warp::{Filter, http::Response};
    fn response(answer: io::Result<Answer>) -> Response<&'static str> {
        let (status, location, offset) = answer.unwrap_or((500, String::new(), 0));
        let response = Response::builder().status(status).header("location", location).header("upload-offset", offset);
        response.body("").unwrap_or_default()
    }
    let mount = warp::path(MOUNT.trim_start_matches('/'));
    let (creates, appends, inspects) = (files.clone(), files.clone(), files);
    let create = mount.and(warp::path::end()).and(warp::post()).map(move || response(creates.create()));
    let name = || mount.and(warp::path::param::<String>());
    let append = name().and(warp::patch()).and(warp::header::<u64>("upload-offset")).and(warp::body::stream()).then(
        move |name: String, offset: u64, body| {
            let files = appends.clone();
            async move {
                let body = Box::pin(body);
                let pieces = StreamExt::map(body, |piece: Result<_, warp::Error>| piece.map(copied));
                response(files.append(&name, offset, pieces).await)
            }
        },
    );
    let inspect = name().and(warp::head()).map(move |name: String| response(inspects.inspect(&name)));
    let listener = tokio::net::TcpListener::from_std(listener)?;
    warp::serve(create.or(append).or(inspect)).incoming(listener).run().await;
    Ok(())
}

fn copied(mut piece: impl bytes::Buf) -> bytes::Bytes {
    let length = piece.remaining();
    piece.copy_to_bytes(length)
}

fn offset(value: Option<&[u8]>) -> u64 {
    value.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok()).unwrap_or(0)
}
