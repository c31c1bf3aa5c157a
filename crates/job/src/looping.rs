//! Loops: a step with `loop` is repeated for each item of a list.
//!
//! A loop is not a thing that runs. Before anything is dispatched, [`Job::expand`] replaces a step with `loop` by as many
//! steps as the longest list of any host has items, each with its number. From then on every repetition is a step like
//! all others: it has attempts and an intent of its own, and is resumed, retried and judged on its own. So the items must
//! be known before anything is dispatched; results and facts are refused. [`JobSource`] keeps the numbers of items, so
//! that a resumed run has the very same steps. A host whose list is shorter lacks the steps beyond it
//! ([`Job::absent`]); without any item, it skips the first one.

use minijinja::value::{Value, ValueKind};
use reveille_account::SourceError;
use reveille_text::harmless::shortened;

use crate::constant::is_constant;
use crate::evaluation::Evaluation;
use crate::job::Job;
use crate::scope::{Found, Mode, Registered, Scope, Var};
use crate::source::JobSource;
use crate::step::{Looped, Step};

/// The most items of a loop.
pub const MAX_ITEMS: usize = 1_000;
/// The most steps of a job with all repetitions of its loops.
pub const MAX_STEPS: usize = 10_000;
/// What the item's text takes the place of in a name.
const PLACE: &str = "{{ item }}";
/// How much of an item the name of its step shows, in characters.
const SHOWN: usize = 30;

/// What a step of a loop is for on a host.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// It belongs to no loop.
    NoLoop,
    /// It is for this item.
    Is(Value),
    /// The host's list is shorter.
    Absent,
}

/// The items of a loop, or why there are none.
pub(crate) type Items = Result<Vec<Value>, SourceError>;

// === impl Job ===

