//! Plain bytes to compressed packets.

use std::fmt;

use flate2::{Compress, Compression, FlushCompress, Status};
use zstd_safe::CCtx;

use super::{Algorithm, HEADER_LEN, Header, MAX_PAYLOAD, Method};

/// Makes packets. It remembers nothing from one to the next, so many connections can share one: what it needs is large
/// (a quarter of a megabyte for zlib).
#[derive(Default)]
pub struct Packer {
    /// One for each level in use: two at most, one for each side.
    zlib: Vec<(u8, Compress)>,
    zstd: Option<CCtx<'static>>,
    scratch: Vec<u8>,
}

impl Packer {
    /// Appends one packet with the number `seq` that holds `plain`, at most [`MAX_PAYLOAD`] bytes of it; returns how
    /// many. What does not get shorter goes as it is, as the servers do it.
    pub fn pack(&mut self, method: Method, seq: u8, plain: &[u8], out: &mut Vec<u8>) -> usize {
        let plain = &plain[..plain.len().min(MAX_PAYLOAD)];
        let packed = match plain.len() < method.threshold {
            true => None,
            false => self.shorten(method, plain),
        };
        let header = Header {
            len: packed.unwrap_or(plain.len()),
            seq,
            plain: if packed.is_some() { plain.len() } else { 0 },
        };
        out.reserve(HEADER_LEN + header.len);
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(match packed {
            Some(len) => &self.scratch[..len],
            None => plain,
        });
        plain.len()
    }

    /// Compresses into the scratch buffer, which has room only for something shorter.
    fn shorten(&mut self, method: Method, plain: &[u8]) -> Option<usize> {
        let room = plain.len().checked_sub(1)?;
        if self.scratch.len() < room {
            self.scratch.resize(room, 0);
        }
        let scratch = &mut self.scratch[..room];
        match method.algorithm {
            Algorithm::Zlib => {
                let context = zlib(&mut self.zlib, method.level);
                context.reset();
                match context.compress(plain, scratch, FlushCompress::Finish) {
                    Ok(Status::StreamEnd) => usize::try_from(context.total_out()).ok(),
                    Ok(_) | Err(_) => None,
                }
            }
            Algorithm::Zstd => {
                let context = self.zstd.get_or_insert_with(CCtx::create);
                context.compress(scratch, plain, i32::from(method.level)).ok()
            }
        }
    }

    /// Gives up what a large packet made grow.
    pub fn shrink(&mut self, kept: usize) {
        if self.scratch.len() > kept {
            self.scratch = Vec::new();
        }
        if self.zstd.as_ref().is_some_and(|context| context.sizeof() > LARGE) {
            self.zstd = None;
        }
    }
}

/// A zstd context beyond this comes from an unusual level; it is not kept.
const LARGE: usize = 4 << 20;

fn zlib(contexts: &mut Vec<(u8, Compress)>, level: u8) -> &mut Compress {
    let found = contexts.iter().position(|(of, _)| *of == level);
    let index = found.unwrap_or_else(|| {
        contexts.push((level, Compress::new(Compression::new(u32::from(level)), true)));
        contexts.len() - 1
    });
    &mut contexts[index].1
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}
