//! A way between two places that can be cut, in each direction apart: what is sent then waits, as packets do that are sent again
//! until somebody answers, and goes on when the way is open again. Who connects while it is cut gets no word.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Which directions pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// From who connects.
    pub there: bool,
    pub back: bool,
}

impl Open {
    pub const BOTH: Self = Self {
        there: true,
        back: true,
    };
    pub const NONE: Self = Self {
        there: false,
        back: false,
    };
}

/// See the module; it ends with the runtime.
#[derive(Clone)]
pub struct Road {
    pub address: SocketAddr,
    open: Arc<watch::Sender<Open>>,
}

impl Road {
    /// # Errors
    /// When no port is free.
    pub async fn to(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (open, state) = watch::channel(Open::BOTH);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(travel(near, target, state.clone()));
            }
        });
        let open = Arc::new(open);
        Ok(Self { address, open })
    }

    pub fn set(&self, open: Open) {
        self.open.send_replace(open);
    }
}

async fn travel(near: TcpStream, target: SocketAddr, mut state: watch::Receiver<Open>) {
    if state.wait_for(|open| open.there && open.back).await.is_err() {
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else {
        return;
    };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    tokio::spawn(pass(near_in, far_out, state.clone(), |open| open.there));
    pass(far_in, near_out, state, |open| open.back).await;
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<Open>,
    is_open: fn(&Open) -> bool,
) {
    let mut bytes = vec![0; 16 * 1024];
    // The end of the other side is news that has to pass too.
    while let Ok(length) = from.read(&mut bytes).await {
        if state.wait_for(is_open).await.is_err() || length == 0 {
            return;
        }
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}
