//! Failures that the operator can live with: they do not make the exit status 3, and the end of the run says so.

use std::collections::BTreeMap;

use reveille_account::{Class, Exit};
use reveille_ledger::export::Summary;
use reveille_pace::Portion;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::render::text;

/// What was stated; the ledger keeps it with the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Allowance {
    /// `--allow-failed`: hosts of any class.
    pub(crate) failed: Option<String>,
    /// `--allow-class`: hosts of one class, `CLASS=N`.
    pub(crate) classes: Vec<String>,
}

/// What an allowance comes to on a run.
pub(crate) struct Judged {
    pub(crate) exit: Exit,
    /// What the end of the run says about it; nothing if no host failed.
    pub(crate) words: Option<String>,
}

// === impl Allowance ===

impl Allowance {
    pub(crate) fn new(failed: Option<&String>, classes: &[String]) -> Result<Self, Failure> {
        let allowance = Self {
            failed: failed.cloned(),
            classes: classes.to_vec(),
        };
        allowance.parse()?;
        Ok(allowance)
    }

    pub(crate) fn is_none(&self) -> bool {
        self.failed.is_none() && self.classes.is_empty()
    }

    fn parse(&self) -> Result<(Portion, BTreeMap<Class, Portion>), Failure> {
        let failed = match &self.failed {
            None => Portion::Count(0),
            Some(text) => text
                .parse()
                .map_err(|error| Failure::usage(format!("--allow-failed: {error}")))?,
        };
        let mut classes = BTreeMap::new();
        for text in &self.classes {
            let wrong = |why: String| Failure::usage(format!("--allow-class {text}: {why}"));
            let (class, portion) = text
                .split_once('=')
                .ok_or_else(|| wrong("it has the form CLASS=N".to_owned()))?;
            let class: Class = class
                .trim()
                .parse()
                .map_err(|error| wrong(format!("{error}; `reveille explain` lists the classes")))?;
            let portion: Portion = portion.parse().map_err(|error| wrong(format!("{error}")))?;
            classes.insert(class, portion);
        }
        Ok((failed, classes))
    }

    /// Holds the failures of a run against it.
    pub(crate) fn judge(&self, summary: &Summary) -> Result<Judged, Failure> {
        let (failed, classes) = self.parse()?;
        let planned = summary.account.planned;
        let mut counts: BTreeMap<Class, u64> = BTreeMap::new();
        for host in summary.hosts_without_steps() {
            let host = host?;
            if let Some(class) = host.class.filter(|_| host.status != "success") {
                *counts.entry(class).or_default() += 1;
            }
        }
        let all: u64 = counts.values().sum();
        let beyond: u64 = counts
            .iter()
            .map(|(class, count)| count.saturating_sub(classes.get(class).map_or(0, |most| most.of(planned))))
            .sum();
        let unallowed = if failed.exceeded(beyond, planned) {
            beyond
        } else {
            0
        };
        let stated: Vec<String> = self
            .failed
            .iter()
            .map(|text| format!("--allow-failed {text}"))
            .chain(self.classes.iter().map(|text| format!("--allow-class {text}")))
            .collect();
        let hosts = text::hosts(usize::try_from(all).unwrap_or(usize::MAX));
        let within = if unallowed == 0 { "within" } else { "more than" };
        Ok(Judged {
            exit: summary.account.exit(unallowed),
            words: (all > 0).then(|| format!("{hosts} did not succeed, {within} {}", stated.join(" and "))),
        })
    }
}
