//! Interim responses through proxies: those that forward them immediately, and one that must not see any.

use std::{
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tests::{Framework, Store};
use tus_service::Config;

use crate::{
    content::{assert_same, bytes},
    harness::{Server, free_address, missing, wait_until},
    urlsession::{UrlSession, VERSIONS},
};

const LENGTH: u64 = (1 << 20) + 3;
const SENT: u64 = 300_000;

const HAPROXY: &str = "
defaults
    mode http
    option forwardfor
    timeout connect 60s
    timeout client 60s
    timeout server 60s
listen uploads
    bind PROXY
    server application SERVER
";

const CADDY: &str = "
{
    admin off
}
http://:PORT {
    bind 127.0.0.1
    reverse_proxy SERVER
}
";

const NGINX: &str = "
daemon off;
pid nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path client_body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {
        listen PROXY;
        location / {
            proxy_pass http://SERVER;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            client_max_body_size 0;
            proxy_set_header X-Forwarded-For $remote_addr;
        }
    }
}
";

/// A proxy in front of a server. It is stopped when this is dropped.
struct Proxy {
    child: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Proxy {
    /// `None` if there is no such program.
    fn start(program: &str, arguments: &[&str], configuration: &str, server: SocketAddr) -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let address = free_address();
        let configuration = configuration.replace("PROXY", &address.to_string());
        let configuration = configuration.replace("PORT", &address.port().to_string());
        let configuration = configuration.replace("SERVER", &server.to_string());
        std::fs::write(directory.path().join("configuration"), configuration).unwrap();
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new(program);
        command.env("PATH", path).env("HOME", directory.path()).current_dir(directory.path()).args(arguments);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let proxy = Self { child, address, _directory: directory };
        wait_until(|| TcpStream::connect(address).is_ok());
        Some(proxy)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // A master stops its workers, which a kill would leave behind.
        if Command::new("kill").arg(self.child.id().to_string()).status().is_ok() {
            let _ = self.child.wait();
        }
    }
}

fn passes_interim_responses(program: &str, arguments: &[&str], configuration: &str) {
    let server = Server::new(Framework::Axum, Store::Buffered);
    let started = server.start_informing(|builder| builder.config(Config::default().interim_through_proxies()));
    let Some(proxy) = Proxy::start(program, arguments, configuration, started.running.address) else {
        missing(&format!("{program} is not installed"));
    };
    for version in VERSIONS {
        let session = UrlSession::new(version, proxy.address);
        let seed = u64::from(version);
        let mut connection = session.connect();
        let headers = [session.complete(true), ("Content-Length", &*LENGTH.to_string())];
        connection.send(&[session.head("POST", tests::MOUNT, &headers), bytes(seed, 0..SENT)].concat());
        let interim = connection.any_response("POST").unwrap();
        assert_eq!(interim.status, 104, "{program}: {interim:?}");
        let path = interim.header("location").to_owned();
        wait_until(|| started.upload(&path).is_some_and(|upload| upload.offset == SENT));
        connection.finish();
        assert_eq!(session.state(&path).offset(), SENT);
        let done = session.append(&path, SENT, true, &bytes(seed, SENT..LENGTH));
        assert_eq!((done.status, session.is_complete(&done)), (201, true), "{program}");
        assert_same(&started.content(&path), &bytes(seed, 0..LENGTH));
    }
}

#[test]
#[cfg_attr(not(has_haproxy), ignore = "haproxy is not installed")]
fn haproxy_forwards_interim_responses() {
    passes_interim_responses("haproxy", &["-f", "configuration"], HAPROXY);
}

#[test]
#[cfg_attr(not(has_caddy), ignore = "caddy is not installed")]
fn caddy_forwards_interim_responses() {
    passes_interim_responses("caddy", &["run", "--config", "configuration", "--adapter", "caddyfile"], CADDY);
}

/// nginx mistakes an interim response for the final one: by default none is sent through a proxy.
#[test]
#[cfg_attr(not(has_nginx), ignore = "nginx is not installed")]
fn no_interim_response_is_sent_through_nginx() {
    let server = Server::new(Framework::Axum, Store::Buffered);
    let started = server.start_informing(|builder| builder);
    let arguments = ["-p", ".", "-c", "configuration", "-e", "stderr"];
    let Some(proxy) = Proxy::start("nginx", &arguments, NGINX, started.running.address) else {
        missing("nginx is not installed");
    };
    for version in VERSIONS {
        let session = UrlSession::new(version, proxy.address);
        let content = bytes(version.into(), 0..LENGTH);
        let done = session.request("POST", tests::MOUNT, &[session.complete(true)], &content);
        assert_eq!((done.status, session.is_complete(&done)), (201, true));
        assert_same(&started.content(done.header("location")), &content);
    }
}
