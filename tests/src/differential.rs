//! The differential test: the same random statements, once directly against a server and once through Tandem,
//! have the same replies, byte for byte.
//!
//! `generate` makes a sequence of steps from a seed, `play` plays it against one side, `mask` takes out what can't
//! be equal, and `trial` holds the two sides together, resets them, and looks for a shorter sequence that still differs.

pub mod dice;
pub mod door;
pub mod generate;
pub mod mask;
pub mod play;
pub mod step;
pub mod strangers;
pub mod trial;
