//! Finds what is the same on every host, so that it is checked once.

use std::collections::BTreeSet;

use reveille_document::Expression;

use crate::evaluation::{ITEM, MAX_VAR_DEPTH};
use crate::host_var::collect;
use crate::job::Job;
use crate::scope::{BUILT_IN, OF_THE_HOST};
use crate::step::Looped;

/// Whether the value is the same on every host.
pub(crate) fn is_constant(job: &Job, expression: &Expression, depth: usize) -> bool {
    are_constant(job, expression.roots().iter(), depth)
}

/// Whether all of these names have the same value on every host.
fn are_constant<'r>(job: &Job, mut roots: impl Iterator<Item = &'r String>, depth: usize) -> bool {
    depth <= MAX_VAR_DEPTH
        && roots.all(|root| {
            if OF_THE_HOST.contains(&root.as_str()) {
                return false;
            }
            if root == ITEM && job.has_loops() {
                return depth == 0 && has_constant_items(job);
            }
            if BUILT_IN.contains(&root.as_str()) || job.registers.contains_key(root) {
                return true;
            }
            if let Some(json) = job.extra.get(root) {
                let mut roots = BTreeSet::new();
                collect(json, &mut roots);
                return are_constant(job, roots.iter(), depth + 1);
            }
            job.var(root).is_some_and(|var| {
                let expressions = var.expressions();
                expressions
                    .iter()
                    .all(|expression| is_constant(job, expression, depth + 1))
            })
        })
}

/// Whether the items of all loops are the same on every host.
fn has_constant_items(job: &Job) -> bool {
    *job.constant_items.get_or_init(|| {
        let looped = job.steps.iter().filter_map(|step| step.looped.as_ref());
        looped
            .filter(|looped| looped.number == 0)
            .flat_map(Looped::expressions)
            .all(|expression| is_constant(job, expression, 1))
    })
}
