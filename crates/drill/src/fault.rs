//! Faults, and the hosts that have them.

use std::fmt;
use std::str::FromStr;

use reveille_account::HostName;
use reveille_pace::Portion;

use crate::kind::{FaultError, FaultKind};

/// A kind of fault and its hosts: `refuse=5%`, `kex_stall=3`, `exit_100=drill-0001,drill-0007`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The kind.
    pub kind: FaultKind,
    /// The affected hosts.
    pub targets: Targets,
}

/// The hosts that have a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// A number of hosts, chosen by the seed among those without a fault.
    Some(Portion),
    /// These hosts.
    Hosts(Vec<HostName>),
}

// === impl Fault ===

impl Fault {
    /// Parses a fault, or `all=SHARE` or `all=COUNT`, which stand for every kind.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, FaultError> {
        let Some(("all", targets)) = text.split_once('=').map(|(kind, targets)| (kind.trim(), targets))
        else {
            return text.parse().map(|fault| vec![fault]);
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
}

impl FromStr for Fault {
    type Err = FaultError;

    /// Parses `KIND=SHARE`, `KIND=COUNT` or `KIND=NAME,NAME`.
    fn from_str(text: &str) -> Result<Self, FaultError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_and_hosts_are_parsed() {
        let fault = |text: &str| text.parse::<Fault>().unwrap();
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
            "refused=1".parse::<Fault>().unwrap_err().to_string(),
            "there is no fault \"refused\"; did you mean \"refuse\"?"
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
            assert!(text.parse::<Fault>().is_err(), "{text}");
        }
    }
}
