//! Compressed packets to plain bytes.
//!
//! Neither side of a packet is ever held whole: bytes go in as they arrive and come out as there is room. So a
//! length that is only declared costs nothing, and a bomb blows up in front of whoever has to read it.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use super::{Algorithm, Header};

/// A window for zstd that is as long as the longest packet; nobody needs a longer one.
const WINDOW_LOG_MAX: u32 = 24;
/// Contexts that are kept for the next packet, of each kind.
const KEPT: usize = 8;
/// A zstd context that has grown beyond this is not kept.
const LARGE: usize = 1 << 20;

#[derive(Debug, Copy, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a packet that {} can't read", .0.name())]
    Corrupt(Algorithm),
    #[error("a packet that ends in the middle of what it holds")]
    Cut,
    #[error("a packet with {0} bytes behind what it holds")]
    Trailing(usize),
    #[error("a packet that holds more than the {0} bytes it declares")]
    Longer(usize),
    #[error("a packet that holds {0} bytes less than it declares")]
    Shorter(usize),
}

/// Contexts that wait for a packet.
///
/// A connection has one only while it is in the middle of a compressed packet.
#[derive(Default)]
pub struct Stock {
    zlib: Vec<Decompress>,
    zstd: Vec<DCtx<'static>>,
}

impl Stock {
    fn take(&mut self, algorithm: Algorithm) -> Result<Inflater, Error> {
        let corrupt = |_| Error::Corrupt(algorithm);
        Ok(match algorithm {
            Algorithm::Zlib => Inflater::Zlib(match self.zlib.pop() {
                Some(mut context) => {
                    context.reset(true);
                    context
                }
                None => Decompress::new(true),
            }),
            Algorithm::Zstd => Inflater::Zstd(match self.zstd.pop() {
                Some(mut context) => {
                    context.reset(ResetDirective::SessionOnly).map_err(corrupt)?;
                    context
                }
                None => {
                    let mut context = DCtx::create();
                    let bound = DParameter::WindowLogMax(WINDOW_LOG_MAX);
                    context.set_parameter(bound).map_err(corrupt)?;
                    context
                }
            }),
        })
    }

    fn give_back(&mut self, inflater: Inflater) {
        match inflater {
            Inflater::Zlib(context) if self.zlib.len() < KEPT => self.zlib.push(context),
            Inflater::Zstd(context) if self.zstd.len() < KEPT && context.sizeof() <= LARGE => {
                self.zstd.push(context);
            }
            Inflater::Zlib(_) | Inflater::Zstd(_) => {}
        }
    }
}

impl fmt::Debug for Stock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stock({} zlib, {} zstd)", self.zlib.len(), self.zstd.len())
    }
}

/// What [`Unpacker::unpack`] did.
#[derive(Debug, Copy, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    pub consumed: usize,
    pub produced: usize,
}

/// Takes one connection's packets apart.
#[derive(Debug)]
pub struct Unpacker {
    algorithm: Algorithm,
    open: Option<Open>,
}

/// The packet that is being read.
#[derive(Debug)]
enum Open {
    Stored { left: usize },
    Packed(Packed),
}

#[derive(Debug)]
struct Packed {
    inflater: Inflater,
    input_left: usize,
    output_left: usize,
    declared: usize,
    /// It has said that it needs more input. Asked too often in vain, zstd calls that an error.
    dry: bool,
}

enum Inflater {
    Zlib(Decompress),
    Zstd(DCtx<'static>),
}

impl Unpacker {
    pub fn new(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            open: None,
        }
    }

    /// Whether the last packet was read to its end: a header comes next, for [`Self::begin`].
    pub fn is_between(&self) -> bool {
        self.open.is_none()
    }

    /// Begins with the packet behind `header`.
    pub fn begin(&mut self, header: Header, stock: &mut Stock) -> Result<(), Error> {
        debug_assert!(self.is_between());
        self.open = if header.plain > 0 {
            Some(Open::Packed(Packed {
                inflater: stock.take(self.algorithm)?,
                input_left: header.len,
                output_left: header.plain,
                declared: header.plain,
                dry: true,
            }))
        } else {
            (header.len > 0).then_some(Open::Stored { left: header.len })
        };
        Ok(())
    }

