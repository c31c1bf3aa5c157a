//! MirrorManager's protocol buffers, read and written field by field.
//!
//! The snapshot of a large distribution has six million small messages. A tree of decoded messages would take ten times
//! the space of the final index, so messages are read in place, and only the needed fields are decoded.

mod list;
mod read;
mod schema;
mod write;

pub(crate) use self::list::{DirectoryEntry, ListWriter, Version};
pub(crate) use self::read::{Broken, Fields, Malformed, Messages, Value};
pub(crate) use self::schema::{directory, entry, files, mirror_list};
