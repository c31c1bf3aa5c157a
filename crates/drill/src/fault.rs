//! Faults: what is wrong with whom.

use std::fmt;
use std::str::FromStr;

use reveille_account::HostName;
use reveille_pace::Portion;

use crate::{Expected, FaultKind};

/// A kind of fault and the hosts that it strikes: `refuse=5%`, `kex_stall=3`, `exit_100=drill-0001,drill-0007`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// Whom it strikes.
    pub targets: Targets,
}

/// The hosts that a fault strikes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// So many, chosen by the seed among those that have no fault yet.
    Some(Portion),
    /// These.
    Hosts(Vec<HostName>),
}

/// A text that describes no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// The kind is not known.
    #[error("no fault is called {name:?}{}", hint(nearest.as_ref()))]
    Kind {
        /// What was asked for.
        name: String,
        /// What was perhaps meant.
        nearest: Option<String>,
    },
    /// The part after `=` is missing or wrong.
    #[error("{0:?} does not say whom it strikes: write KIND=5%, KIND=3 or KIND=NAME,NAME")]
    Targets(String),
}

fn hint(nearest: Option<&String>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; did you mean {nearest:?}?"))
}

// === impl Fault ===

impl Fault {
    /// What a run with default settings should make of it.
    pub fn expected(&self) -> Expected {
        self.kind.expected()
    }

    /// Reads what [`parse`](Self::parse) reads, and `all=SHARE` or `all=COUNT`: that of every kind.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, FaultError> {
        let Some(("all", targets)) = text.split_once('=').map(|(kind, targets)| (kind.trim(), targets))
        else {
            return Self::parse(text).map(|fault| vec![fault]);
        };
        let portion = targets
            .trim()
            .parse::<Portion>()
            .map_err(|_| FaultError::Targets(text.to_owned()))?;
        let each = |kind| Self {
            kind,
            targets: Targets::Some(portion),
        };
        Ok(FaultKind::all().map(each).collect())
    }

    /// Reads `KIND=SHARE`, `KIND=COUNT` or `KIND=NAME,NAME`.
    pub fn parse(text: &str) -> Result<Self, FaultError> {
        let wrong = || FaultError::Targets(text.to_owned());
        let (kind, targets) = text.split_once('=').unwrap_or((text, ""));
        let kind = kind.trim().parse()?;
        let targets = targets.trim();
        let targets = match targets.parse::<Portion>() {
            Ok(portion) => Targets::Some(portion),
            Err(_) if targets.contains('%') => return Err(wrong()),
            Err(_) => {
                let hosts: Vec<HostName> = targets
                    .split(',')
                    .map(str::trim)
                    .filter(|name| !name.is_empty())
                    .map(HostName::from)
                    .collect();
                if hosts.is_empty() {
                    return Err(wrong());
                }
                Targets::Hosts(hosts)
            }
        };
        Ok(Self { kind, targets })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.targets {
            Targets::Some(portion) => write!(formatter, "{}={portion}", self.kind),
            Targets::Hosts(hosts) => {
                let names: Vec<&str> = hosts.iter().map(HostName::as_str).collect();
                write!(formatter, "{}={}", self.kind, names.join(","))
            }
        }
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_whom_it_strikes() {
        let fault = |text: &str| Fault::parse(text).unwrap();
        assert_eq!(fault("refuse=5%").targets, Targets::Some(Portion::Share(500)));
        assert_eq!(fault("exit_100=3").kind, FaultKind::Exit(100));
        assert_eq!(fault("flap=3").kind, FaultKind::Flap(3));
        assert_eq!(
            fault("killed=drill-0001, drill-0007").targets,
            Targets::Hosts(vec!["drill-0001".into(), "drill-0007".into()])
        );
        for text in ["refuse=5%", "exit_100=3", "killed=drill-0001,drill-0007"] {
            assert_eq!(fault(text).to_string(), text);
        }
        assert_eq!(
            Fault::parse("refused=1").unwrap_err().to_string(),
            "no fault is called \"refused\"; did you mean \"refuse\"?"
        );
        let every = Fault::parse_all("all=5").unwrap();
        assert_eq!(every.len(), FaultKind::all().count());
        assert!(
            every
                .iter()
                .all(|fault| fault.targets == Targets::Some(Portion::Count(5)))
        );
        assert_eq!(Fault::parse_all("refuse=5%").unwrap().len(), 1);
        assert!(Fault::parse_all("all=drill-0001").is_err());
        for text in ["refuse", "refuse=", "refuse=101%", "refuse_3=1", "", "exit_x=1"] {
            assert!(Fault::parse(text).is_err(), "{text}");
        }
    }
}