    /// Reads on in the packet that was begun, as far as `input` and the room in `output` go. It asks for more input
    /// by doing nothing.
    ///
    /// The last byte comes out only with the end of the packet: who has read all of a command or reply is between
    /// packets.
    pub fn unpack(&mut self, stock: &mut Stock, input: &[u8], output: &mut [u8]) -> Result<Progress, Error> {
        let (progress, done) = match &mut self.open {
            None => return Ok(Progress::default()),
            Some(Open::Stored { left }) => {
                let count = (*left).min(input.len()).min(output.len());
                output[..count].copy_from_slice(&input[..count]);
                *left -= count;
                let progress = Progress {
                    consumed: count,
                    produced: count,
                };
                (progress, *left == 0)
            }
            Some(Open::Packed(packed)) => packed.unpack(self.algorithm, input, output)?,
        };
        if done && let Some(Open::Packed(packed)) = self.open.take() {
            stock.give_back(packed.inflater);
        }
        Ok(progress)
    }
}

impl Packed {
    fn unpack(
        &mut self,
        algorithm: Algorithm,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(Progress, bool), Error> {
        let mut total = Progress::default();
        loop {
            let input = &input[total.consumed..];
            let input = &input[..input.len().min(self.input_left)];
            let whole = input.len() == self.input_left;
            // One byte more than there may be, to see that there is none.
            let mut excess = [0];
            let room = match self.output_left {
                0 => &mut excess[..],
                left => {
                    let room = &mut output[total.produced..];
                    let most = if whole { left } else { left - 1 };
                    let most = most.min(room.len());
                    &mut room[..most]
                }
            };
            if room.is_empty() || (self.dry && input.is_empty() && !whole) {
                return Ok((total, false));
            }
            let (progress, ended) = self.inflater.step(algorithm, input, room)?;
            if progress.produced > self.output_left {
                return Err(Error::Longer(self.declared));
            }
            total.consumed += progress.consumed;
            total.produced += progress.produced;
            self.input_left -= progress.consumed;
            self.output_left -= progress.produced;
            if ended {
                return match (self.input_left, self.output_left) {
                    (0, 0) => Ok((total, true)),
                    (0, missing) => Err(Error::Shorter(missing)),
                    (left, _) => Err(Error::Trailing(left)),
                };
            }
            self.dry = progress == Progress::default();
            if self.dry {
                return match whole {
                    true => Err(Error::Cut),
                    false => Ok((total, false)),
                };
            }
        }
    }
}

impl Inflater {
    /// Returns also whether the compressed stream has come to its end.
    fn step(
        &mut self,
        algorithm: Algorithm,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(Progress, bool), Error> {
        let corrupt = Error::Corrupt(algorithm);
        match self {
            Self::Zlib(context) => {
                let before = (context.total_in(), context.total_out());
                let status = context.decompress(input, output, FlushDecompress::None);
                let status = status.map_err(|_| corrupt)?;
                let count = |now: u64, before: u64| usize::try_from(now - before).map_err(|_| corrupt);
                let progress = Progress {
                    consumed: count(context.total_in(), before.0)?,
                    produced: count(context.total_out(), before.1)?,
                };
                Ok((progress, status == Status::StreamEnd))
            }
            Self::Zstd(context) => {
                let mut input = InBuffer::around(input);
                let mut output = OutBuffer::around(output);
                let hint = context.decompress_stream(&mut output, &mut input);
                let hint = hint.map_err(|_| corrupt)?;
                let progress = Progress {
                    consumed: input.pos(),
                    produced: output.pos(),
                };
                Ok((progress, hint == 0))
            }
        }
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zlib(_) => "Zlib",
            Self::Zstd(_) => "Zstd",
        })
    }
}
