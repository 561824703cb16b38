//! The packets that carry answers, one file each.

pub mod column;
pub mod eof;
pub mod err;
pub mod ok;
pub mod prepare_ok;
pub mod session_track;

pub use column::ColumnDefinition;
pub use eof::EofPacket;
pub use err::ErrPacket;
pub use ok::OkPacket;
pub use prepare_ok::PrepareOk;
