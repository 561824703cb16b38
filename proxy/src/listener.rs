//! Accepts clients and hands each to the worker that has the fewest.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::worker::remote::Remote;

/// Connections the kernel keeps ready for us to accept; a burst of page requests is larger than the usual 128.
const BACKLOG: i32 = 4096;

/// Pause after an accept that failed for lack of files or memory, so that the loop does not spin.
const PAUSE: Duration = Duration::from_millis(50);

/// The bound socket, before anybody is served.
pub struct Listener {
    socket: TcpListener,
}

impl Listener {
    /// Binds `address`; must be called on the runtime that will accept.
    ///
    /// # Errors
    /// As the operating system says, for instance that the address is in use.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Self {
            socket: TcpListener::from_std(socket.into())?,
        })
    }

    /// # Errors
    /// As the operating system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts until `stop` says otherwise. A client over `limit` is told 1040 and closed.
    pub async fn accept(self, workers: &[Remote], limit: usize, mut stop: watch::Receiver<bool>) {
        let ids = Ids::default();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((socket, address)) => give(workers, limit, &ids, socket, address),
                Err(error) => {
                    tracing::warn!("a client could not be accepted: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

fn give(workers: &[Remote], limit: usize, ids: &Ids, socket: tokio::net::TcpStream, address: SocketAddr) {
    let all: usize = workers.iter().map(Remote::sessions).sum();
    if all >= limit {
        tracing::warn!(%address, limit, "client refused: listener.max_connections is reached");
        refuse(&socket, limit);
        return;
    }
    let least = workers.iter().min_by_key(|worker| worker.sessions());
    match (least, socket.into_std()) {
        (Some(worker), Ok(socket)) => worker.take(socket, address, ids.next()),
        (_, Err(error)) => tracing::warn!(%address, "client lost: {error}"),
        (None, _) => tracing::error!("there are no workers"),
    }
}

/// A fresh socket's buffer takes the few bytes; if it doesn't, closing says it too.
fn refuse(socket: &tokio::net::TcpStream, limit: usize) {
    let _ = socket.try_write(&crate::session::too_many_connections(limit));
}

/// Connection ids as clients see them: unique while Tandem runs, never 0.
#[derive(Default)]
struct Ids {
    last: AtomicU32,
}

impl Ids {
    fn next(&self) -> u32 {
        loop {
            let id = self.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if id != 0 {
                return id;
            }
        }
    }
}
