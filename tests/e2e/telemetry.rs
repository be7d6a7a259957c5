//! OpenTelemetry with the crates and the exporter of the guide's listing.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::mpsc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};
use tus_service::{Memory, Tus};

use crate::harness::block_on;

/// Receives one request and returns its first line and its body.
fn collect(listener: &TcpListener) -> (String, Vec<u8>) {
    let mut stream = BufReader::new(listener.accept().unwrap().0);
    let (mut first, mut length) = (String::new(), 0);
    stream.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    (first, body)
}

/// The batch processor exports in a thread without a runtime.
#[test]
fn spans_of_requests_reach_a_collector() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/v1/traces", collector.local_addr().unwrap());
    let (sender, collected) = mpsc::channel();
    thread::spawn(move || sender.send(collect(&collector)));

    let exporter = SpanExporter::builder().with_http().with_endpoint(endpoint).build().unwrap();
    let resource = Resource::builder().with_service_name("uploads").build();
    let provider = SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("uploads"));
    let subscribed = tracing_subscriber::registry().with(layer).set_default();
    block_on(async {
        let tus = Tus::builder(Memory::new()).background(false).build();
        let create = Request::post("/files").header("tus-resumable", "1.0.0").header("upload-length", 5);
        let response =
            tus.handle(create.body(Full::<Bytes>::default()).unwrap(), &tus_service::Mount::at("/files")).await;
        assert_eq!(response.status(), 201);
    });
    drop(subscribed);
    provider.shutdown().unwrap();

    let (first, body) = collected.recv_timeout(Duration::from_secs(60)).expect("a request within a minute");
    assert!(first.starts_with("POST /v1/traces "), "{first}");
    let text = String::from_utf8_lossy(&body);
    for expected in ["service.name", "uploads", "tus", "method", "POST", "created"] {
        assert!(text.contains(expected), "{expected} is missing in {text:?}");
    }
}
