//! Where servers are, and where clients come from: over TCP, or through a Unix socket.

use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    Tcp(SocketAddr),
    Unix(Arc<Path>),
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Where a client comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    Tcp(SocketAddr),
    /// A Unix socket of this machine.
    Local,
}

impl Peer {
    /// As accounts name it: the address, or `localhost`.
    pub fn host(self) -> String {
        match self {
            // What is bound to [::] sees clients over IPv4 as ::ffff:192.0.2.1.
            Self::Tcp(address) => address.ip().to_canonical().to_string(),
            Self::Local => "localhost".to_owned(),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Local => f.write_str("local socket"),
        }
    }
}

/// A client that was accepted, before it is on the runtime of its worker.
#[derive(Debug)]
pub enum Accepted {
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

impl Accepted {
    pub fn peer(&self) -> Peer {
        match self {
            Self::Tcp(_, address) => Peer::Tcp(*address),
            Self::Unix(_) => Peer::Local,
        }
    }

    /// Says why and closes. A fresh socket's buffer takes the few bytes; if it doesn't, closing says it too.
    pub fn refuse(self, reason: &[u8]) {
        let _ = match self {
            Self::Tcp(mut socket, _) => socket.write(reason),
            Self::Unix(mut socket) => socket.write(reason),
        };
    }
}
