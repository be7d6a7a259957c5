//! Starts everything, and stops it in order.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    End,
    app::App,
    connections::Connections,
    descriptors,
    listen::{Listener, SHORTEST_SILENCE},
    monitor::{self, Monitor},
    settings::Settings,
    tls,
    webhooks::Notices,
};

/// Connections to health and metrics at once.
const PROBES: usize = 64;

/// Serves until a signal to stop.
pub(crate) async fn serve(settings: Settings) -> anyhow::Result<End> {
    // Before the storage, whose opening may take long: a signal must not end the process without cleaning up.
    let (stops, hangup) = (count_stops()?, signal(SignalKind::hangup())?);
    descriptors::take_all(settings.max_connections);
    // Before the endpoint, which describes its metrics.
    let metrics = monitor::install()?;
    let tls = settings.tls()?.map(Arc::new);
    let storage = tokio::select! {
        opened = settings.open() => opened?,
        () = stopped(stops.clone(), 1) => return Ok(End::Well),
    };
    // Before the endpoint: where a port is taken, no background work begins.
    let monitor_listener = match settings.monitor_address()? {
        Some(address) => Some(Listener::bind(&address, SHORTEST_SILENCE).await?),
        None => None,
    };
    let listener = Listener::bind(&settings.address()?, settings.download_timeout.0).await?;
    let notices = Notices::default();
    let tus = settings.attach_webhooks(settings.builder(storage)?, &notices, |_| true)?.build();

    if let Some(listener) = &monitor_listener {
        tracing::info!(address = %listener, "health and metrics");
    }
    tracing::info!(address = %listener, path = settings.path, tls = tls.is_some(), "listening");

    let app = App::new(tus.clone(), &settings.path, settings.page);
    let monitor = Arc::new(Monitor { tus: tus.clone(), metrics, stops: stops.clone() });
    let (connections, probes) = (Connections::new(settings.max_connections), Connections::new(PROBES));
    let probed = async {
        match monitor_listener {
            Some(listener) => probes.serve(&listener, None, monitor).await,
            None => std::future::pending().await,
        }
    };
    let served = async {
        tokio::select! {
            () = connections.serve(&listener, tls.clone(), app) => {}
            () = drained(stops.clone(), settings.drain.0) => {}
        }
        // No new connections from here on, and no further requests on those that there are.
        drop(listener);
        let grace = settings.grace.0;
        tokio::join!(tus.shutdown(grace), connections.close(grace));
        let _ = tokio::time::timeout(grace, notices.sent()).await;
    };
    let reloaded = async {
        tls::reload(tls.as_deref(), hangup).await;
        std::future::pending().await
    };
    tokio::select! {
        () = served => {}
        () = reloaded => {}
        () = probed => {}
        () = stopped(stops.clone(), 2) => {
            tracing::warn!("stopped at once by a second signal");
            return Ok(End::AtOnce);
        }
    }
    Ok(End::Well)
}

/// Counts SIGTERM and Ctrl-C from now on.
fn count_stops() -> io::Result<watch::Receiver<u32>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (count, counted) = watch::channel(0);
    tokio::spawn(async move {
        loop {
            tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
            count.send_modify(|count| *count += 1);
        }
    });
    Ok(counted)
}

/// Waits for so many signals to stop.
async fn stopped(mut stops: watch::Receiver<u32>, number: u32) {
    // Their counter is there as long as the runtime.
    let _ = stops.wait_for(|stops| *stops >= number).await;
}

/// Waits for the signal to stop, and then so long that load balancers notice.
async fn drained(stops: watch::Receiver<u32>, drain: Duration) {
    stopped(stops, 1).await;
    tracing::info!("stopping");
    tokio::time::sleep(drain).await;
}
