//! A long way between two places: a relay that passes everything late, each read by another time, as a network does that
//! delays packets and holds them up now and then. (`tc netem` would do it too, where the kernel has it: that of the machine
//! this was written on does not.)

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::differential::dice::Dice;

/// Reads under way in one direction; who sends more waits.
const UNDER_WAY: usize = 1024;

/// One read in so many is held up, and all behind it.
const ONE_HELD_UP: usize = 400;

/// How far apart two places are.
#[derive(Clone, Copy, Debug)]
pub struct Distance {
    /// What every read takes in each direction.
    pub least: Duration,
    /// And up to so much more.
    pub jitter: Duration,
    /// And one that is held up.
    pub hold_up: Duration,
}

impl Distance {
    /// The address at which `target` is so far away, for as long as the runtime lives.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn to(self, target: SocketAddr, seed: u64) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move {
            for number in 0_u64.. {
                let Ok((near, _)) = listener.accept().await else {
                    return;
                };
                let Ok(far) = TcpStream::connect(target).await else {
                    continue;
                };
                let _ = (near.set_nodelay(true), far.set_nodelay(true));
                let (near_in, near_out) = near.into_split();
                let (far_in, far_out) = far.into_split();
                let dice = |direction| Dice::new(seed ^ (number * 2 + direction));
                tokio::spawn(self.pass(near_in, far_out, dice(0)));
                tokio::spawn(self.pass(far_in, near_out, dice(1)));
            }
        });
        Ok(address)
    }

    /// Until one side ends; then the other is told, as late as everything else.
    async fn pass(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut dice: Dice) {
        let (sender, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
        tokio::spawn(async move {
            while let Some((at, bytes)) = arriving.recv().await {
                tokio::time::sleep_until(at).await;
                if to.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            let _ = to.shutdown().await;
        });
        let mut bytes = vec![0; 16 * 1024];
        let mut last = Instant::now();
        while let Ok(length @ 1..) = from.read(&mut bytes).await {
            // In the order in which they were sent.
            last = last.max(Instant::now() + self.time(&mut dice));
            if sender.send((last, bytes[..length].to_vec())).await.is_err() {
                return;
            }
        }
    }

    fn time(self, dice: &mut Dice) -> Duration {
        let jitter = self.jitter * dice.below(100) as u32 / 100;
        match dice.once_in(ONE_HELD_UP) {
            true => self.least + jitter + self.hold_up,
            false => self.least + jitter,
        }
    }
}
