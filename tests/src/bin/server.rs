//! A server in a separate process that tests can kill: `server FRAMEWORK STORE DIRECTORY [PORT]`.
//!
//! It prints a line `listening on ADDRESS`, and a line `finished ID` for each finished upload, in no order; with
//! `HANG_IN_FINISHED` set, it then hangs in the hook. `DOWNLOADS` turns downloads on, and `DOWNLOAD_TIMEOUT_MS` sets
//! how long a client may read nothing of one. It shuts down gracefully when its standard input is closed.

use std::{error::Error, io::Read, net::TcpListener, time::Duration};

use tests::{Framework, Interim, Store, serve};
use tokio::sync::oneshot;
use tus_service::{Algorithm, Config, Download, Tus};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [framework, store, directory, rest @ ..] = &arguments[..] else {
        return Err("usage: server FRAMEWORK STORE DIRECTORY [PORT]".into());
    };
    let framework: Framework = framework.parse()?;
    let store: Store = store.parse()?;
    let port: u16 = rest.first().map_or(Ok(0), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let (stop, stopped) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = stop.send(());
    });
    let hangs = std::env::var_os("HANG_IN_FINISHED").is_some();
    let mut config = Config::default().checksums([Algorithm::Sha256]);
    if std::env::var_os("DOWNLOADS").is_some() {
        config = config.download(Download::attachment());
    }
    let mut builder = Tus::builder_shared(store.open(directory.as_ref())?).config(config);
    if let Ok(milliseconds) = std::env::var("DOWNLOAD_TIMEOUT_MS") {
        builder = builder.download_timeout(Duration::from_millis(milliseconds.parse()?));
    }
    let builder = builder.finished(move |cx| async move {
        println!("finished {}", cx.upload.id);
        if hangs {
            std::future::pending::<()>().await;
        }
        Ok::<_, std::io::Error>(())
    });
    let tus = builder.build();
    println!("listening on {}", listener.local_addr()?);
    Ok(serve(framework, listener, tus, Interim::On, stopped).await?)
}
