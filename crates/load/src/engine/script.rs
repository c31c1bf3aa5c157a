//! The hook for what data can't say: a few lines of Rhai after an answer.
//!
//! A script sees `status`, `body` and `vars`, the user's own values; what it leaves in `vars` is the user's. `throw` fails
//! the request. One engine serves a whole shard, with limits on operations and sizes; a user has no state beyond its values.

use std::cell::RefCell;
use std::collections::HashMap;

use minijinja::Value;
use rhai::{AST, Dynamic, Engine, EvalAltResult, Map, Scope};

/// Operations of one call.
const MAX_OPERATIONS: u64 = 200_000;
/// Characters of a string, items of an array or map.
const MAX_STRING: usize = 2 << 20;
const MAX_ITEMS: usize = 10_000;

/// A shard's engine and its compiled scripts.
pub(crate) struct Scripts {
    engine: Engine,
    compiled: RefCell<HashMap<usize, AST>>,
}

// === impl Scripts ===

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
        .map_err(|error| format!("the script can't be read: {error}"))
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            engine: engine(),
            compiled: RefCell::default(),
        }
    }

    /// Runs the script of a step; returns what it left in `vars`.
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
        let mut map = Map::new();
        for (name, value) in vars {
            let value = serde_json::to_value(&value)
                .ok()
                .and_then(|value| rhai_of(&value))
                .unwrap_or(Dynamic::UNIT);
            map.insert(name.as_str().into(), value);
        }
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
        Ok(map
            .into_iter()
            .filter(|(_, value)| !value.is_unit())
            .map(|(name, value)| (name.to_string(), value_of(&value)))
            .collect())
    }
}

fn rhai_of(value: &serde_json::Value) -> Option<Dynamic> {
    Some(match value {
        serde_json::Value::Null => Dynamic::UNIT,
        serde_json::Value::Bool(truth) => (*truth).into(),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64()?.into(),
        },
        serde_json::Value::String(text) => text.clone().into(),
        serde_json::Value::Array(items) => items.iter().filter_map(rhai_of).collect::<Vec<Dynamic>>().into(),
        serde_json::Value::Object(entries) => entries
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().into(), rhai_of(value)?)))
            .collect::<Map>()
            .into(),
    })
}

fn value_of(value: &Dynamic) -> Value {
    if let Ok(number) = value.as_int() {
        Value::from(number)
    } else if let Ok(number) = value.as_float() {
        Value::from(number)
    } else if let Ok(truth) = value.as_bool() {
        Value::from(truth)
    } else {
        Value::from(value.to_string())
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
