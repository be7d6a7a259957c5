//! Resumable routes of an axum application: forms, state, nesting, layers, limits.
#![allow(clippy::unwrap_used)] // a test that cannot continue fails

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{DefaultBodyLimit, Extension, Multipart, OriginalUri, Path, Request, State},
    http::{HeaderMap, Uri},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use axum_tus::{Memory, Resumed, Tus};
use tower_service::Service;

fn tus() -> Tus {
    Tus::builder(Memory::new()).build()
}

async fn send(app: &Router, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    app.clone().call(request.body(body.into()).unwrap()).await.unwrap()
}

/// Sends content in three requests, with these headers in the first one. Returns the last response.
async fn upload(app: &Router, path: &str, headers: &[(&str, &str)], content: &[u8]) -> Response {
    let created = send(app, "POST", path, &[headers, &[("upload-complete", "?0")]].concat(), Body::empty()).await;
    assert_eq!(created.status(), 201);
    let url = created.headers()["location"].to_str().unwrap().to_owned();
    assert!(url.starts_with(&format!("{path}?resumable-upload=")), "{url}");
    let append = async |offset: usize, complete, content: &[u8]| {
        let offset = offset.to_string();
        let headers = [
            ("upload-complete", complete),
            ("upload-offset", &*offset),
            ("content-type", "application/partial-upload"),
        ];
        send(app, "PATCH", &url, &headers, content.to_vec()).await
    };
    let half = content.len() / 2;
    assert_eq!(append(0, "?0", &content[..half]).await.status(), 204);
    let done = append(half, "?1", &content[half..]).await;
    assert_eq!(done.headers()["upload-complete"], "?1", "{done:?}");
    done
}

async fn text(response: Response) -> String {
    String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
}

const FORM: &[u8] = b"--xyz\r\ncontent-disposition: form-data; name=\"title\"\r\n\r\nSunset\r\n\
    --xyz\r\ncontent-disposition: form-data; name=\"photo\"; filename=\"a.jpg\"\r\n\r\n\x00\r\n\xff\r\n--xyz--\r\n";
const FORM_TYPE: (&str, &str) = ("content-type", "multipart/form-data; boundary=xyz");

async fn form(mut form: Multipart) -> Result<String, Response> {
    let mut text = String::new();
    while let Some(field) = form.next_field().await.map_err(IntoResponse::into_response)? {
        let (name, file) = (field.name().unwrap_or_default().to_owned(), field.file_name().map(str::to_owned));
        let content = field.bytes().await.map_err(IntoResponse::into_response)?;
        text += &format!("{name} {file:?} {content:?};");
    }
    Ok(text)
}

#[tokio::test]
async fn a_multipart_form_is_the_same_in_one_request_and_as_an_upload() {
    let app = Router::new().route("/photos", axum_tus::resumable(tus(), post(form)));
    let plain = text(send(&app, "POST", "/photos", &[FORM_TYPE], FORM).await).await;
    assert_eq!(plain, r#"title None b"Sunset";photo Some("a.jpg") b"\0\r\n\xff";"#);
    let resumed = upload(&app, "/photos", &[FORM_TYPE], FORM).await;
    assert_eq!((resumed.status().as_u16(), text(resumed).await), (200, plain));
    // The handler's own rejection of an invalid form.
    let refused = upload(&app, "/photos", &[("content-type", "text/plain")], FORM).await;
    assert_eq!(refused.status(), 400);
}

/// State, path parameters, extensions of layers, and the URLs that the handler sees.
#[tokio::test]
async fn nested_routes_keep_state_and_parameters() {
    async fn photos(
        State(state): State<&'static str>,
        Path(user): Path<String>,
        Extension(token): Extension<String>,
        resumed: Option<Extension<Resumed>>,
        (uri, OriginalUri(full)): (Uri, OriginalUri),
        headers: HeaderMap,
        content: Bytes,
    ) -> String {
        let is_resumed = resumed.is_some();
        format!("{state} {user} {token} {is_resumed} {uri} {full} {:?} {}", headers["content-length"], content.len())
    }
    let token = middleware::from_fn(async |mut request: Request, next: Next| {
        request.extensions_mut().insert("secret".to_owned());
        next.run(request).await
    });
    let album = Router::new().route("/photos", axum_tus::resumable(tus(), get(|| async { "list" }).post(photos)));
    let app: Router = Router::new().nest("/of/{user}", album).layer(token).with_state("state");
    let plain = text(send(&app, "POST", "/of/anna/photos", &[("content-length", "5")], "hello").await).await;
    assert_eq!(plain, r#"state anna secret false /photos /of/anna/photos "5" 5"#);
    let resumed = text(upload(&app, "/of/anna/photos", &[], b"hello").await).await;
    assert_eq!(resumed, r#"state anna secret true /photos /of/anna/photos "5" 5"#);
    assert_eq!(text(send(&app, "GET", "/of/anna/photos", &[], "").await).await, "list");
    let refused = send(&app, "DELETE", "/of/anna/photos", &[], "").await;
    assert_eq!((refused.status().as_u16(), refused.headers()["allow"].to_str().unwrap()), (405, "GET,HEAD,POST"));
    let options = send(&app, "OPTIONS", "/of/anna/photos", &[], "").await;
    assert_eq!(
        (options.status().as_u16(), &options.headers()["upload-limit"]),
        (204, &"min-size=1048576".parse().unwrap())
    );
    let options = send(&app, "OPTIONS", "/of/anna/photos", &[("upload-complete", "?0")], "").await;
    assert_eq!(options.headers()["upload-limit"], "min-size=1048576", "whatever headers it has");
}

/// Layers around the route see each request of an upload, and may reject it.
#[tokio::test]
async fn a_layer_around_the_route_sees_each_request() {
    let guard = middleware::from_fn(async |request: Request, next: Next| {
        match request.headers().contains_key("authorization") {
            true => next.run(request).await,
            false => axum::http::StatusCode::UNAUTHORIZED.into_response(),
        }
    });
    let app = Router::new().route("/photos", axum_tus::resumable(tus(), post(form))).layer(guard);
    let begin = [("upload-complete", "?0"), ("authorization", "Bearer x")];
    let created = send(&app, "POST", "/photos", &begin, Body::empty()).await;
    let url = created.headers()["location"].to_str().unwrap();
    for method in ["HEAD", "PATCH", "DELETE"] {
        assert_eq!(send(&app, method, url, &[], Body::empty()).await.status(), 401);
    }
    assert_eq!(send(&app, "HEAD", url, &begin[1..], Body::empty()).await.status(), 204);
    assert_eq!(send(&app, "DELETE", url, &begin[1..], Body::empty()).await.status(), 204);
}

/// axum's limit applies to what the handler reads, not to the upload: the handler's `413` is final.
#[tokio::test]
async fn the_frameworks_limit_applies_to_the_handler() {
    async fn photos(content: Bytes) -> String {
        content.len().to_string()
    }
    let limited = Router::new().route("/photos", axum_tus::resumable(tus(), post(photos)));
    let large = vec![0; 3 << 20];
    let refused = upload(&limited, "/photos", &[], &large).await;
    assert_eq!(
        (refused.status(), &refused.headers()["upload-complete"]),
        (413.try_into().unwrap(), &"?1".parse().unwrap())
    );
    let unlimited = limited.layer(DefaultBodyLimit::disable());
    let taken = upload(&unlimited, "/photos", &[], &large).await;
    assert_eq!((taken.status().as_u16(), text(taken).await), (200, "3145728".to_owned()));
}
