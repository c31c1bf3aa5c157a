//! Lists, metalinks and redirects.

mod list;
mod metalink;
mod wanted;

pub(crate) use self::list::{Format, list, redirect};
pub(crate) use self::metalink::{failure, metalink};
pub(crate) use self::wanted::Wanted;
