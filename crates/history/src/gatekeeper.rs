//! The gatekeeper decides how to recover a failed host, or why not to.
//!
//! | rung | what | needs |
//! |---|---|---|
//! | 1 | the step again, on the same connection | an idempotent step, or proof that nothing ran |
//! | 2 | a new connection | the same |
//! | 3 | another route to the host | one in the inventory |
//! | 4 | a repair of the job | `heal.repair` for the class |
//! | 5 | a reboot, until the boot id changes | `heal.reboot` |
//! | 6 | another machine in its place | `heal.replace` |
//! | 7 | quarantine | an earlier recovery |
//!
//! Rungs 1 and 2 belong to the step and are counted there; the others are decided here.

use reveille_account::{Class, Loss, Rung};

use crate::attempt::State;
use crate::host::HostHistory;
use crate::outline::{Outline, Role};
use crate::rule::Rule;
use crate::view::RunView;

/// The limit on a host's recoveries.
const MOST: u32 = 3;

/// The facts about a failed host.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Case {
    /// Recoveries so far, by rungs 3 to 6.
    pub recoveries: u32,
    /// Another route is left.
    pub route: bool,
    /// A repair for the class that was not tried yet, as the position of its step.
    pub repair: Option<u32>,
    /// A reboot is allowed and was not tried yet.
    pub reboot: bool,
    /// A replacement is allowed and was not tried yet.
    pub replace: bool,
    /// It was replaced, and the replacement failed with the same class.
    pub on_both: bool,
    /// The job permits some recovery, or the host has another route.
    pub considered: bool,
    /// Many hosts fail with the same class.
    pub suspected: bool,
    /// It is unknown whether the step ran, and it may not run twice on this machine.
    pub unknowable: bool,
    /// Work left on its machine may still run, so nothing else may start there.
    pub left: bool,
}

/// The gatekeeper's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// Take this rung.
    Recover(Rung),
    /// Give up; the reason is empty if there was nothing to consider.
    GiveUp(String),
    /// Give up after recoveries were tried.
    Quarantine(Class, String),
}

// === impl Case ===

impl Case {
    /// Gathers the facts about a host that failed with `class` at this step.
    pub fn of(
        history: &HostHistory,
        view: &RunView,
        outline: &Outline<'_>,
        class: Class,
        step: Option<u32>,
    ) -> Self {
        let job = outline.job;
        let may = |taken: bool| Rule::RungOnce.holds(!taken);
        let repairs = |role: &Role| matches!(role, Role::Repair(classes) if classes.contains(&class));
        // Other routes lead to the machine that was replaced.
        let routes = if history.own().is_first() {
            outline.routes
        } else {
            0
        };
        let unknown = history.attempts().iter().any(|attempt| {
            Some(attempt.step) == step
                && match attempt.state {
                    State::Lost(Loss::Wiped) => true,
                    State::Lost(_) => !job.step(attempt.step).is_some_and(|step| step.idempotent),
                    State::Intended | State::Begun => false,
                }
        });
        let repair = job
            .of_role(repairs)
            .map(|(index, _)| index)
            .find(|index| may(history.is_repaired(*index)));
        Self {
            recoveries: history.recoveries(),
            route: history.route() < routes,
            repair,
            reboot: job.reboot && may(history.is_rebooted()),
            replace: job.replace && may(history.has_asked_for_another()),
            on_both: history.replaced() == Some(class),
            considered: job.repairs() || job.reboot || job.replace || outline.routes > 0,
            suspected: view.suspected == Some(class),
            unknowable: unknown,
            left: history.has_left(),
        }
    }

