//! Accepts clients and hands each to the worker that has the fewest.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use crate::config::Config;
use crate::net::address::Accepted;
use crate::quota::{Clients, Quotas};
use crate::session::registry::FIRST_ID;
use crate::worker::remote::Remote;

/// Connections the kernel keeps ready for us to accept; a burst of page requests is larger than the usual 128.
const BACKLOG: i32 = 4096;

/// Pause after an accept that failed for lack of files or memory, so that the loop does not spin.
const PAUSE: Duration = Duration::from_millis(50);

/// Whoever may reach the Unix socket's folder may connect, as with the servers' own: the password decides.
const SOCKET_MODE: u32 = 0o777;

/// The bound sockets, before anybody is served.
pub struct Listener {
    tcp: TcpListener,
    unix: Option<Unix>,
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
            tcp: TcpListener::from_std(socket.into())?,
            unix: None,
        })
    }

    /// Binds a Unix socket beside the address. One that a Tandem left behind which was killed is taken over.
    ///
    /// # Errors
    /// As the operating system says; `AddrInUse` when somebody listens on it, or when the path is no socket.
    pub fn bind_unix(&mut self, path: &Path) -> io::Result<()> {
        self.unix = Some(Unix::bind(path)?);
        Ok(())
    }

    /// # Errors
    /// As the operating system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Accepts until `stop` says otherwise. A client over `listener.max_connections` is told 1040 and closed.
    pub async fn accept(
        self,
        workers: &[Remote],
        config: watch::Receiver<Arc<Config>>,
        quotas: &Quotas,
        mut stop: watch::Receiver<bool>,
    ) {
        let ids = Ids::default();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept_tcp() => accepted,
                accepted = self.accept_unix() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok(accepted) => {
                    let limit = config.borrow().listener.max_connections;
                    give(workers, limit, &ids, &quotas.clients, accepted);
                }
                Err(error) => {
                    tracing::warn!("a client could not be accepted: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn accept_tcp(&self) -> io::Result<Accepted> {
        let (socket, address) = self.tcp.accept().await?;
        Ok(Accepted::Tcp(socket.into_std()?, address))
    }

    async fn accept_unix(&self) -> io::Result<Accepted> {
        let Some(unix) = &self.unix else {
            return pending().await;
        };
        let (socket, _) = unix.socket.accept().await?;
        Ok(Accepted::Unix(socket.into_std()?))
    }
}

/// A bound Unix socket; its file goes with it.
struct Unix {
    socket: UnixListener,
    path: PathBuf,
}

impl Unix {
    fn bind(path: &Path) -> io::Result<Self> {
        let is_socket = std::fs::symlink_metadata(path).is_ok_and(|about| about.file_type().is_socket());
        // Refused means that nobody listens on it any more.
        let is_left_over = is_socket
            && std::os::unix::net::UnixStream::connect(path)
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if is_left_over {
            std::fs::remove_file(path)?;
        }
        let socket = UnixListener::bind(path)?;
        let path = path.to_owned();
        let bound = Self { socket, path };
        std::fs::set_permissions(&bound.path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
        Ok(bound)
    }
}

impl Drop for Unix {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn give(workers: &[Remote], limit: usize, ids: &Ids, clients: &Clients, accepted: Accepted) {
    let all: usize = workers.iter().map(Remote::sessions).sum();
    if all >= limit {
        let address = accepted.peer();
        clients.refuse();
        tracing::warn!(%address, limit, "client refused: listener.max_connections is reached");
        accepted.refuse(&crate::session::too_many_connections(limit));
        return;
    }
    clients.come_to(all + 1);
    match workers.iter().min_by_key(|worker| worker.sessions()) {
        Some(worker) => worker.take(accepted, ids.next()),
        None => tracing::error!("there are no workers"),
    }
}

/// Connection ids as clients see them: unique among a billion, and none that a server has given out. So a `KILL` can
/// tell them from the servers' own, which clients read from `CONNECTION_ID()` and the process list.
#[derive(Default)]
struct Ids {
    last: AtomicU32,
}

impl Ids {
    fn next(&self) -> u32 {
        let number = self.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        FIRST_ID | (number & (FIRST_ID - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_file_is_taken_over_only_where_nobody_listens() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tandem.sock");
        let first = Unix::bind(&path).expect("bound");
        let second = Unix::bind(&path).err().map(|error| error.kind());
        assert_eq!(second, Some(io::ErrorKind::AddrInUse), "somebody listens");
        drop(first);
        assert!(!path.exists(), "its file goes with it");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        assert!(path.exists(), "left behind, as by a kill");
        drop(Unix::bind(&path).expect("taken over"));
        std::fs::write(&path, "somebody's notes").expect("written");
        assert!(Unix::bind(&path).is_err(), "a file that is no socket stays");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "somebody's notes");
    }
}
