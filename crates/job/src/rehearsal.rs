//! Changes a job so that it touches nothing but its hosts, for rehearsals.

use std::path::Path;

use minijinja::value::Value;
use reveille_document::Template;

use crate::job::Job;
use crate::scope::Var;
use crate::step::{Action, WaitFrom};

/// The value of every secret in a rehearsal.
const PLACEHOLDER: &str = "rehearsal";

// === impl Job ===

impl Job {
    /// Removes whatever the job does outside of its hosts: local commands, secrets, other hosts, and files that it writes
    /// on the controller, which go to `downloads`. Returns what is different, in words.
    pub fn rehearse(&mut self, downloads: &Path) -> Vec<String> {
        let mut differs = Vec::new();
        if self.heal.replace.take().is_some() {
            differs.push("`heal.replace` does not run, so no host gets another machine".to_owned());
        }
        let mut secrets = Vec::new();
        for (name, var) in &mut self.vars {
            if matches!(var, Var::Secret(_)) {
                *var = Var::Plain(Value::from(PLACEHOLDER));
                secrets.push(format!("`{name}`"));
            }
        }
        if !secrets.is_empty() {
            differs.push(format!(
                "the value of {} is the word \"{PLACEHOLDER}\"",
                secrets.join(", ")
            ));
        }
        let (mut elsewhere, mut waits, mut fetched) = (Vec::new(), Vec::new(), Vec::new());
        for (index, step) in self.steps.iter_mut().enumerate() {
            let name = format!("`{}`", step.name);
            if step.run_on.take().is_some() {
                elsewhere.push(name.clone());
            }
            match &mut step.action {
                Action::WaitFor {
                    from: from @ WaitFrom::Controller,
                    ..
                } => {
                    *from = WaitFrom::Host;
                    waits.push(name);
                }
                Action::Download { to, .. } => {
                    let directory = downloads.join(index.to_string());
                    *to = Template::plain(&format!("{}/", directory.display()));
                    fetched.push(name);
                }
                _ => {}
            }
        }
        for (what, steps) in [
            (
                "runs on the practice host itself, and not where `run_on` says",
                elsewhere,
            ),
            ("waits on the practice host, and not on this machine", waits),
            (
                "puts files into the drill's directory, which is removed at its end",
                fetched,
            ),
        ] {
            if !steps.is_empty() {
                differs.push(format!("{what}: {}", steps.join(", ")));
            }
        }
        differs
    }
}
