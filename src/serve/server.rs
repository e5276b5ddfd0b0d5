//! The loop that takes connections in.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::desk::Desk;
use super::guard::Doors;
use super::routes::Site;
use crate::store::RunStore;

/// More at once wait.
const CONNECTIONS: usize = 512;
/// Who says nothing for so long must not keep a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server that runs until this is dropped.
#[derive(Debug)]
pub struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Serving {
    /// Until it ends, which it does not do by itself.
    pub async fn ended(&mut self) {
        let _ = (&mut self.0).await;
    }
}

/// Serves whoever connects.
pub fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    doors: Doors,
    store: Arc<dyn RunStore>,
    desk: Arc<dyn Desk>,
) -> Serving {
    let site = Arc::new(Site::new(doors, store, desk));
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    Serving(tokio::spawn(async move {
        loop {
            // It is never closed.
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(_) => {
                    // Too many open files, say: others may end meanwhile.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (site, tls) = (Arc::clone(&site), tls.clone());
            tokio::spawn(async move {
                let _place = place;
                let _ = stream.set_nodelay(true);
                // What goes wrong on one connection is the affair of its other end.
                let _ = match tls {
                    None => connection(stream, peer, site).await,
                    Some(tls) => match timeout(PATIENCE, tls.accept(stream)).await {
                        Ok(Ok(stream)) => connection(stream, peer, site).await,
                        _ => Ok(()),
                    },
                };
            });
        }
    }))
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    site: Arc<Site>,
) -> Result<(), hyper::Error> {
    let service = service_fn(move |request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, io::Error>(site.answer(request, peer).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_headers(64);
    http.serve_connection(TokioIo::new(stream), service).await
}
