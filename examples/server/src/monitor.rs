//! Health and metrics, at an address of their own.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::{
    sync::watch,
    time::{interval, timeout},
};
use tus_service::{ResponseBody, TIME_BUCKETS, Tus, UploadId};

use crate::{app::text, connections::Application};

const TEXT: &str = "text/plain; charset=utf-8";

/// How long the storage may take to show that it works.
const STORAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// How often what histograms have collected is put away.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Collects metrics from now on.
pub(crate) fn install() -> anyhow::Result<PrometheusHandle> {
    let times = Matcher::Suffix("_seconds".to_owned());
    let builder = PrometheusBuilder::new().set_buckets_for_metric(times, &TIME_BUCKETS)?;
    let handle = builder.install_recorder().context("metrics cannot be collected")?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut interval = interval(UPKEEP_INTERVAL);
        loop {
            interval.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

/// Says how the server is.
pub(crate) struct Monitor {
    pub(crate) tus: Tus,
    pub(crate) metrics: PrometheusHandle,
    /// How often the server was asked to stop.
    pub(crate) stops: watch::Receiver<u32>,
}

impl Monitor {
    async fn ready(&self) -> Result<(), String> {
        if *self.stops.borrow() > 0 {
            return Err("the server is stopping\n".to_owned());
        }
        // Whether there is such an upload does not matter.
        let found = timeout(STORAGE_TIMEOUT, self.tus.find(&UploadId::from_random(0))).await;
        match found {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("the storage fails: {error}\n")),
            Err(_) => Err("the storage does not answer\n".to_owned()),
        }
    }
}

impl Application for Arc<Monitor> {
    async fn respond(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD are possible here\n");
        }
        match request.uri().path() {
            "/healthz" => text(StatusCode::OK, TEXT, "ok\n"),
            "/readyz" => match self.ready().await {
                Ok(()) => text(StatusCode::OK, TEXT, "ready\n"),
                Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, TEXT, reason),
            },
            "/metrics" => text(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", self.metrics.render()),
            _ => text(StatusCode::NOT_FOUND, TEXT, "/healthz, /readyz and /metrics are here\n"),
        }
    }
}
