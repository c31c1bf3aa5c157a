//! The job: what is done on each host, and what counts as done.
//!
//! A *job* is a list of *steps* that run in order on each host. A step does one thing: it runs a command or a script,
//! copies files, reboots, or waits. It has conditions (`when`, `skip_if`), rules of success (`ok_codes`, `fatal`,
//! `expect`) and limits (`attempts`, `watchdog`).
//!
//! The main types: [`Job`] and [`Step`], plain data; [`Scope`], what templates see on a host; [`Rendered`], a step
//! filled in for a host; [`Judge`] and its [`Verdict`].
//!
//! A job file through the crate:
//!
//! 1. [`Job::parse`] (`read.rs`, `parse.rs`, `parse/step.rs`, `parse/action.rs`) returns the job, or every mistake with
//!    file, line, column and caret. `selection.rs` removes steps by tags. [`Job::command`] makes a job of one command.
//!    [`Job::expand`] (`looping.rs`) repeats steps with `loop`.
//! 2. [`Job::check_all`] (`plan.rs`) evaluates every template for every host before the first is dispatched.
//! 3. For each host `evaluation.rs` resolves names (facts, vars, registered results), and [`Job::render`] fills in a
//!    step. Only `{{ … }}` is special in a command, because shell text is full of other braces.
//! 4. [`Judge`] (`judge.rs`) reads output as it arrives, in bounded memory, and the exit status.
//!
//! [`Job::source`] is what the ledger records, so a resumed run has the very same job. `schema.rs` describes the file
//! for editors and for `docs/job-reference.md`.
//!
//! ```
//! use reveille_account::Class;
//! use reveille_job::{Finished, Job, RenderedAction, Scope, Shared};
//!
//! let text = r#"
//! vars: {package: tomcat10}
//! steps:
//!   - run: apt-get install -y {{ package }}
//!     skip_if: {command: "dpkg -s {{ package }} | grep -q 'ok installed'"}
//!     fatal: [has no installation candidate]
//! "#;
//! let job = Job::parse(text, "install.yaml").map_err(|mistakes| mistakes[0].to_string())?;
//!
//! let shared = Shared::new("r-20261121-101502-4f2a", [], []);
//! let vars = serde_json::Map::new();
//! let scope = Scope::new("web1", &vars, &shared);
//! assert!(job.check(&scope).is_empty());
//! let RenderedAction::Run { command, shell } = job.render(0, &scope)?.action else { unreachable!() };
//! assert_eq!((command.as_str(), shell.as_str()), ("apt-get install -y tomcat10", "sh"));
//!
//! let verdict = job.steps[0].judge(&Finished {
//!     exit_status: Some(100),
//!     stderr: b"E: Package 'tomcat10' has no installation candidate\n",
//!     ..Finished::default()
//! });
//! assert_eq!(verdict.class, Class::FatalPattern);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod constant;
mod evaluation;
mod extra;
mod facts;
mod host_var;
mod job;
mod judge;
mod looping;
mod parse;
mod plan;
mod quantity;
mod read;
mod rehearsal;
mod render;
mod schema;
mod scope;
mod selection;
mod source;
mod step;

pub use extra::{Extra, Unused};
pub use facts::{FACTS_COMMAND, Facts};
pub use job::{Job, MaxFail, Order};
pub use judge::{Finished, Judge, MAX_LINE_BYTES, Verdict};
pub use looping::{MAX_ITEMS, MAX_STEPS};
pub use plan::Becoming;
pub use quantity::Amount;
pub use read::reads_like_template;
pub use render::{Preview, Rendered, RenderedAction, RenderedSkipIf, WaitCondition};
pub use reveille_document::MAX_FILE_BYTES;
pub use schema::schema;
pub use scope::{Registered, Scope, SecretSource, Shared};
pub use source::{CommandOptions, JobSource, Selection};
pub use step::{Limit, OnStuck, Placing, Role, Step, WaitFrom, Watchdog};
