//! Bringing failed hosts back, rung by rung, as far as the job allows.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use reveille_account::{Class, EventKind, Outcome, StepRef};
use reveille_job::{Role, Scope};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::gatekeeper::{Case, Ruling, Rung};
use crate::host::{Halt, HostTask};
use crate::plan::Route;
use crate::step::{failed, step_ref};
use crate::stop::Stop;

/// How long a host may take to be back with another boot.
const REBOOT: Duration = Duration::from_mins(10);
/// How long the operator's command may take to put another machine in a host's place.
const REPLACE: Duration = Duration::from_mins(30);
/// Bytes of what that command says which are read.
const ANSWER: u64 = 64 * 1024;

/// What was done to bring a host back.
#[derive(Debug, Default)]
pub(crate) struct Healing {
    /// Recoveries so far.
    pub(crate) count: u32,
    repaired: Vec<usize>,
    rebooted: bool,
    /// How the machine failed that was replaced.
    replaced: Option<Class>,
    routes: usize,
}

impl HostTask {
    /// What is done about a failure: nothing comes back if the host is worth another go, from the step that it is at.
    /// Otherwise the outcome, with the gatekeeper's sentence.
    pub(crate) async fn heal(&mut self, outcome: Box<Outcome>) -> Result<Option<Box<Outcome>>, Halt> {
        let mut outcome = outcome;
        if self.case(outcome.class).considered {
            self.engine
                .failed_alike(&self.plan.name, self.seed(), outcome.class)
                .await?;
        }
        loop {
            if self.engine.stopped.asked() > Stop::No {
                return Ok(Some(outcome));
            }
            let rung = match self.case(outcome.class).rule(outcome.class) {
                Ruling::Recover(rung) => rung,
                Ruling::GiveUp(why) => {
                    outcome.gatekeeper = why;
                    return Ok(Some(outcome));
                }
                Ruling::Quarantine(class, why) => {
                    outcome.message = format!("{}; {why}", outcome.message);
                    outcome.gatekeeper = why;
                    outcome.class = class;
                    return Ok(Some(outcome));
                }
            };
            self.healing.count += 1;
            self.note(EventKind::Recovering {
                class: outcome.class,
                reason: self.words(rung),
                in_ms: 0,
            });
            self.commit_notes().await?;
            let mut stopped = self.engine.stopped.clone();
            let engine = Arc::clone(&self.engine);
            tokio::select! {
                () = engine.may_recover() => {}
                () = stopped.wait(Stop::Soon) => return Err(Halt::Interrupted),
            }
            // What the failure left to tell is kept, should the recovery not come about.
            let deciding = self.deciding.take();
            let at = step_ref(self.reached, &engine.job.steps[self.reached]);
            let result = match rung {
                Rung::Route => {
                    self.take_route();
                    Ok(())
                }
                Rung::Repair(index) => {
                    self.healing.repaired.push(index);
                    Box::pin(self.step(index, &engine.job.steps[index])).await
                }
                Rung::Reboot => {
                    self.healing.rebooted = true;
                    Box::pin(self.reboot_to_heal(&at, REBOOT)).await
                }
                Rung::Replace => {
                    self.healing.replaced = Some(outcome.class);
                    Box::pin(self.replace(&at, &outcome)).await
                }
            };
            match result {
                Ok(()) => return Ok(None),
                Err(Halt::Outcome(again)) => {
                    self.deciding = deciding;
                    outcome.message =
                        format!("{}; {} failed: {}", outcome.message, name(rung), again.message);
                }
                Err(halt) => return Err(halt),
            }
        }
    }

    /// What the gatekeeper is to know.
    fn case(&self, class: Class) -> Case {
        let job = &self.engine.job;
        let repair = job.steps.iter().enumerate().find(|(index, step)| {
            matches!(&step.role, Role::Repair(classes) if classes.contains(&class))
                && !self.healing.repaired.contains(index)
        });
        let repairs = job.steps.iter().any(|step| matches!(step.role, Role::Repair(_)));
        Case {
            recoveries: self.healing.count,
            route: self.healing.routes < self.plan.routes.len(),
            repair: repair.map(|(index, _)| index),
            reboot: job.heal.reboot && !self.healing.rebooted,
            replace: job.replaces() && self.healing.replaced.is_none(),
            on_both: self.healing.replaced == Some(class),
            considered: repairs || job.heal.reboot || job.replaces() || !self.plan.routes.is_empty(),
            suspected: self.engine.suspicion(class),
        }
    }

    fn words(&self, rung: Rung) -> String {
        match rung {
            Rung::Route => {
                let Route { address, port, jump } = &self.plan.routes[self.healing.routes];
                let through = match jump {
                    None => String::new(),
                    Some(None) => ", without a jump host".to_owned(),
                    Some(Some(jump)) => format!(" through {}:{}", jump.address, jump.port),
                };
                format!("rung 3: another route, {address}:{port}{through}")
            }
            Rung::Repair(index) => format!("rung 4: the repair `{}`", self.engine.job.steps[index].name),
            Rung::Reboot => "rung 5: a reboot".to_owned(),
            Rung::Replace => "rung 6: another machine in its place".to_owned(),
        }
    }

