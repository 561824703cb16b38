//! Byte streams and packets that are almost right, from a seed.

use tandem_protocol::frame::{self, HEADER_LEN, MAX_PAYLOAD};

/// A small generator, so that a failure can be repeated.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: usize) -> usize {
        ((self.roll() >> 16) % end.max(1) as u64) as usize
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }

    /// Flips a bit, sets, cuts out, doubles or adds something.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        let end = (at + 1 + self.below(8)).min(bytes.len());
        match self.below(6) {
            0 | 1 if at < end => bytes[at] ^= 1 << self.below(8),
            2 if at < end => bytes[at] = self.below(256) as u8,
            3 => drop(bytes.drain(at..end)),
            4 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            _ => {
                let count = 1 + self.below(8);
                let random = self.bytes(count);
                bytes.splice(at..at, random);
            }
        }
    }

    /// Changes a session: a list of whole packets, each with its header.
    pub fn mutate_session(&mut self, packets: &mut Vec<Vec<u8>>) {
        for _ in 0..=self.below(3) {
            if packets.is_empty() {
                return;
            }
            let (at, other) = (self.below(packets.len()), self.below(packets.len()));
            match self.below(9) {
                0 | 1 => self.mutate(&mut packets[at]),
                2 => self.mutate_payload(&mut packets[at]),
                3 => self.mutate_length(&mut packets[at]),
                4 => packets.swap(at, other),
                5 => packets.insert(at, packets[other].clone()),
                6 => drop(packets.remove(at)),
                7 => packets[at].truncate(other * 3),
                _ => {
                    let count = 1 + self.below(40);
                    let mut packet = Vec::new();
                    frame::write_packet(&mut packet, &mut 0, &self.bytes(count));
                    packets.insert(at, packet);
                }
            }
        }
    }

    /// The frame stays right, what is in it does not.
    fn mutate_payload(&mut self, packet: &mut Vec<u8>) {
        let mut payload = packet.get(HEADER_LEN..).unwrap_or_default().to_vec();
        self.mutate(&mut payload);
        packet.clear();
        frame::write_packet(packet, &mut 0, &payload);
    }

    fn mutate_length(&mut self, packet: &mut [u8]) {
        let Some(header) = packet.first_chunk_mut::<HEADER_LEN>() else {
            return;
        };
        let near =
            u32::from_le_bytes([header[0], header[1], header[2], 0]).wrapping_add(self.below(9) as u32);
        let len = match self.below(4) {
            0 => self.below(MAX_PAYLOAD + 1) as u32,
            1 => MAX_PAYLOAD as u32,
            _ => near.saturating_sub(4),
        };
        header[..3].copy_from_slice(&len.to_le_bytes()[..3]);
    }
}
