//! What the screens show of a run.
//!
//! A screen is a fold of committed events: [`RunView`] takes one event after the other and knows at any time what each
//! host does, what each step came to, and how the account stands. Nothing here reads or writes: the program gives events
//! and the time, and writes what it gets to a terminal.
//!
//! ```text
//!  events ──► RunView ──► block()             the block at the bottom of a terminal
//!        └──► Notes ────► lines::on_terminal  lines that stay above it
//!                    └──► lines::in_log       the same in CI
//!        └──► Top                             the whole screen of `reveille top`
//!  output ──► Lines                           whole lines of hosts, as they come
//! ```
//!
//! 1. `run.rs` folds; `step.rs` has a step over all hosts. Each event costs constant time, except for an index of the
//!    running hosts by age.
//! 2. `notes.rs` chooses what is told at once; `story.rs` says which hosts have the same story.
//! 3. `words.rs` has a sentence for every event.
//! 4. `block.rs` and `lines.rs` lay out; `paint.rs` knows cells, roles and colours; `names.rs` folds lists of hosts;
//!    `clock.rs` shows wall-clock times.
//!
//! ```
//! use reveille_account::{Account, RunId};
//! use reveille_view::{Clock, Head, RunView, Size, block};
//!
//! let head = Head {
//!     run: RunId::new(0, [7; 10]),
//!     name: "deploy-app".to_owned(),
//!     durable: true,
//!     steps: vec!["install".to_owned(), "restart".to_owned()],
//!     planned: 512,
//!     before: Account::default(),
//! };
//! let view = RunView::new(head);
//! let size = Size { columns: 80, rows: 24 };
//! let lines = block(&view, 0, size, &Clock::utc(), false);
//! assert_eq!(lines[3].text(false), "ok 0   failed 0   running 0   recovering 0   waiting 512");
//! ```

mod block;
mod clock;
pub mod lines;
pub mod names;
mod notes;
mod paint;
mod run;
mod step;
pub mod story;
mod stream;
mod top;
pub mod words;

pub use block::{Size, block, elapsed, percent};
pub use clock::Clock;
pub use notes::{Detail, Note, Notes, Tag, connected, step_ended};
pub use paint::{HOST_COLOURS, Line, Role, Span, cells, cut, cut_middle, wrap, wrap_up_to};
pub use run::{Batch, Doing, Head, HostView, Oddity, Row, RunView};
pub use step::{StepView, Times};
pub use stream::{Lines, Mark, Said};
pub use top::{Effect, Key, Top, Wanted};
