//! The output of commands, kept byte for byte in one file per host and round.
//!
//! A file is an append-only sequence of *frames*, each with a header of 32 bytes. A controller that dies during a write
//! leaves a torn frame, which the next writer cuts off. Frames contain the offset of their bytes in the remote stream,
//! so that re-attaching continues at the right place.
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
//! | … | the bytes; for a gap the number of dropped bytes, 8 bytes |

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
