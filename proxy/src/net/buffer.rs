//! Receive buffers that belong to a worker and are lent to a connection only while bytes are in them.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::Stream;
use crate::meter::Meter;

/// Size of a lent buffer. Large enough that a big result costs few reads, small enough for a core's cache.
pub const BUFFER_SIZE: usize = 32 * 1024;

/// A buffer that is too small grows by this at least: not by a byte for each that somebody waits for.
const GROWTH: usize = 4 * 1024;

/// What is longer stays in its buffer while it waits: to copy it would cost more than the memory is worth.
const MOVED: usize = 2 * 1024;

/// Buffers kept for reuse by one worker; more than this are freed.
const KEPT: usize = 256;

/// A worker's stock of buffers.
#[derive(Default)]
pub struct Slab {
    free: RefCell<Vec<Vec<u8>>>,
    /// Bytes of the buffers that are lent.
    pub lent: Meter,
}

impl Slab {
    /// What a worker's stock takes at most while nobody has a buffer.
    pub const MOST_BYTES: usize = KEPT * BUFFER_SIZE;

    fn take(&self) -> Vec<u8> {
        self.lent.change(0, BUFFER_SIZE);
        self.free
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| vec![0; BUFFER_SIZE])
    }

    fn give_back(&self, buffer: Vec<u8>) {
        self.lent.change(buffer.len(), 0);
        let mut free = self.free.borrow_mut();
        // One that has grown for a large statement is not kept: memory goes back when the need is over.
        if buffer.len() == BUFFER_SIZE && free.len() < KEPT {
            free.push(buffer);
        }
    }
}

/// What has arrived on one connection and is not yet dealt with.
///
/// An empty inbox owns no memory: a sleeping session costs none.
pub struct Inbox {
    slab: Rc<Slab>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    pub fn new(slab: Rc<Slab>) -> Self {
        Self {
            slab,
            buffer: Vec::new(),
            start: 0,
            end: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.end - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }

    /// Takes the first `count` bytes away.
    pub fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.len());
        self.start += count;
        if self.start == self.end {
            self.release();
        }
    }

    /// Cuts `count` bytes out at `offset`, moving what follows to the front.
    pub fn cut(&mut self, offset: usize, count: usize) {
        let from = self.start + offset;
        self.buffer.copy_within(from + count..self.end, from);
        self.end -= count;
    }

    /// Puts one byte in at `offset`, moving what follows.
    pub fn insert(&mut self, offset: usize, byte: u8) {
        self.replace(offset..offset, &[byte]);
    }

    /// Puts other bytes in the place of `range`, moving what follows.
    pub fn replace(&mut self, range: std::ops::Range<usize>, bytes: &[u8]) {
        let grown = bytes.len().saturating_sub(range.len());
        self.make_room(grown);
        let (from, to) = (self.start + range.start, self.start + range.end);
        self.buffer.copy_within(to..self.end, from + bytes.len());
        self.buffer[from..from + bytes.len()].copy_from_slice(bytes);
        self.end = self.end - range.len() + bytes.len();
    }

    /// To be called before a wait: the lent buffer goes back, and what little is in it into one of its own size.
    pub fn move_out(&mut self) {
        if self.buffer.len() != BUFFER_SIZE || self.len() > MOVED {
            return;
        }
        let moved = self.bytes().to_vec();
        self.release();
        self.slab.lent.change(0, moved.len());
        self.end = moved.len();
        self.buffer = moved;
    }

    fn release(&mut self) {
        self.start = 0;
        self.end = 0;
        if !self.buffer.is_empty() {
            self.slab.give_back(std::mem::take(&mut self.buffer));
        }
    }

    /// Reads once; room for at least `missing` more bytes is made first.
    ///
    /// Returns the number of bytes read, 0 when the peer has closed.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        missing: usize,
    ) -> Poll<io::Result<usize>> {
        self.make_room(missing);
        let result = stream.poll_read(cx, &mut self.buffer[self.end..]);
        if let Poll::Ready(Ok(count)) = &result {
            self.end += count;
        }
        if self.is_empty() {
            self.release();
        }
        result
    }

    fn make_room(&mut self, missing: usize) {
        if self.buffer.is_empty() {
            self.buffer = self.slab.take();
        }
        if self.buffer.len() - self.end >= missing {
            return;
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() - self.end < missing {
            let before = self.buffer.len();
            self.buffer.resize(self.end + missing.max(GROWTH), 0);
            self.slab.lent.change(before, self.buffer.len());
        }
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inbox({} bytes)", self.len())
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who sends ahead is read with `missing` 1: a full buffer must not cost a system call and a move for each byte.
    #[test]
    fn a_full_buffer_grows_by_more_than_a_byte() {
        let mut inbox = Inbox::new(Rc::default());
        inbox.make_room(1);
        let mut grown = 0;
        while inbox.buffer.len() < 2 * BUFFER_SIZE {
            inbox.end = inbox.buffer.len();
            inbox.make_room(1);
            grown += 1;
        }
        assert_eq!(grown, BUFFER_SIZE / GROWTH);
        let slab = Rc::clone(&inbox.slab);
        assert_eq!(slab.lent.used(), inbox.buffer.len());
        drop(inbox);
        assert_eq!((slab.lent.used(), slab.lent.highest()), (0, 2 * BUFFER_SIZE));
    }

    /// A thousand statements that wait in a queue hold what they are long, and are what they were.
    #[test]
    fn what_waits_takes_its_own_size() {
        let slab: Rc<Slab> = Rc::default();
        let waiting: Vec<Inbox> = (0..1000)
            .map(|_| {
                let mut inbox = Inbox::new(Rc::clone(&slab));
                inbox.make_room(1);
                inbox.buffer[..8].copy_from_slice(b"gone|new");
                (inbox.start, inbox.end) = (5, 8);
                inbox.move_out();
                inbox
            })
            .collect();
        assert_eq!((slab.lent.used(), slab.free.borrow().len()), (3000, 1));
        assert!(waiting.iter().all(|inbox| inbox.bytes() == b"new"));
        drop(waiting);
        assert_eq!((slab.lent.used(), slab.free.borrow().len()), (0, 1));
    }

    /// One that waits may be sent more, and what is long is not copied.
    #[test]
    fn a_buffer_that_was_moved_out_grows_again() {
        let mut inbox = Inbox::new(Rc::default());
        inbox.make_room(1);
        inbox.end = 3;
        inbox.move_out();
        inbox.make_room(1);
        assert!(inbox.buffer.len() > GROWTH);
        let mut long = Inbox::new(Rc::default());
        long.make_room(1);
        long.end = MOVED + 1;
        long.move_out();
        assert_eq!(long.buffer.len(), BUFFER_SIZE);
    }
}
