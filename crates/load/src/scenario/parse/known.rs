//! Checks that names in templates and secrets are defined: variables, captures, data and its columns.

use std::collections::BTreeSet;

use reveille_account::SourceError;
use reveille_document::{Expression, Node, items};

use super::super::model::{Class, Data, Step};
use super::super::names::BUILT_IN;
use super::super::template::Text;
use super::context::Context;

impl Context<'_> {
    pub(super) fn check_names(&mut self, steps: &[Step], known: &BTreeSet<String>) {
        for step in steps {
            self.check_texts(step.texts().into_iter(), known);
        }
    }

    pub(super) fn check_texts<'t>(
        &mut self,
        texts: impl Iterator<Item = &'t Text>,
        known: &BTreeSet<String>,
    ) {
        for expression in texts.flat_map(Text::expressions) {
            self.check_columns(expression);
            for root in expression.roots() {
                let is_known = known.contains(root)
                    || self.unread.contains(root)
                    || self.constants.contains_key(root)
                    || BUILT_IN.contains(&root.as_str());
                if is_known {
                    continue;
                }
                let candidates = known
                    .iter()
                    .chain(self.constants.keys())
                    .map(String::as_str)
                    .chain(BUILT_IN.iter().copied());
                let hint = match SourceError::nearest(root, candidates) {
                    _ if self.left_out.contains(root) => {
                        format!("tags exclude the bootstrap, which sets it; add `-e {root}=…`")
                    }
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("capture it in an earlier step, or add `-e {root}=…`"),
                };
                self.at_byte(expression.at(), format!("`{root}` is undefined"), Some(hint));
            }
        }
    }

    /// Checks that data has the columns that an expression uses.
    fn check_columns(&mut self, expression: &Expression) {
        for path in expression.paths() {
            let mut names = path.split('.');
            let (Some(data), Some(column)) = (names.next(), names.next()) else {
                continue;
            };
            // A captured value of that name takes precedence.
            let Some(columns) = self.columns.get(data).filter(|_| !self.captured.contains(data)) else {
                continue;
            };
            if columns.is_empty() || columns.iter().any(|known| known == column) {
                continue;
            }
            let near = SourceError::nearest(column, columns.iter().map(String::as_str));
            let hint = near.map_or_else(
                || format!("the columns are {}", columns.join(", ")),
                |near| format!("did you mean `{data}.{near}`?"),
            );
            let message = format!("`{data}` has no column `{column}`");
            self.at_byte(expression.at(), message, Some(hint));
        }
    }

    /// Reads the names of values to mask.
    pub(super) fn secrets(&mut self, node: &Node, data: &[Data], classes: &[Class]) -> BTreeSet<String> {
        let columns = data.iter().flat_map(|data| {
            data.columns
                .iter()
                .map(|column| format!("{}.{column}", data.name))
        });
        let known: BTreeSet<String> = self
            .constants
            .keys()
            .filter(|name| *name != "env")
            .chain(&self.captured)
            .chain(data.iter().map(|data| &data.name))
            .chain(classes.iter().flat_map(|class| &class.slots))
            .cloned()
            .chain(columns)
            .chain(self.given.env.keys().map(|name| format!("env.{name}")))
            .collect();
        let mut secrets = BTreeSet::new();
        for node in items(node) {
            let Some(name) = self.reader.filled(node) else {
                continue;
            };
            if !known.contains(&name) && !name.starts_with("env.") {
                let hint = SourceError::nearest(&name, known.iter().map(String::as_str)).map_or_else(
                    || "write the name of a variable, a captured value, data, or a column such as `buyer.pin`".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                );
                self.reader
                    .mistake_with_hint(&node.place, format!("nothing is named `{name}`"), hint);
            }
            secrets.insert(name);
        }
        secrets
    }
}
