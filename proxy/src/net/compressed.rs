//! The compressed protocol, over whatever carries the bytes: who uses the stream sees plain packets.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tandem_protocol::compression::{
    self, Algorithm, Commands, HEADER_LEN, Header, Method, Packer, Progress, Stock, Unpacker,
};
use tandem_protocol::frame;
use thiserror::Error;

use super::Stream;
use super::buffer::{Inbox, Slab};

/// Plain bytes that go into one packet: what a receive buffer holds and zlib looks back over.
const CHUNK: usize = 32 * 1024;

/// A buffer for sending that has grown beyond this is not kept.
const KEPT: usize = 2 * CHUNK;

/// Whom a stream connects to. It decides who begins the count of the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

/// What the compressed connections of a worker share: each needs it only while it has a packet in hand.
pub struct Codec {
    slab: Rc<Slab>,
    packer: RefCell<Packer>,
    stock: RefCell<Stock>,
    outgoing: Cell<Vec<u8>>,
    clients: Traffic,
    servers: Traffic,
}

/// Bytes as they travelled and as they were meant.
#[derive(Debug, Default)]
pub struct Traffic {
    pub received: Cell<u64>,
    pub received_plain: Cell<u64>,
    pub sent: Cell<u64>,
    pub sent_plain: Cell<u64>,
}

fn add(counter: &Cell<u64>, count: usize) {
    counter.set(counter.get() + count as u64);
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec").finish_non_exhaustive()
    }
}

impl Codec {
    pub fn new(slab: Rc<Slab>) -> Rc<Self> {
        Rc::new(Self {
            slab,
            packer: RefCell::default(),
            stock: RefCell::default(),
            outgoing: Cell::default(),
            clients: Traffic::default(),
            servers: Traffic::default(),
        })
    }

    pub fn traffic(&self, side: Side) -> &Traffic {
        match side {
            Side::Client => &self.clients,
            Side::Server => &self.servers,
        }
    }
}

/// What a peer has sent can't be followed: nothing more is to be had from it, though it may still listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Broken {
    #[error("compressed packet {got} where {due} was due")]
    OutOfOrder { got: u8, due: u8 },
    #[error("{0}")]
    Unreadable(compression::Error),
}

impl Broken {
    /// Whether this is why a stream failed.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Finds the numbers of plain packets in a stream of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Frames {
    /// Bytes of the header that were seen.
    have: u32,
    len: usize,
    /// Bytes of the payload that are still to come.
    left: usize,
    /// The packet is a full one: another continues it.
    continued: bool,
}

impl Frames {
    /// Where behind `at` the next number is, and whether its packet continues one.
    pub(crate) fn next(&mut self, bytes: &[u8], at: &mut usize) -> Option<(usize, bool)> {
        loop {
            let skipped = self.left.min(bytes.len() - *at);
            *at += skipped;
            self.left -= skipped;
            let byte = *bytes.get(*at)?;
            *at += 1;
            if self.have < 3 {
                self.len |= usize::from(byte) << (8 * self.have);
                self.have += 1;
                continue;
            }
            let continued = self.continued;
            self.continued = self.len == frame::MAX_PAYLOAD;
            self.left = std::mem::take(&mut self.len);
            self.have = 0;
            return Some((*at - 1, continued));
        }
    }
}

/// A stream that has gone over to the compressed protocol.
#[derive(Debug)]
pub(super) struct Compressed {
    below: Stream,
    codec: Rc<Codec>,
    side: Side,
    method: Method,
    unpacker: Unpacker,
    /// What has arrived and is not unpacked yet.
    received: Inbox,
    /// The number of the next packet, whoever sends it.
    seq: u8,
    /// Nothing is to be answered: a client's next packet begins a command.
    rests: bool,
    commands: Commands,
    incoming: Frames,
    sending: Frames,
    /// The number of the last plain packet in either direction, and of the last one that was sent.
    last: u8,
    last_sent: u8,
    /// What comes answers what was sent, and is no new command.
    answers: bool,
    sent_since: bool,
    /// What is added to the numbers of plain packets on their way to a client, and whether that begins anew.
    shift: u8,
    aligns: bool,
    /// Packets on their way out, and how much of them has gone.
    outgoing: Vec<u8>,
    gone: usize,
}

