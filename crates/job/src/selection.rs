//! Selects the steps of a run: by tags, and from a certain step.

use reveille_account::SourceError;

use crate::job::Job;
use crate::source::{JobSource, Selection};
use crate::step::{Role, Step};

/// A step with this tag always runs, unless `--skip-tags` names one of its tags.
const ALWAYS: &str = "always";
/// A step with this tag runs only if `--tags` names one of its tags.
const NEVER: &str = "never";

// === impl Selection ===

impl Selection {
    /// Why a step with these tags is skipped, if it is.
    fn leaves_out(&self, tags: &[String]) -> Option<String> {
        let has = |wanted: &[String]| tags.iter().any(|tag| wanted.contains(tag));
        if has(&self.skip_tags) {
            return Some("left out by --skip-tags".to_owned());
        }
        let named = |name: &str| tags.iter().any(|tag| tag == name);
        let chosen = if has(&self.tags) || named(ALWAYS) {
            true
        } else {
            self.tags.is_empty() && !named(NEVER)
        };
        (!chosen).then(|| {
            if self.tags.is_empty() {
                format!("it has the tag `{NEVER}`")
            } else {
                "left out by --tags".to_owned()
            }
        })
    }
}

impl Job {
    /// Marks the steps that are not selected.
    ///
    /// # Errors
    ///
    /// A sentence, if no step has one of the tags or the name, or no step is left.
    pub fn select(&mut self, selection: &Selection) -> Result<(), String> {
        let known: Vec<&str> = self
            .steps
            .iter()
            .flat_map(|step| step.tags.iter().map(String::as_str))
            .collect();
        for (option, tags) in [("--tags", &selection.tags), ("--skip-tags", &selection.skip_tags)] {
            for tag in tags {
                if !known.contains(&tag.as_str()) && tag != ALWAYS && tag != NEVER {
                    let hint = SourceError::nearest(tag, known.iter().copied())
                        .map_or_else(|| known_words(&known), |near| format!("; did you mean `{near}`?"));
                    return Err(format!("{option} {tag}: no step has this tag{hint}"));
                }
            }
        }
        let first = match &selection.start_at {
            None => 0,
            Some(name) => {
                let names = || self.main_steps().map(Step::name_in_file);
                names().position(|step| step == name).ok_or_else(|| {
                    let hint = SourceError::nearest(name, names())
                        .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                    format!("--start-at {name:?}: no step has this name{hint}")
                })?
            }
        };
        let main = self.steps.iter_mut().filter(|step| step.role == Role::Main);
        for (index, step) in main.enumerate() {
            step.left_out = if index < first {
                Some("left out by --start-at".to_owned())
            } else {
                selection.leaves_out(&step.tags)
            };
        }
        if self.main_steps().all(|step| step.left_out.is_some()) {
            return Err("no step is left to run".to_owned());
        }
        if let JobSource::File {
            selection: chosen, ..
        } = &mut self.source
        {
            chosen.clone_from(selection);
        }
        Ok(())
    }
}

fn known_words(known: &[&str]) -> String {
    let mut words: Vec<&str> = known.to_vec();
    words.sort_unstable();
    words.dedup();
    if words.is_empty() {
        "; the job has no tags".to_owned()
    } else {
        format!("; there are {}", words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(selection: &Selection) -> Result<Vec<String>, String> {
        let text = "steps:\n  - {name: a, run: x, tags: [web]}\n  - {name: b, run: x, tags: [db, slow]}\n  - {name: c, run: x}\n  \
                    - {name: d, run: x, tags: always}\n  - {name: e, run: x, tags: [never, wipe]}\n";
        let mut job = Job::parse(text, "job.yaml").map_err(|mistakes| mistakes[0].to_string())?;
        job.select(selection)?;
        // A recorded job selects the same steps.
        let again = Job::from_source(job.source()).map_err(|mistakes| mistakes[0].to_string())?;
        let names = |job: &Job| -> Vec<String> {
            let left = job.steps.iter().filter(|step| step.left_out.is_none());
            left.map(|step| step.name.clone()).collect()
        };
        assert_eq!(names(&job), names(&again));
        Ok(names(&job))
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn steps_are_chosen_by_tags_and_names() {
        let with = |tags: &[&str], skip_tags: &[&str], start_at: Option<&str>| {
            chosen(&Selection {
                tags: words(tags),
                skip_tags: words(skip_tags),
                start_at: start_at.map(str::to_owned),
            })
        };
        assert_eq!(with(&[], &[], None).unwrap(), ["a", "b", "c", "d"]);
        assert_eq!(with(&["web"], &[], None).unwrap(), ["a", "d"]);
        assert_eq!(with(&["wipe"], &["always"], None).unwrap(), ["e"]);
        assert_eq!(with(&[], &["slow"], None).unwrap(), ["a", "c", "d"]);
        assert_eq!(with(&[], &[], Some("c")).unwrap(), ["c", "d"]);
        assert_eq!(
            with(&["wbe"], &[], None).unwrap_err(),
            "--tags wbe: no step has this tag; did you mean `web`?"
        );
        assert_eq!(
            with(&[], &[], Some("zzzzzz")).unwrap_err(),
            "--start-at \"zzzzzz\": no step has this name"
        );
    }
}