impl Job {
    /// Repeats the steps with `loop` for these hosts. Does nothing to a job without loops.
    ///
    /// # Errors
    ///
    /// Items that are no list, are too many, or are not known before anything is dispatched.
    pub fn expand<'a>(
        &mut self,
        scopes: &(impl IntoIterator<Item = Scope<'a>> + Clone),
    ) -> Result<(), Vec<SourceError>> {
        let mut counts = Vec::new();
        let mut mistakes = Vec::new();
        for step in &self.steps {
            let Some(looped) = &step.looped else { continue };
            match self.count(step, looped, scopes.clone()) {
                Ok(count) => counts.push(count),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        self.expand_to(&counts).map_err(|mistake| vec![mistake])?;
        self.record_loops();
        Ok(())
    }

    /// The number of steps that a loop needs: at least one, and as many as the longest list of any host.
    fn count<'a>(
        &self,
        step: &Step,
        looped: &Looped,
        scopes: impl IntoIterator<Item = Scope<'a>>,
    ) -> Result<usize, SourceError> {
        if step.left_out.is_some() {
            return Ok(1);
        }
        let expressions = looped.expressions();
        let constant = expressions
            .iter()
            .all(|expression| is_constant(self, expression, 0));
        if step.once && !constant {
            let mistake = self.mistake(
                looped.at,
                "the items of a `once` step must be the same for all hosts".to_owned(),
            );
            return Err(mistake.hint("take them from `vars` of the job or from `-e`"));
        }
        let mut count = 1;
        for scope in scopes {
            let evaluation = Evaluation::new(self, &scope, Mode::Plan);
            let skipped = step
                .when
                .as_ref()
                .is_some_and(|when| evaluation.holds(when).is_ok_and(|holds| holds == Some(false)));
            if !skipped {
                let items = evaluation.items(looped);
                let items = items.map_err(|mistake| SourceError {
                    message: format!("{} (on {})", mistake.message, scope.host),
                    ..mistake
                })?;
                count = count.max(items.len());
            }
            if constant && !skipped {
                break;
            }
        }
        Ok(count)
    }

    /// Repeats the steps with `loop`, given the number of steps for each of them.
    pub(crate) fn expand_to(&mut self, counts: &[usize]) -> Result<(), SourceError> {
        if counts.is_empty() {
            return Ok(());
        }
        let total = counts.iter().sum::<usize>() + self.steps.len() - counts.len().min(self.steps.len());
        if total > MAX_STEPS {
            let message =
                format!("with all items of its loops, the job has {total} steps; {MAX_STEPS} are possible");
            return Err(self.mistake(0, message));
        }
        let mut counts = counts.iter();
        for step in std::mem::take(&mut self.steps) {
            let Some(looped) = &step.looped else {
                self.steps.push(step);
                continue;
            };
            let count = counts.next().copied().unwrap_or(1).clamp(1, MAX_ITEMS);
            let names = self.item_names(&looped.items);
            let repetitions = (0..count).map(|number| {
                let item = names.as_ref().and_then(|names| names.get(number));
                let name = match item {
                    Some(item) if looped.name.contains(PLACE) => looped.name.replace(PLACE, item),
                    Some(item) => format!("{} ({item})", looped.name),
                    None => format!("{} #{}", looped.name, number + 1),
                };
                Step {
                    name,
                    looped: Some(Looped {
                        number,
                        ..looped.clone()
                    }),
                    ..step.clone()
                }
            });
            self.steps.extend(repetitions.collect::<Vec<_>>());
        }
        self.registers.clear();
        for (index, step) in self.steps.iter().enumerate() {
            if let Some(name) = &step.register {
                self.registers.entry(name.clone()).or_insert(index);
            }
        }
        Ok(())
    }

    /// Repeats the steps with `loop` as recorded.
    pub(crate) fn restore_loops(&mut self, counts: &[usize]) -> Result<(), Vec<SourceError>> {
        self.expand_to(counts).map_err(|mistake| vec![mistake])?;
        self.record_loops();
        Ok(())
    }

    /// Records the numbers of items, as [`expand`](Self::expand) found them.
    fn record_loops(&mut self) {
        let mut found: Vec<usize> = Vec::new();
        for looped in self.steps.iter().filter_map(|step| step.looped.as_ref()) {
            match found.last_mut() {
                Some(last) if looped.number > 0 => *last = looped.number + 1,
                _ => found.push(1),
            }
        }
        if let JobSource::File { loops, .. } = &mut self.source {
            *loops = found;
        }
    }

    /// What the items are called in the names of steps, if the job file lists them.
    fn item_names(&self, items: &Var) -> Option<Vec<String>> {
        match items {
            Var::List(items) => items.iter().map(item_name).collect(),
            Var::Template(template) => {
                let name = template.single()?.source();
                match self.var(name).filter(|_| !self.extra.contains_key(name))? {
                    Var::List(items) => items.iter().map(item_name).collect(),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Whether the job has loops.
    pub fn has_loops(&self) -> bool {
        self.steps.iter().any(|step| step.looped.is_some())
    }

    /// The positions of steps that this host lacks, because its list has fewer items than another host's.
    pub fn absent(&self, scope: &Scope<'_>) -> Vec<u32> {
        let evaluation = Evaluation::new(self, scope, Mode::Plan);
        let mut absent = Vec::new();
        let mut length = 0;
        for (index, step) in (0u32..).zip(&self.steps) {
            let Some(looped) = &step.looped else { continue };
            if looped.number == 0 {
                // Items that can't be read are a mistake unless the step is skipped.
                length = evaluation.items(looped).map_or(0, |items| items.len());
            } else if looped.number >= length {
                absent.push(index);
            }
        }
        absent
    }

    /// Makes the result of a step available to later steps.
    pub fn register(&self, scope: &mut Scope<'_>, index: u32, result: Registered) {
        let Some(step) = self.steps.get(index as usize) else {
            return;
        };
        match (&step.register, &step.looped) {
            (Some(name), Some(looped)) => scope.register_item(name.clone(), looped.number, result),
            (Some(name), None) => scope.register(name.clone(), result),
            (None, _) => {}
        }
    }
}

/// An item for the name of its step: its text, or what it calls itself.
fn item_name(item: &Var) -> Option<String> {
    match item {
        Var::Plain(value) if !matches!(value.kind(), ValueKind::Seq | ValueKind::Map) => Some(shortened(
            &reveille_text::harmless::line(&value.to_string()),
            SHOWN,
        )),
        Var::Map(entries) => {
            let name = entries.iter().find(|(key, _)| key == "name")?;
            item_name(&name.1)
        }
        _ => None,
    }
}

// === impl Evaluation ===

impl<'a> Evaluation<'a> {
    /// The items of a loop.
    pub(crate) fn items(self, looped: &Looped) -> Result<Vec<Value>, SourceError> {
        let wrong =
            |message: &str, hint: String| Err(self.job.mistake(looped.at, message.to_owned()).hint(hint));
        if looped
            .expressions()
            .into_iter()
            .any(|expression| self.uses_secrets(expression))
        {
            return wrong(
                "the items of `loop` can't be secrets, because results contain them",
                "loop over names, and take the secrets from the environment".to_owned(),
            );
        }
        let value = match self.var(&looped.items)? {
            Found::Value(value) => value,
            Found::Later | Found::Nothing => {
                return wrong(
                    "the items of `loop` must be known before anything is dispatched",
                    "they can come from variables, not from results and facts; loop in the shell".to_owned(),
                );
            }
        };
        let hint = match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => None,
            ValueKind::Map => Some("write `… | dict2items`".to_owned()),
            ValueKind::String => {
                let text = value.as_str().unwrap_or_default();
                let is_var = matches!(&*looped.items, Var::Plain(_));
                Some(if is_var {
                    format!("write `loop: \"{{{{ {text} }}}}\"`")
                } else {
                    "split a text: `{{ text.split(',') }}`".to_owned()
                })
            }
            _ => Some("write a list: `[a, b]`".to_owned()),
        };
        if let Some(hint) = hint {
            return wrong("`loop` needs a list", hint);
        }
        let items: Vec<Value> = match value.try_iter() {
            Ok(items) => items.take(MAX_ITEMS + 1).collect(),
            Err(_) => return wrong("`loop` needs a list", "write a list: `[a, b]`".to_owned()),
        };
        if items.len() > MAX_ITEMS {
            return wrong(
                &format!("a loop can have {MAX_ITEMS} items at most"),
                "loop in the shell, or send a file with the items".to_owned(),
            );
        }
        Ok(items)
    }

    /// What a step of a loop is for.
    pub(crate) fn item(self, step: &Step) -> Result<Item, SourceError> {
        self.item_again(step, &mut None)
    }

    /// Like [`item`](Self::item) for one step after the other: the items of a loop are evaluated once.
    pub(crate) fn item_again(self, step: &Step, known: &mut Option<Items>) -> Result<Item, SourceError> {
        let Some(looped) = &step.looped else {
            return Ok(Item::NoLoop);
        };
        if looped.number == 0 {
            *known = None;
        }
        let items = known.get_or_insert_with(|| self.items(looped));
        match items {
            Ok(items) => Ok(items.get(looped.number).cloned().map_or(Item::Absent, Item::Is)),
            Err(mistake) => Err(mistake.clone()),
        }
    }

    /// This evaluation with the value of `item`.
    pub(crate) fn with<'b>(self, item: &'b Item) -> Evaluation<'b>
    where
        'a: 'b,
    {
        Evaluation {
            item: match item {
                Item::Is(value) => Some(value),
                Item::NoLoop | Item::Absent => None,
            },
            ..self
        }
    }
}
