//! Documents: YAML files that people write (jobs, scenarios, lists of hosts), and the expressions in them.
//!
//! A document is read strictly: an unknown key is a mistake, and all mistakes of a file are reported at once, each with
//! file, line, column and caret. Expressions are in one [`language`], MiniJinja with what Ansible's users expect of it.
//!
//! The main types:
//!
//! - [`Node`]: a value that knows its [`Place`] in the text.
//! - [`Reader`]: reads nodes as what they should be (a duration, a word, fields), and collects the mistakes.
//! - [`Expression`]: compiled once, knows the names that it uses, evaluated with bounded fuel.
//! - [`Template`]: text with `{{ expressions }}`, and [`Blocks`]: a whole template of Jinja.
//!
//! A job file through the crate:
//!
//! 1. `tree.rs` makes a tree of nodes of the text ([`read()`]); size, nesting, nodes and aliases are bounded.
//! 2. The caller asks a [`Reader`] (`reader.rs`) for the fields that it knows.
//! 3. A text with templates becomes a [`Template`] (`template.rs`); `expression.rs` compiles each expression in the
//!    language of `language.rs`, and `scan.rs` finds the names and filters that MiniJinja does not report.
//! 4. For each host the caller evaluates it over [`Names`], which supplies the values.
//!
//! [`ansible`] decides which values of an inventory are templates.
//!
//! ```
//! use reveille_document::{Kind, Reader};
//!
//! let text = "name: web\nwithin: 90\n";
//! let kind = Kind { name: "job file", one: "a job file" };
//! let root = reveille_document::read(text, "web.yaml", &kind).unwrap();
//! let mut reader = Reader::new("web.yaml", text);
//! let fields = reader.fields(&root, "the job", &["name", "within"]).unwrap();
//! let within = fields.get("within").and_then(|node| reader.duration(node));
//! assert_eq!(within, None);
//! assert!(reader.mistakes[0].to_string().starts_with("the duration `90` has no unit"));
//! ```

pub mod ansible;
mod blocks;
mod expression;
mod language;
mod reader;
mod scan;
mod template;
mod tree;

pub use blocks::Blocks;
pub use expression::{EvaluationError, Expression, Names, refusal, value_of, write_value};
pub use language::language;
pub use reader::{Fields, Reader, items};
pub use template::{Part, Template};
pub use tree::{Kind, MAX_FILE_BYTES, Node, Place, Value, position, read};
