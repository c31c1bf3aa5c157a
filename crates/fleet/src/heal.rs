//! Recovers failed hosts, rung by rung, as far as the job permits.

use std::sync::Arc;
use std::time::Duration;

use reveille_account::{EventKind, Rung};
use reveille_history::{Permit, Trouble};
use reveille_job::Scope;
use reveille_text::duration;
use reveille_way::{Detour, place};
use tokio::time::timeout;

use crate::host::{Halt, HostTask};
use crate::machine::Machine;
use crate::stop::Stop;
use crate::world::Replacement;

/// How long a recovery reboot may take.
const REBOOT: Duration = Duration::from_mins(10);
/// How long the operator's command may take to replace a machine.
const REPLACE: Duration = Duration::from_mins(30);

impl HostTask {
    /// Takes a rung, once the fleet's budget permits a recovery.
    pub(crate) async fn take_rung(&mut self, rung: Rung) -> Result<(), Halt> {
        self.commit().await?;
        let mut stopped = self.engine.stopped.clone();
        let engine = Arc::clone(&self.engine);
        tokio::select! {
            biased;
            () = stopped.wait(Stop::Soon) => return Err(Halt::Interrupted),
            () = engine.may_recover() => {}
        }
        let class = match self.history.trouble() {
            Trouble::Stands(class, _) | Trouble::Healing(class, ..) | Trouble::GivenUp(class) => class,
            Trouble::None => return Ok(()),
        };
        self.prepared = None;
        self.message.clear();
        self.note(EventKind::Recovering {
            class,
            reason: self.words(rung),
            in_ms: 0,
            rung: Some(rung),
        });
        if rung == Rung::Route {
            self.leave_other().await?;
            let gone = self.own.hang_up();
            self.own = Machine::own(&self.to, &self.history, self.engine.handle.run());
            if let Some(session) = gone {
                Box::pin(session.close()).await;
            }
        }
        Ok(())
    }

    fn words(&self, rung: Rung) -> String {
        match rung {
            Rung::Route => match self.to.routes.get(self.history.route() as usize) {
                Some(Detour { address, port, jump }) => {
                    let through = match jump {
                        None => String::new(),
                        Some(None) => ", without a jump host".to_owned(),
                        Some(Some(jump)) => format!(" through {}:{}", jump.address, jump.port),
                    };
                    format!("rung 3: another route, {address}:{port}{through}")
                }
                None => "rung 3: another route".to_owned(),
            },
            Rung::Repair(index) => format!("rung 4: the repair `{}`", self.step_ref(index).name),
            Rung::Reboot => "rung 5: a reboot".to_owned(),
            Rung::Replace => "rung 6: another machine in its place".to_owned(),
        }
    }

    /// Reboots a failed host to recover it.
    pub(crate) async fn reboot_to_heal(&mut self, permit: &Permit) -> Result<(), Halt> {
        let at = self.step_ref(permit.step());
        let root = self.own.becomes.clone();
        let escalate = (self.own.target.user != "root").then_some(root);
        self.start_reboot(&at, permit, escalate.as_ref(), REBOOT).await
    }

    /// Runs the operator's command, and continues on the machine that it names, from the first step.
    pub(crate) async fn replace(&mut self) -> Result<(), Halt> {
        let refused = |task: &mut Self, why: String| {
            task.rung_failed(Rung::Replace, why);
        };
        let Trouble::Healing(class, ..) = self.history.trouble() else {
            return Ok(());
        };
        let vars = self.vars.get_or_insert_with(|| (self.engine.vars)(&self.to.name));
        let scope = Scope::new(self.to.name.as_str(), vars, &self.engine.shared);
        let command = match self.engine.job.replacement(&scope) {
            Ok(command) => command.unwrap_or_default(),
            Err(error) => {
                refused(self, error.to_string());
                return Ok(());
            }
        };
        self.commit().await?;
        let replacing = (self.engine.settings.world.replace)(Replacement {
            command: command.clone(),
            directory: self.engine.job.directory(),
            host: self.to.name.clone(),
            address: self.own.target.address.clone(),
            class,
            run: self.engine.handle.run(),
            number: match &self.own.who {
                reveille_account::MachineRef::Own(number) => number + 1,
                reveille_account::MachineRef::Delegate(_) => 1,
            },
        });
        let mut stopped = self.engine.stopped.clone();
        let said = tokio::select! {
            biased;
            said = timeout(REPLACE, replacing) => said,
            () = stopped.wait(Stop::Soon) => return Err(Halt::Interrupted),
        };
        let said = match said {
            Err(_) => {
                refused(
                    self,
                    format!("`{command}` took longer than {}", duration::shown(REPLACE)),
                );
                return Ok(());
            }
            Ok(Err(why)) => {
                refused(self, why);
                return Ok(());
            }
            Ok(Ok(said)) => said,
        };
        let text = String::from_utf8_lossy(&said);
        let line = text.trim().lines().next_back().unwrap_or_default().trim();
        let Some((address, port)) = place(line, self.own.target.port) else {
            refused(self, format!("`{line}` is not an address"));
            return Ok(());
        };
        if let Err(other) = self.engine.settle_at(&self.to, &address, port) {
            refused(self, format!("`{line}` is {other}, a host of this run"));
            return Ok(());
        }
        self.note(EventKind::Replaced { address, port });
        self.move_to_replacement().await
    }

    /// Switches to the new machine, on which nothing has run yet and which has a key of its own.
    async fn move_to_replacement(&mut self) -> Result<(), Halt> {
        self.commit().await?;
        let gone = self.own.hang_up();
        self.own = Machine::own(&self.to, &self.history, self.engine.handle.run());
        self.prepared = None;
        self.registered.clear();
        self.failure = None;
        self.deciding = None;
        if let Some(session) = gone {
            Box::pin(session.close()).await;
        }
        Ok(())
    }
}