    /// Decides how to handle a failure of `class`.
    pub fn rule(&self, class: Class) -> Ruling {
        if let Some(why) = hopeless(class) {
            let sentence = if self.considered {
                why.to_owned()
            } else {
                String::new()
            };
            return Ruling::GiveUp(sentence);
        }
        if self.on_both {
            let why = format!("{class} on the original machine and on its replacement");
            return Ruling::Quarantine(Class::Poison, why);
        }
        if self.suspected {
            return Ruling::GiveUp(format!(
                "not recovered, because many hosts fail with {class}: suspect the job, the mirror or the network"
            ));
        }
        if Rule::ThreeRecoveries.demands(self.recoveries >= MOST) {
            let why = format!("{MOST} recoveries did not help; the last failure is {class}");
            return Ruling::Quarantine(Class::RecoveryLimit, why);
        }
        // A host that can't be reached can't be repaired or rebooted.
        let reachable = !class.is_connection() && class != Class::ConnectionLost;
        // Nothing may start beside work that may still run, or make a step run twice.
        let free = reachable && !self.left && !self.unknowable;
        if self.route && !reachable {
            return Ruling::Recover(Rung::Route);
        }
        if let Some(repair) = self.repair.filter(|_| free) {
            return Ruling::Recover(Rung::Repair(repair));
        }
        if self.reboot && free {
            return Ruling::Recover(Rung::Reboot);
        }
        if self.replace {
            return Ruling::Recover(Rung::Replace);
        }
        if self.recoveries > 0 {
            let why = format!("{class} after every recovery that the job allows");
            return Ruling::Quarantine(Class::RecoveryLimit, why);
        }
        Ruling::GiveUp(if self.considered {
            format!("the job allows no recovery from {class}")
        } else {
            String::new()
        })
    }
}

/// Why no recovery helps a failure of this class, or none is permitted.
fn hopeless(class: Class) -> Option<&'static str> {
    Some(match class {
        Class::HostKeyMismatch | Class::HostKeyUnknown => {
            "only an operator can decide whether to trust a host key"
        }
        Class::AuthFailed => "retrying does not fix credentials, and accounts get locked",
        Class::BecomeFailed | Class::BecomeMissing => "retrying does not fix missing rights",
        Class::TemplateError => "the mistake is in the job, not on the host",
        Class::ResultUnknown => "it is unknown whether the step ran, and it may not run twice",
        Class::AsksAQuestion => "the command would ask its question again",
        Class::Internal => "the fault is in Reveille, not on the host",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn everything() -> Case {
        Case {
            route: true,
            repair: Some(7),
            reboot: true,
            replace: true,
            considered: true,
            ..Case::default()
        }
    }

    #[test]
    fn the_ladder_is_climbed_rung_by_rung() {
        let mut case = everything();
        let class = Class::CommandFailed;
        assert_eq!(case.rule(class), Ruling::Recover(Rung::Repair(7)));
        case.repair = None;
        assert_eq!(case.rule(class), Ruling::Recover(Rung::Reboot));
        case.reboot = false;
        assert_eq!(case.rule(class), Ruling::Recover(Rung::Replace));
        case.replace = false;
        case.recoveries = 2;
        assert!(matches!(
            case.rule(class),
            Ruling::Quarantine(Class::RecoveryLimit, _)
        ));
        assert_eq!(
            everything().rule(Class::ConnectRefused),
            Ruling::Recover(Rung::Route)
        );
        let unreachable = Case {
            route: false,
            ..everything()
        };
        assert_eq!(
            unreachable.rule(Class::ConnectRefused),
            Ruling::Recover(Rung::Replace)
        );
        assert_eq!(
            Case::default().rule(class),
            Ruling::GiveUp(String::new()),
            "no reason is given if the job allows no recovery"
        );
    }

    proptest! {
        #[test]
        fn consent_and_limits_hold(
            class in proptest::sample::select(Class::ALL.to_vec()),
            recoveries in 0u32..6,
            flags in any::<[bool; 6]>(),
            repair in proptest::option::of(0u32..9),
        ) {
            let [route, reboot, replace, on_both, considered, suspected] = flags;
            let case = Case {
                recoveries, route, repair, reboot, replace, on_both, considered,
                suspected, unknowable: false, left: false,
            };
            match case.rule(class) {
                Ruling::Recover(rung) => {
                    prop_assert!(recoveries < MOST && !suspected && !on_both);
                    prop_assert!(hopeless(class).is_none());
                    let allowed = match rung {
                        Rung::Route => route,
                        Rung::Repair(index) => repair == Some(index),
                        Rung::Reboot => reboot,
                        Rung::Replace => replace,
                    };
                    prop_assert!(allowed);
                }
                Ruling::Quarantine(..) => prop_assert!(recoveries > 0 || on_both),
                Ruling::GiveUp(_) => {}
            }
        }
    }
}
