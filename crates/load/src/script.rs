//! Scripts: a few lines of Rhai that run after an answer.
//!
//! A script has `status`, `body` and `vars`, the user's own values, which it may change. `throw` fails the request. One
//! engine serves a whole shard and limits operations and sizes; a user has no state beyond its values.

use std::cell::RefCell;
use std::collections::HashMap;

use minijinja::Value;
use rhai::serde::{from_dynamic, to_dynamic};
use rhai::{AST, Dynamic, Engine, EvalAltResult, Map, Scope};

/// The most operations of one run of a script.
const MAX_OPERATIONS: u64 = 200_000;
/// The most bytes of a string in a script, and the most items of an array or map.
const MAX_STRING: usize = 2 << 20;
const MAX_ITEMS: usize = 10_000;

/// A shard's engine and its compiled scripts.
pub(crate) struct Scripts {
    engine: Engine,
    compiled: RefCell<HashMap<usize, AST>>,
}

fn engine() -> Engine {
    let mut engine = Engine::new();
    engine.set_max_operations(MAX_OPERATIONS);
    engine.set_max_string_size(MAX_STRING);
    engine.set_max_array_size(MAX_ITEMS);
    engine.set_max_map_size(MAX_ITEMS);
    engine.set_max_expr_depths(64, 32);
    engine.set_max_call_levels(16);
    engine.disable_symbol("eval");
    engine.on_print(|_| {});
    engine.on_debug(|_, _, _| {});
    engine
}

/// Whether `script` can be compiled.
pub(crate) fn check(script: &str) -> Result<(), String> {
    engine()
        .compile(script)
        .map(|_| ())
        .map_err(|error| format!("the script is not valid: {error}"))
}

// === impl Scripts ===

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            engine: engine(),
            compiled: RefCell::default(),
        }
    }

    /// Runs the script of a step; returns the contents of `vars` at its end.
    pub(crate) fn run(
        &self,
        step: usize,
        script: &str,
        status: u16,
        body: &[u8],
        vars: Vec<(String, Value)>,
    ) -> Result<Vec<(String, Value)>, String> {
        let mut compiled = self.compiled.borrow_mut();
        let ast = match compiled.entry(step) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(self.engine.compile(script).map_err(|error| error.to_string())?)
            }
        };
        let map = vars.into_iter().map(|(name, value)| {
            let value = to_dynamic(value).unwrap_or(Dynamic::UNIT);
            (name.into(), value)
        });
        let map: Map = map.collect();
        let mut scope = Scope::new();
        scope.push("status", i64::from(status));
        scope.push("body", String::from_utf8_lossy(body).into_owned());
        scope.push("vars", map);
        self.engine
            .run_ast_with_scope(&mut scope, ast)
            .map_err(|error| match *error {
                EvalAltResult::ErrorRuntime(value, _) => value.to_string(),
                other => other.to_string(),
            })?;
        let map: Map = scope.get_value("vars").ok_or("`vars` is no longer a map")?;
        map.into_iter()
            .filter(|(_, value)| !value.is_unit())
            .map(|(name, value)| {
                let value = from_dynamic(&value).map_err(|error| format!("`vars.{name}`: {error}"))?;
                Ok((name.to_string(), value))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> Result<Vec<(String, Value)>, String> {
        let vars = vec![("n".to_owned(), Value::from(2))];
        Scripts::new().run(0, script, 200, b"hello", vars)
    }

    #[test]
    fn scripts_read_and_leave_values() {
        let vars = run("vars.n = vars.n + status; vars.word = body.to_upper();").expect("good");
        assert_eq!(vars[0], ("n".to_owned(), Value::from(202)));
        assert_eq!(vars[1], ("word".to_owned(), Value::from("HELLO")));
    }

    #[test]
    fn scripts_are_bounded() {
        assert_eq!(
            run(r#"if status != 201 { throw "not made" }"#),
            Err("not made".to_owned())
        );
        assert!(run("loop {}").is_err());
        assert!(run(r#"let s = "x"; loop { s += s }"#).is_err());
        assert!(run("fn f() { f() } f()").is_err());
        assert!(check("let = ;").is_err());
    }
}
