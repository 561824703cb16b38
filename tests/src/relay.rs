//! A relay between two sides of the protocol: it tells what passes towards the server, and can twist what comes back.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tandem_protocol::frame::{self, HEADER_LEN, Header};

use crate::mutation::Dice;

/// What a relay does to the server's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Replies {
    Honest,
    /// All that is read at once is passed twice at once.
    Doubled,
    /// One read in eight is changed, cut, doubled or lost.
    Mutated,
}

/// One answer that is not to arrive.
struct Cut {
    /// In the command that it answers.
    needle: Vec<u8>,
    /// Called when the server has answered; then the connection is closed.
    answered: Box<dyn FnOnce() + Send>,
}

/// Called with each command, payload only, before it is passed on.
type Watch = Box<dyn Fn(&[u8]) + Send + Sync>;

/// Called with the last command and what the server has said to it at once, which it may change.
type Rewrite = Box<dyn Fn(&[u8], &mut Vec<u8>) + Send + Sync>;

/// A listening relay; its threads end with their connections, the listening one with the process.
pub struct Relay {
    pub address: SocketAddr,
    replies: AtomicU8,
    seed: AtomicU64,
    /// Connections of other accounts are left alone.
    user: &'static str,
    watch: Mutex<Option<Watch>>,
    cut: Mutex<Option<Cut>>,
    rewrite: Mutex<Option<Rewrite>>,
}

impl Relay {
    /// Starts to relay connections to `target`; only those that log in as `user` are watched and twisted.
    pub fn start(target: SocketAddr, user: &'static str) -> io::Result<Arc<Self>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let relay = Arc::new(Self {
            address: listener.local_addr()?,
            replies: AtomicU8::new(Replies::Honest as u8),
            seed: AtomicU64::new(1),
            user,
            watch: Mutex::default(),
            cut: Mutex::default(),
            rewrite: Mutex::default(),
        });
        let handle = Arc::clone(&relay);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let relay = Arc::clone(&handle);
                std::thread::spawn(move || relay.serve(client, target));
            }
        });
        Ok(relay)
    }

    pub fn set(&self, replies: Replies) {
        self.replies.store(replies as u8, Ordering::Relaxed);
    }

    pub fn watch(&self, watch: impl Fn(&[u8]) + Send + Sync + 'static) {
        *self.watch.lock().expect("no panic under the lock") = Some(Box::new(watch));
    }

    /// Has `rewrite` change what the server says, beside [`Replies`].
    pub fn rewrite(&self, rewrite: impl Fn(&[u8], &mut Vec<u8>) + Send + Sync + 'static) {
        *self.rewrite.lock().expect("no panic under the lock") = Some(Box::new(rewrite));
    }

    /// Keeps the answer to the next command with `needle` in it to itself, and closes that connection after `answered`.
    pub fn cut(&self, needle: &[u8], answered: impl FnOnce() + Send + 'static) {
        *self.cut.lock().expect("no panic under the lock") = Some(Cut {
            needle: needle.to_vec(),
            answered: Box::new(answered),
        });
    }

    /// Whether that has happened.
    pub fn has_cut(&self) -> bool {
        self.cut.lock().expect("no panic under the lock").is_none()
    }

    /// An error on one side ends both; nobody needs to know of it.
    fn serve(self: Arc<Self>, mut client: TcpStream, target: SocketAddr) -> Option<()> {
        let mut server = TcpStream::connect(target).ok()?;
        client.set_nodelay(true).ok()?;
        server.set_nodelay(true).ok()?;
        let mut greeting = [0; 4096];
        let length = server.read(&mut greeting).ok()?;
        client.write_all(&greeting[..length]).ok()?;
        let mut login = [0; 4096];
        let length = client.read(&mut login).ok()?;
        let name = [b"\0".as_slice(), self.user.as_bytes(), b"\0"].concat();
        let ours = login[..length].windows(name.len()).any(|window| window == name);
        let (back_to, back_from) = (client.try_clone().ok()?, server.try_clone().ok()?);
        let relay = Arc::clone(&self);
        let under_way = Arc::new(UnderWay::default());
        let told = Arc::clone(&under_way);
        std::thread::spawn(move || {
            relay.pass_back(&back_from, &back_to, ours, &told);
            // However it ended: the other thread still has both, and may wait at the other one for ever.
            close(&back_from, &back_to);
        });
        let passed = server.write_all(&login[..length]);
        passed
            .ok()
            .and_then(|()| self.pass(&client, &server, ours, &under_way));
        close(&client, &server);
        None
    }

    fn pass(
        &self,
        mut client: &TcpStream,
        mut server: &TcpStream,
        ours: bool,
        under_way: &UnderWay,
    ) -> Option<()> {
        let mut buffer = vec![0; 64 * 1024];
        let mut pending = Vec::new();
        loop {
            let length = client.read(&mut buffer).ok()?;
            if length == 0 {
                return None;
            }
            if ours {
                pending.extend_from_slice(&buffer[..length]);
                self.tell(&mut pending, under_way);
                let cut = self.cut.lock().expect("no panic under the lock");
                let wanted = |cut: &Cut| {
                    let mut parts = buffer[..length].windows(cut.needle.len());
                    parts.any(|part| part == cut.needle)
                };
                if cut.as_ref().is_some_and(wanted) {
                    under_way.cutting.store(true, Ordering::SeqCst);
                }
            }
            server.write_all(&buffer[..length]).ok()?;
        }
    }

    /// Tells of whole packets with the number 0: what comes under another number belongs to a login.
    fn tell(&self, pending: &mut Vec<u8>, under_way: &UnderWay) {
        let watch = self.watch.lock().expect("no panic under the lock");
        while let Some((Header { len, seq }, payload)) = frame::packet(pending) {
            if seq == 0 {
                if let Some(watch) = &*watch {
                    watch(payload);
                }
                *under_way.command.lock().expect("no panic under the lock") = payload.to_vec();
            }
            pending.drain(..HEADER_LEN + len);
        }
    }

    fn pass_back(
        &self,
        mut server: &TcpStream,
        mut client: &TcpStream,
        ours: bool,
        under_way: &UnderWay,
    ) -> Option<()> {
        let mut dice = Dice::new(self.seed.fetch_add(1, Ordering::Relaxed));
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = server.read(&mut buffer).ok()?;
            if length == 0 {
                return None;
            }
            if under_way.cutting.load(Ordering::SeqCst) {
                let cut = self.cut.lock().expect("no panic under the lock").take();
                if let Some(cut) = cut {
                    (cut.answered)();
                }
                return None;
            }
            let mut bytes = buffer[..length].to_vec();
            match self.replies.load(Ordering::Relaxed) {
                1 if ours => bytes = [&bytes[..], &bytes].concat(),
                2 if ours && dice.below(8) == 0 => dice.mutate(&mut bytes),
                _ => {}
            }
            if let Some(rewrite) = &*self.rewrite.lock().expect("no panic under the lock")
                && ours
            {
                rewrite(
                    &under_way.command.lock().expect("no panic under the lock"),
                    &mut bytes,
                );
            }
            client.write_all(&bytes).ok()?;
        }
    }
}

/// What one direction of a connection knows of the other.
#[derive(Default)]
struct UnderWay {
    /// See [`Relay::cut`].
    cutting: AtomicBool,
    command: Mutex<Vec<u8>>,
}

fn close(one: &TcpStream, other: &TcpStream) {
    for stream in [one, other] {
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
}
