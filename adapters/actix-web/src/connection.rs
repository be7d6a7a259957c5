//! Connections that can be closed below actix-web.

use std::{any::Any, net::Shutdown, sync::Arc};

use actix_web::{HttpRequest, dev::Extensions, rt::net::TcpStream};
use socket2::{SockRef, Socket};
use tus_service::CloseConnection;

/// The socket of a connection, once more.
struct Connection(Arc<Socket>);

/// Lets a connection be closed where the client of a download reads nothing for too long
/// ([`Builder::download_timeout`](crate::Builder::download_timeout)): actix-web itself waits for such a client for ever,
/// with what it has buffered. For [`HttpServer::on_connect`](actix_web::HttpServer::on_connect):
///
/// ```no_run
/// # use actix_web::{App, HttpServer};
/// # use actix_web_tus::{Memory, Tus};
/// # #[actix_web::main]
/// # async fn main() -> std::io::Result<()> {
/// # let tus = Tus::builder(Memory::new()).build();
/// let app = move || App::new().service(actix_web_tus::scope("/files", tus.clone()));
/// HttpServer::new(app).on_connect(actix_web_tus::on_connect).bind("127.0.0.1:8080")?.run().await
/// # }
/// ```
///
/// It does nothing for other connections than those of TCP. For TLS, write the function yourself, and
/// hand the socket below to [`closes`]. Each connection takes one file descriptor more.
pub fn on_connect(connection: &dyn Any, extensions: &mut Extensions) {
    if let Some(socket) = connection.downcast_ref::<TcpStream>() {
        closes(socket.into(), extensions);
    }
}

/// The same for the socket of a connection; `extensions` are those of the connection.
pub fn closes(socket: SockRef<'_>, extensions: &mut Extensions) {
    // Where descriptors run out, the connection itself is there all the same.
    if let Ok(socket) = socket.try_clone() {
        extensions.insert(Connection(Arc::new(socket)));
    }
}

/// What closes the connection of a request. It keeps no socket open, since it may outlive the connection.
pub(crate) fn close(request: &HttpRequest) -> Option<CloseConnection> {
    let Connection(socket) = request.conn_data()?;
    let socket = Arc::downgrade(socket);
    let close = move || socket.upgrade().map(|socket| socket.shutdown(Shutdown::Both));
    Some(CloseConnection::new(move || drop(close())))
}
