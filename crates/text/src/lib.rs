//! Words on their way in and out of the programs: text that people write is read here, and text that people or machines
//! see is made safe for them here. Each kind of word has one form, whichever program reads or prints it.
//!
//! | in | out |
//! |---|---|
//! | [`duration::parse`]: `500ms`, `1h30m` | [`duration::shown`]: `22.8 ms`, `1 m 30 s` |
//! | [`Bytes`]: `64KiB`, `10MB` | [`Bytes`]: `3.4 MB` |
//! | [`bounded`]: files with a limit | [`replace`]: files replaced in one step |
//! | [`glob`]: `web*`, `db[0-9]` | [`harmless`]: untrusted text for a terminal |
//! | [`Secret`]: passwords | [`Markup`]: text in XML and HTML |
//!
//! Each row is a file or two (`duration.rs`, `quantity.rs`, `bounded.rs` and `replace.rs`, `glob.rs` and `harmless.rs`,
//! `secret.rs` and `escape.rs`); none needs another. The crate is at the bottom: it depends on no other crate of the
//! workspace.
//!
//! ```
//! use std::time::Duration;
//!
//! use reveille_text::{Bytes, duration, harmless};
//!
//! assert_eq!(duration::parse("1m30s"), Ok(Duration::from_secs(90)));
//! assert_eq!(
//!     duration::parse("90").unwrap_err(),
//!     "the duration `90` has no unit; write `90s` for seconds"
//! );
//! assert_eq!(duration::shown(Duration::from_micros(22_801)), "22.8 ms");
//!
//! assert_eq!("64KiB".parse(), Ok(Bytes(65_536)));
//! assert_eq!("64KB".parse(), Ok(Bytes(64_000)));
//!
//! assert_eq!(harmless::block("\u{1b}[31mred\u{1b}[0m"), "red");
//! ```

pub mod bounded;
pub mod duration;
mod escape;
pub mod glob;
pub mod harmless;
mod quantity;
pub mod replace;
mod secret;

pub use escape::Markup;
pub use quantity::{Bytes, counted, grouped};
pub use secret::{Secret, is_secret};
