//! Failures that the operator allows, so that they do not set the exit status to 3.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use reveille_account::{Class, Exit};
use reveille_ledger::export::Summary;
use reveille_pace::Portion;
use serde::{Deserialize, Serialize};

/// The failures allowed; the ledger records it with the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Allowance {
    /// Failed hosts of any class.
    pub failed: Option<Portion>,
    /// Failed hosts of one class.
    pub classes: Vec<ClassAllowance>,
}

/// The allowed failures of one class, `CLASS=N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClassAllowance {
    /// The class.
    pub class: Class,
    /// The number of its hosts, or their share of the run.
    pub most: Portion,
}

/// A run's failures, judged by the allowance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// The exit status.
    pub exit: Exit,
    /// Hosts that did not succeed.
    pub failed: u64,
    /// Whether all of them are allowed.
    pub within: bool,
}

// === impl Allowance ===

impl Allowance {
    /// Whether nothing is allowed.
    pub fn is_none(&self) -> bool {
        self.failed.is_none() && self.classes.is_empty()
    }

    /// Judges the end of a run.
    ///
    /// # Errors
    ///
    /// The ledger can't be read.
    pub fn judge(&self, summary: &Summary) -> reveille_ledger::Result<Judged> {
        let planned = summary.account.planned;
        let mut counts: BTreeMap<Class, u64> = BTreeMap::new();
        for host in summary.hosts_without_steps() {
            let host = host?;
            if let Some(class) = host.class.filter(|_| host.status != "success") {
                *counts.entry(class).or_default() += 1;
            }
        }
        let allowed = |class: Class| {
            // The last option for a class counts.
            let mut of_class = self.classes.iter().rev();
            of_class
                .find(|allowed| allowed.class == class)
                .map_or(0, |allowed| allowed.most.of(planned))
        };
        let beyond: u64 = counts
            .iter()
            .map(|(class, count)| count.saturating_sub(allowed(*class)))
            .sum();
        let within = !self.failed.unwrap_or(Portion::Count(0)).exceeded(beyond, planned);
        Ok(Judged {
            exit: summary.account.exit(if within { 0 } else { beyond }),
            failed: counts.values().sum(),
            within,
        })
    }
}

impl fmt::Display for Allowance {
    /// Writes it as command-line options.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.failed.iter().map(|most| format!("--allow-failed {most}"));
        let classes = self.classes.iter().map(|class| format!("--allow-class {class}"));
        formatter.write_str(&failed.chain(classes).collect::<Vec<_>>().join(" and "))
    }
}

// === impl ClassAllowance ===

impl FromStr for ClassAllowance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (class, most) = text
            .split_once('=')
            .ok_or_else(|| "the form is CLASS=N".to_owned())?;
        Ok(Self {
            class: class
                .trim()
                .parse()
                .map_err(|error| format!("{error}; `reveille explain` lists the classes"))?,
            most: most.parse().map_err(|error| format!("{error}"))?,
        })
    }
}

impl fmt::Display for ClassAllowance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}={}", self.class, self.most)
    }
}

impl TryFrom<String> for ClassAllowance {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ClassAllowance> for String {
    fn from(allowance: ClassAllowance) -> Self {
        allowance.to_string()
    }
}