    /// Goes the next way to the host. Its key is looked up by the name of the first.
    fn take_route(&mut self) {
        let Route { address, port, jump } = self.plan.routes[self.healing.routes].clone();
        self.healing.routes += 1;
        let mut target = (*self.plan.target).clone();
        let alias = match target.port {
            22 => target.address.clone(),
            port => format!("[{}]:{port}", target.address),
        };
        target.host_key_alias.get_or_insert(alias);
        target.address = address;
        target.port = port;
        target.jump = jump.unwrap_or(target.jump);
        self.plan.target = Arc::new(target);
        self.session = None;
        self.under_way = None;
    }

    /// Runs the operator's command, and goes on with the machine that it names, from the first step.
    async fn replace(&mut self, at: &StepRef, outcome: &Outcome) -> Result<(), Halt> {
        let refused = |why: String| {
            failed(
                at,
                Class::TransferFailed,
                format!("no other machine took its place: {why}"),
            )
        };
        let vars = self
            .vars
            .get_or_insert_with(|| (self.engine.vars)(&self.plan.name));
        let scope = Scope::new(self.plan.name.as_str(), vars, &self.engine.shared);
        let command = self
            .engine
            .job
            .replacement(&scope)
            .map_err(|error| refused(error.to_string()))?
            .unwrap_or_default();
        let mut child = Command::new("sh")
            .args(["-c", &command])
            .env("REVEILLE_HOST", self.plan.name.as_str())
            .env("REVEILLE_ADDRESS", &self.plan.target.address)
            .env("REVEILLE_CLASS", outcome.class.as_str())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| refused(format!("can't run `{command}`: {error}")))?;
        let mut said = Vec::new();
        let answering = async {
            if let Some(stdout) = child.stdout.take() {
                stdout.take(ANSWER).read_to_end(&mut said).await?;
            }
            child.wait().await
        };
        let mut stopped = self.engine.stopped.clone();
        let status = tokio::select! {
            status = timeout(REPLACE, answering) => status,
            () = stopped.wait(Stop::Soon) => return Err(Halt::Interrupted),
        };
        let status = status
            .map_err(|_| refused(format!("`{command}` took longer than {REPLACE:?}")))?
            .map_err(|error| refused(error.to_string()))?;
        if !status.success() {
            return Err(refused(format!("`{command}` ended with {status}")));
        }
        let text = String::from_utf8_lossy(&said);
        let line = text.trim().lines().next_back().unwrap_or_default().trim();
        let (address, port) =
            place(line, self.plan.target.port).ok_or_else(|| refused(format!("`{line}` is no address")))?;
        self.note(EventKind::Replaced {
            address: address.clone(),
            port,
        });
        self.commit_notes().await?;
        self.move_to(address, port);
        Ok(())
    }

    /// Another machine is the host from here on: nothing was done on it yet, and its key is its own.
    fn move_to(&mut self, address: String, port: u16) {
        for index in 0..self.engine.job.steps.len() {
            let taken = self.next_attempt(index) - 1;
            if taken > 0 {
                self.begun.insert(index, taken);
            }
        }
        let mut target = (*self.plan.target).clone();
        if (target.address.as_str(), target.port) == (address.as_str(), port) {
            // Under the same address the old machine's key would be asked for.
            target.host_key_alias = Some(format!("{}.{}", self.plan.name, self.engine.handle.run()));
        }
        target.address = address;
        target.port = port;
        self.plan.target = Arc::new(target);
        self.plan.before = None;
        self.session = None;
        self.place = None;
        self.leftovers = None;
        self.under_way = None;
        self.facts = None;
        self.registered.clear();
        self.reached = 0;
    }
}

fn name(rung: Rung) -> &'static str {
    match rung {
        Rung::Route => "another route",
        Rung::Repair(_) => "the repair",
        Rung::Reboot => "the reboot",
        Rung::Replace => "the replacement",
    }
}

/// `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`; an address is a name or a number without anything odd in it.
pub fn place(text: &str, usual: u16) -> Option<(String, u16)> {
    let (address, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            (address, port.strip_prefix(':'))
        }
        None if text.matches(':').count() == 1 => {
            let (address, port) = text.split_once(':')?;
            (address, Some(port))
        }
        None => (text, None),
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
        None => usual,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    (!address.is_empty() && !address.starts_with('-') && address.chars().all(plain))
        .then(|| (address.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let read = |text| place(text, 22);
        assert_eq!(read("10.0.0.5"), Some(("10.0.0.5".into(), 22)));
        assert_eq!(read("web9:2222"), Some(("web9".into(), 2222)));
        assert_eq!(read("fe80::1%eth0"), Some(("fe80::1%eth0".into(), 22)));
        assert_eq!(read("[::1]:22022"), Some(("::1".into(), 22022)));
        for bad in ["", "-oProxyCommand=x", "a b", "web:0", "web:x", "[::1", "$(x)"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
