//! Output: what commands wrote, kept byte for byte in one file a host and round.
//!
//! A file is a row of *frames*, only ever appended to; each is a header of 32 bytes and its
//! bytes. A controller that dies in the middle of a write leaves a torn frame, which the next writer cuts off. Frames
//! carry the offset that their bytes have in the remote stream, so that re-attaching goes on at the right place.
//!
//! | bytes | field, little-endian |
//! |---|---|
//! | 4 | magic `RVF1` |
//! | 4 | CRC-32 of everything after it |
//! | 4 | step, from 0 |
//! | 4 | attempt, from 1 |
//! | 1 | stream: 1 stdout, 2 stderr |
//! | 1 | flags: bit 0, the frame is a gap |
//! | 2 | zero |
//! | 8 | offset in the remote stream |
//! | 4 | length |
//! | … | the bytes; for a gap the number of bytes left out, 8 bytes |

mod caps;
mod frame;
mod name;
mod reader;
mod tail;
mod writer;

#[cfg(feature = "memory")]
pub(crate) use caps::Durable;
pub use caps::{OutputCaps, OutputShare};
pub use frame::Frame;
pub use name::{encode_host, file_name};
pub use reader::OutputReader;
pub use writer::{OutputWriter, Resumption, StepOutput, Sync};