impl Compressed {
    /// What `inbox` holds was read ahead: it is compressed already.
    pub(super) fn new(
        below: Stream,
        codec: &Rc<Codec>,
        side: Side,
        method: Method,
        inbox: &mut Inbox,
    ) -> Self {
        Self {
            below,
            codec: Rc::clone(codec),
            side,
            method,
            unpacker: Unpacker::new(method.algorithm),
            received: std::mem::replace(inbox, Inbox::new(Rc::clone(&codec.slab))),
            seq: 1,
            rests: true,
            commands: Commands::default(),
            incoming: Frames::default(),
            sending: Frames::default(),
            last: 0,
            last_sent: 0,
            answers: side == Side::Server,
            sent_since: false,
            shift: 0,
            aligns: false,
            outgoing: Vec::new(),
            gone: 0,
        }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.method.algorithm
    }

    /// What carries the packets, and what of them has arrived.
    pub(super) fn below(&mut self) -> (&mut Stream, &mut Inbox) {
        (&mut self.below, &mut self.received)
    }

    pub(super) fn tls_version(&self) -> Option<&'static str> {
        self.below.tls_version()
    }

    /// Nothing was asked: what is said now must pass for the answer to what the client will ask next.
    pub(super) fn rest(&mut self) {
        self.seq = 1;
        self.rests = true;
    }

    /// The next plain packet gets the number of the compressed one that carries it: servers do so whenever they have sent
    /// what they had, which they do behind each result, and mysql_async counts on it.
    pub(super) fn end_result(&mut self) {
        self.aligns = self.side == Side::Client;
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, target: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let produced = self.unpack(target)?;
            if produced > 0 {
                return Poll::Ready(Ok(produced));
            }
            if ready!(self.received.poll_fill(cx, &mut self.below, 1))? == 0 {
                return Poll::Ready(Ok(0));
            }
        }
    }

    /// Unpacks what has arrived, as far as there is room.
    ///
    /// Packets that do not continue each other are not unpacked together: a command that was sent ahead is for later,
    /// when the answer to the one before has been numbered.
    fn unpack(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let mut produced = 0;
        while produced < target.len() {
            if self.unpacker.is_between() {
                let Some(header) = Header::peek(self.received.bytes()) else {
                    break;
                };
                if produced > 0 && header.seq != self.seq {
                    break;
                }
                self.begin(header)?;
            }
            let room = &mut target[produced..];
            let unpacked = {
                let mut stock = self.codec.stock.borrow_mut();
                self.unpacker.unpack(&mut stock, self.received.bytes(), room)
            };
            let progress = unpacked.map_err(|error| invalid(Broken::Unreadable(error)))?;
            self.received.consume(progress.consumed);
            self.number(&mut target[produced..produced + progress.produced]);
            produced += progress.produced;
            let traffic = self.codec.traffic(self.side);
            add(&traffic.received, progress.consumed);
            add(&traffic.received_plain, progress.produced);
            if progress == Progress::default() && !self.unpacker.is_between() {
                break;
            }
        }
        Ok(produced)
    }

    fn begin(&mut self, header: Header) -> io::Result<()> {
        // What is said of a packet out of order continues that packet's count.
        let due = std::mem::replace(&mut self.seq, header.seq.wrapping_add(1));
        let rested = std::mem::take(&mut self.rests);
        match self.side {
            Side::Client if header.seq != 0 && (rested || header.seq != due) => {
                let (got, due) = (header.seq, if rested { 0 } else { due });
                return Err(invalid(Broken::OutOfOrder { got, due }));
            }
            Side::Client => {
                self.answers &= !rested && (header.seq != 0 || due == 0);
                // What it sends within a reply is counted by both sides.
                self.aligns = self.answers;
                self.shift = 0;
            }
            // It answers several commands that were sent at once, each beginning anew.
            Side::Server => {
                self.commands.heard();
                if header.seq != due && !self.sent_since {
                    self.last = self.last_sent;
                }
                self.sent_since = false;
            }
        }
        let begun = self.unpacker.begin(header, &mut self.codec.stock.borrow_mut());
        begun.map_err(|error| invalid(Broken::Unreadable(error)))?;
        self.received.consume(HEADER_LEN);
        add(&self.codec.traffic(self.side).received, HEADER_LEN);
        Ok(())
    }

    /// Numbers the plain packets as they would be without compression: who compresses looks at the other numbers only.
    /// MariaDB's library has 0 in all of them, and servers go on from the number of the compressed packet.
    fn number(&mut self, plain: &mut [u8]) {
        let mut at = 0;
        while let Some((index, continued)) = self.incoming.next(plain, &mut at) {
            self.last = match continued || self.answers {
                true => self.last.wrapping_add(1),
                false => 0,
            };
            plain[index] = self.last;
        }
    }

    /// Takes note of the numbers that are sent.
    fn note_numbers(&mut self, plain: &[u8]) {
        let mut at = 0;
        while let Some((index, _)) = self.sending.next(plain, &mut at) {
            self.last = plain[index];
            self.last_sent = self.last;
        }
        self.answers = true;
        self.sent_since = true;
    }

    pub(super) async fn write_both(&mut self, head: &[u8], tail: &[u8]) -> io::Result<()> {
        for mut rest in [head, tail] {
            while !rest.is_empty() {
                rest = self.pack(rest)?;
                if self.outgoing.len() >= CHUNK {
                    poll_fn(|cx| self.poll_send(cx)).await?;
                }
            }
        }
        poll_fn(|cx| self.poll_send(cx)).await?;
        poll_fn(|cx| self.below.poll_flush(cx)).await
    }

    pub(super) fn write_if_ready(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.pack(rest) {
                Ok(after) => rest = after,
                Err(_) => return,
            }
        }
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let _ = self.poll_send(&mut cx);
        let _ = self.below.poll_flush(&mut cx);
    }

    /// Packs the beginning of `plain`, which must not be empty; returns the rest.
    fn pack<'a>(&mut self, plain: &'a [u8]) -> io::Result<&'a [u8]> {
        let mut count = plain.len().min(CHUNK);
        if self.side == Side::Server {
            let (together, begins) = self.commands.next(&plain[..count]).map_err(invalid)?;
            count = together;
            if begins {
                self.seq = 0;
            }
        }
        if self.outgoing.is_empty() {
            self.outgoing = self.codec.outgoing.take();
        }
        let (now, after) = plain.split_at(count);
        let shifted = match self.aligns || self.shift != 0 {
            true => Cow::Owned(self.shifted(now)),
            false => Cow::Borrowed(now),
        };
        self.note_numbers(now);
        let before = self.outgoing.len();
        let mut packer = self.codec.packer.borrow_mut();
        packer.pack(self.method, self.seq, &shifted, &mut self.outgoing);
        self.seq = self.seq.wrapping_add(1);
        let traffic = self.codec.traffic(self.side);
        add(&traffic.sent, self.outgoing.len() - before);
        add(&traffic.sent_plain, count);
        Ok(after)
    }

    /// The same packets with the numbers that a client expects in the next compressed one.
    fn shifted(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut shifted = plain.to_vec();
        let mut frames = self.sending;
        let mut at = 0;
        while let Some((index, continued)) = frames.next(plain, &mut at) {
            if std::mem::take(&mut self.aligns) && !continued {
                self.shift = self.seq.wrapping_sub(plain[index]);
            }
            shifted[index] = plain[index].wrapping_add(self.shift);
        }
        shifted
    }

    /// Sends what is packed.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.gone < self.outgoing.len() {
            let slices = [IoSlice::new(&self.outgoing[self.gone..])];
            match ready!(self.below.poll_write(cx, &slices))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.gone += count,
            }
        }
        self.gone = 0;
        let mut sent = std::mem::take(&mut self.outgoing);
        if sent.capacity() <= KEPT {
            sent.clear();
            self.codec.outgoing.set(sent);
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn is_midway(&self) -> bool {
        !self.received.is_empty() || !self.unpacker.is_between()
    }

    pub(super) fn is_disturbed(&mut self) -> bool {
        self.is_midway() || self.below.is_disturbed()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::super::address::Accepted;
    use super::super::{fill, fill_some};
    use super::*;

    /// Both ends of a connection, each with what it has read.
    struct Ends {
        client: (Stream, Inbox),
        server: (Stream, Inbox),
        codec: Rc<Codec>,
    }

    const METHOD: Method = Method {
        algorithm: Algorithm::Zlib,
        level: 3,
        threshold: 50,
    };

    impl Ends {
        async fn connected() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
            let address = listener.local_addr().expect("its address");
            let client = Stream::connect(&address.into()).await.expect("connected");
            let (socket, peer) = listener.accept().await.expect("accepted");
            let socket = socket.into_std().expect("a socket");
            let server = Stream::accepted(Accepted::Tcp(socket, peer)).expect("taken over");
            let codec = Codec::new(Rc::default());
            let inbox = || Inbox::new(Rc::clone(&codec.slab));
            Self {
                client: (client, inbox()),
                server: (server, inbox()),
                codec,
            }
        }

        /// The client's end talks to a server, and the other way round.
        fn compress_client(&mut self) {
            let (stream, inbox) = &mut self.client;
            stream.compress(&self.codec, Side::Server, METHOD, inbox);
        }

        fn compress_server(&mut self) {
            let (stream, inbox) = &mut self.server;
            stream.compress(&self.codec, Side::Client, METHOD, inbox);
        }
    }

    fn packet(seq: u8, payload: &[u8]) -> Vec<u8> {
        let (mut out, mut seq) = (Vec::new(), seq);
        frame::write_packet(&mut out, &mut seq, payload);
        out
    }

    fn below(stream: &mut Stream) -> (&mut Stream, &mut Inbox) {
        match &mut stream.transport {
            super::super::Transport::Compressed(stream) => stream.below(),
            _ => panic!("not compressed"),
        }
    }

    fn owns_nothing((stream, _): &mut (Stream, Inbox)) -> bool {
        let super::super::Transport::Compressed(stream) = &mut stream.transport else {
            return false;
        };
        stream.received.is_empty() && stream.unpacker.is_between() && stream.outgoing.capacity() == 0
    }

    #[tokio::test]
    async fn what_was_read_ahead_is_compressed_already() {
        let mut ends = Ends::connected().await;
        ends.compress_client();
        let query = packet(0, &[3; 1000]);
        ends.client.0.write_all(&query).await.expect("sent");
        let (stream, inbox) = &mut ends.server;
        fill_some(stream, inbox).await.expect("read ahead, as it came");
        assert!(inbox.len() < query.len());
        ends.compress_server();
        let (stream, inbox) = &mut ends.server;
        fill(stream, inbox, query.len()).await.expect("a query");
        assert_eq!(inbox.bytes(), query);
        inbox.consume(query.len());
        assert!(owns_nothing(&mut ends.server) && owns_nothing(&mut ends.client));
    }

    #[tokio::test]
    async fn commands_that_are_sent_ahead_are_answered_by_their_own_numbers() {
        let mut ends = Ends::connected().await;
        ends.compress_client();
        ends.compress_server();
        let (first, second) = (packet(0, &[3; 100]), packet(0, &[4; 10]));
        ends.client.0.write_both(&first, &second).await.expect("sent");
        for command in [first, second] {
            let (stream, inbox) = &mut ends.server;
            fill(stream, inbox, command.len()).await.expect("a command");
            assert_eq!(inbox.bytes(), command, "and not the one behind it");
            inbox.consume(command.len());
            stream.write_all(&packet(1, b"one")).await.expect("sent");
            stream.write_all(&packet(2, b"two")).await.expect("sent");
        }
        let (stream, inbox) = below(&mut ends.client.0);
        let mut numbers = Vec::new();
        while numbers.len() < 4 {
            fill(stream, inbox, HEADER_LEN).await.expect("a header");
            let header = Header::peek(inbox.bytes()).expect("a header");
            fill(stream, inbox, HEADER_LEN + header.len)
                .await
                .expect("a packet");
            inbox.consume(HEADER_LEN + header.len);
            numbers.push(header.seq);
        }
        assert_eq!(numbers, [1, 2, 1, 2]);
    }

    /// As both servers do it behind each result of several; mysql_async refuses anything else.
    #[tokio::test]
    async fn behind_a_result_plain_packets_go_on_from_the_number_of_the_compressed_one() {
        let mut ends = Ends::connected().await;
        ends.compress_client();
        ends.compress_server();
        let command = packet(0, b"\x03ask");
        ends.client.0.write_all(&command).await.expect("sent");
        let (stream, inbox) = &mut ends.server;
        fill(stream, inbox, command.len()).await.expect("a command");
        let one = [packet(1, b"head"), packet(2, b"row"), packet(3, b"end")].concat();
        stream.write_all(&one).await.expect("sent");
        stream.end_result();
        let another = [packet(4, b"head"), packet(5, b"row")].concat();
        stream.write_all(&another).await.expect("sent");
        stream.write_all(&packet(6, b"row")).await.expect("sent");
        let (stream, inbox) = below(&mut ends.client.0);
        let mut numbers = Vec::new();
        while numbers.len() < 3 {
            fill(stream, inbox, HEADER_LEN).await.expect("a header");
            let header = Header::peek(inbox.bytes()).expect("a header");
            fill(stream, inbox, HEADER_LEN + header.len)
                .await
                .expect("a packet");
            // So short that it is not packed.
            let plain = &inbox.bytes()[HEADER_LEN..HEADER_LEN + header.len];
            let (mut frames, mut at, mut within) = (Frames::default(), 0, Vec::new());
            while let Some((index, _)) = frames.next(plain, &mut at) {
                within.push(plain[index]);
            }
            numbers.push((header.seq, within));
            inbox.consume(HEADER_LEN + header.len);
        }
        assert_eq!(numbers, [(1, vec![1, 2, 3]), (2, vec![2, 3]), (3, vec![4])]);
    }

    #[tokio::test]
    async fn large_writes_pass_in_both_directions_and_leave_nothing() {
        let mut ends = Ends::connected().await;
        ends.compress_client();
        ends.compress_server();
        let query: Vec<u8> = packet(
            0,
            &(0_u32..500_000).flat_map(u32::to_le_bytes).collect::<Vec<u8>>(),
        );
        let reply = [&query[..3], &[1], &query[4..]].concat();
        for _ in 0..2 {
            let Ends { client, server, .. } = &mut ends;
            let (sent, received) = tokio::join!(
                client.0.write_all(&query),
                fill(&mut server.0, &mut server.1, query.len())
            );
            sent.expect("sent");
            received.expect("received");
            assert!(server.1.bytes() == query);
            server.1.consume(query.len());
            let (sent, received) = tokio::join!(
                server.0.write_all(&reply),
                fill(&mut client.0, &mut client.1, query.len())
            );
            sent.expect("sent");
            received.expect("received");
            assert!(client.1.bytes() == reply);
            client.1.consume(query.len());
        }
        assert!(!ends.client.0.is_disturbed() && !ends.server.0.is_disturbed());
        assert!(owns_nothing(&mut ends.server) && owns_nothing(&mut ends.client));
        let traffic = ends.codec.traffic(Side::Client);
        assert!(traffic.sent.get() < traffic.sent_plain.get());
        assert_eq!(traffic.received_plain.get(), 2 * query.len() as u64);
    }

    /// MariaDB's library gives all packets the number 0, and servers go on from those of the compressed packets.
    #[tokio::test]
    async fn plain_packets_are_numbered_as_without_compression() {
        let mut ends = Ends::connected().await;
        ends.compress_server();
        // The client's end is plain: it writes compressed packets by hand.
        let mut exchange = async |seq: u8, frames: &[&[u8]]| {
            let plain: Vec<u8> = frames.iter().flat_map(|frame| packet(0, frame)).collect();
            let header = Header {
                len: plain.len(),
                seq,
                plain: 0,
            };
            ends.client
                .0
                .write_both(&header.encode(), &plain)
                .await
                .expect("sent");
            let (stream, inbox) = &mut ends.server;
            fill(stream, inbox, plain.len()).await.expect("received");
            let (mut rest, mut numbers) = (inbox.bytes(), Vec::new());
            while let Some((header, payload)) = frame::packet(rest) {
                numbers.push(header.seq);
                rest = &rest[frame::HEADER_LEN + payload.len()..];
            }
            inbox.consume(plain.len());
            stream
                .write_all(&packet(*numbers.last().expect("a packet") + 1, b"asks"))
                .await
                .expect("sent");
            numbers
        };
        assert_eq!(exchange(0, &[b"command"]).await, [0]);
        assert_eq!(exchange(2, &[b"answer"]).await, [2]);
        assert_eq!(exchange(4, &[b"of", b"a", b"file", b""]).await, [4, 5, 6, 7]);
        assert_eq!(exchange(0, &[b"one", b"more"]).await, [0, 0]);
    }

    #[tokio::test]
    async fn packets_out_of_order_are_refused() {
        let mut ends = Ends::connected().await;
        ends.compress_server();
        let wrong = Header {
            len: 1,
            seq: 2,
            plain: 0,
        };
        ends.client
            .0
            .write_both(&wrong.encode(), b"x")
            .await
            .expect("sent");
        let (stream, inbox) = &mut ends.server;
        let read = fill_some(stream, inbox).await.expect_err("out of order");
        assert_eq!(read.to_string(), "compressed packet 2 where 0 was due");
    }
}
