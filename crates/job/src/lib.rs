//! The job: what is done on each host, and what counts as done.
//!
//! A *job* is a list of *steps*; on each host they run in order. A step does one thing: it runs a command or a script,
//! copies a file there or here, or waits for something. Around that stand its conditions (`when`, `skip_if`), its rules of
//! success (`ok_codes`, `fatal`, `expect`, `fail_on_stderr`) and how it is tried (`attempts`, `watchdog`).
//!
//! What comes in is the text of a job file, YAML read strictly: [`Job::parse`] returns every mistake with file, line,
//! column, caret and usually a hint. Or a single command, [`Job::command`]. [`Job::source`] is what the ledger records, so
//! that a resumed run has the very same job.
//!
//! Text in a job may hold `{{ expressions }}`. They are compiled once, see what a [`Scope`] holds, and are checked for all
//! hosts before the first is dispatched ([`Job::check_all`]). For each host [`Job::render`] fills in a step.
//! Nothing but `{{ … }}` is special, as commands are full of other braces.
//!
//! When a command is over, [`Step::judge`] says what it comes to; [`Judge`] does the same while output arrives, in bounded
//! memory.
//!
//! ```
//! use reveille_account::Class;
//! use reveille_job::{Finished, Job, RenderedAction, Scope, Shared};
//!
//! let text = r#"
//! vars: {package: tomcat10}
//! steps:
//!   - run: apt-get install -y {{ package }}
//!     skip_if: {command: "dpkg -s {{ package }}"}
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

mod evaluation;
mod facts;
mod host_var;
mod job;
mod judge;
mod parse;
mod plan;
mod quantity;
mod read;
mod render;
mod schema;
mod scope;
mod selection;
mod source;
mod step;

pub use facts::{FACTS_COMMAND, Facts};
pub use job::{Job, MaxFail, Order};
pub use judge::{Finished, Judge, MAX_LINE_BYTES, Verdict};
pub use quantity::Amount;
pub use render::{Rendered, RenderedAction, RenderedSkipIf, WaitCondition};
pub use reveille_document::MAX_FILE_BYTES;
pub use schema::schema;
pub use scope::{Registered, Scope, SecretSource, Shared};
pub use source::{CommandOptions, JobSource, Selection};
pub use step::{Limit, OnStuck, Role, Step, WaitFrom, Watchdog};
