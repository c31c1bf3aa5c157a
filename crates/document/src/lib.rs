//! YAML files that people write: job files, scenarios. Read as a tree of nodes that know their places, and strictly: what
//! nobody asked for is a mistake, and all mistakes of a file are told at once, each with file, line, column and a caret.
//! Expressions in them are in one [`language`]: an [`Expression`] is compiled once, a [`Template`] is text with expressions,
//! and [`Blocks`] is a whole template of Jinja. Jobs, scenarios and inventories use the same three.
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
