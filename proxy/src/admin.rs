//! The admin SQL port: `SHOW SERVERS`, `SELECT … FROM sessions`, `EXPLAIN ROUTE …` from any MySQL client.
//!
//! It reads snapshots and asks the data path over its channels; it never holds anything of theirs.

pub mod view;

mod audit;
mod command;
mod connection;
mod dialect;
mod digests;
mod login;
mod prepared;
mod rights;
pub(crate) mod show;
mod sql;
mod stream;
mod table;
mod tables;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::configurator::Configurator;
use crate::net::tls::Acceptor;
use crate::{failover, topology};
use audit::Audit;
use connection::Shared;
use view::DataPath;

/// Most admin connections at once: an operator, some dashboards, and room for those that try passwords.
const MAX_CONNECTIONS: usize = 32;
/// Pause after a failed accept: it fails at once again while file descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Too many connections, as the servers say it.
const TOO_MANY: (u16, &[u8; 5]) = (1040, b"08004");

/// The admin port, bound and not yet serving.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
}

impl Admin {
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener })
    }

    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` becomes true or its sender is gone; then open connections are closed.
    pub async fn run(
        self,
        configurator: Arc<Configurator>,
        tls: Arc<Acceptor>,
        topology: topology::Shared,
        data: Arc<dyn DataPath>,
        failover: Option<failover::Handle>,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let shared = Arc::new(Shared {
            configurator,
            audit: Audit::default(),
            tls,
            topology,
            data,
            failover,
        });
        tokio::select! {
            () = accept(&self.listener, &shared) => {}
            // An error means that nobody is left who could ask for the end: that is one.
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
    }
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Dropped with this future, and its tasks with it.
    let mut connections = JoinSet::new();
    let mut id: u32 = 0;
    loop {
        while let Some(ended) = connections.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "admin connection failed");
            }
        }
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "admin port can't accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            refuse(stream, peer);
            continue;
        };
        id = id.wrapping_add(1);
        connections.spawn(connection(Arc::clone(shared), id, peer, stream, permit));
    }
}

/// One connection as a task of its own: a panic in it ends this connection and no other.
async fn connection(
    shared: Arc<Shared>,
    id: u32,
    peer: SocketAddr,
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
) {
    // A reply is one write, so there is nothing for Nagle's algorithm to gather.
    let _ = stream.set_nodelay(true);
    if let Err(error) = connection::serve(shared, id, peer, stream).await {
        tracing::info!(%peer, %error, "admin connection ended");
    }
}

/// Says why, if the socket takes it at once, and closes.
fn refuse(stream: TcpStream, peer: SocketAddr) {
    tracing::warn!(%peer, "too many admin connections");
    let packet = stream::error_packet(0, TOO_MANY, "Too many connections to Tandem's admin port");
    // The socket stays non-blocking, so this can't wait.
    let _ = stream.into_std().and_then(|mut stream| stream.write(&packet));
}

#[cfg(test)]
mod tests;
