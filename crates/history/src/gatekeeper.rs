//! The gatekeeper: what may be done about a host that failed, and why nothing more.
//!
//! | rung | what | needs |
//! |---|---|---|
//! | 1 | the step again, on the same connection | an idempotent step, or certainty that nothing ran |
//! | 2 | a new connection | the same |
//! | 3 | another route to the host | one in the inventory |
//! | 4 | a repair of the job | `heal.repair` for the class |
//! | 5 | a reboot, until it is another boot | `heal.reboot` |
//! | 6 | another machine in its place | `heal.replace` |
//! | 7 | quarantine | that something was tried |
//!
//! The first two belong to the step and are counted there; the others are decided here.

use reveille_account::{Class, Loss, Rung};

use crate::attempt::State;
use crate::decide::RunView;
use crate::host::HostHistory;
use crate::outline::{Outline, Role};
use crate::rule::Rule;

/// Recoveries of a host at most.
const MOST: u32 = 3;

/// What is known of a host that failed.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Case {
    /// Recoveries so far, of the rungs 3 to 6.
    pub recoveries: u32,
    /// Another route is left.
    pub route: bool,
    /// A repair for the class that was not tried yet.
    pub repair: Option<u32>,
    /// A reboot is allowed and was not tried yet.
    pub reboot: bool,
    /// A replacement is allowed and was not tried yet.
    pub replace: bool,
    /// It was replaced, and the other machine failed in the same way.
    pub on_both: bool,
    /// The job allows something, or a route was there.
    pub considered: bool,
    /// Many of its kind fail alike.
    pub suspected: bool,
    /// Whether the step ran is not known, and it may not run twice on this machine.
    pub unknowable: bool,
    /// Something that was left there may still run on its machine: nothing else may start on it.
    pub left: bool,
}

/// What is done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// This rung.
    Recover(Rung),
    /// Nothing more; the sentence is empty if there was nothing to consider.
    GiveUp(String),
    /// Nothing more, after something was tried.
    Quarantine(Class, String),
}

// === impl Case ===

impl Case {
    /// What is known of a host that failed with `class`, at this step.
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

    /// Decides what is done about a failure of `class`.
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
            let why = format!("{class} on the machine that was there and on the one that took its place");
            return Ruling::Quarantine(Class::Poison, why);
        }
        if self.suspected {
            return Ruling::GiveUp(format!(
                "not recovered: many hosts fail with {class}: suspect the job, the mirror or the network"
            ));
        }
        if Rule::ThreeRecoveries.demands(self.recoveries >= MOST) {
            let why = format!("{MOST} recoveries did not help; the last failure is {class}");
            return Ruling::Quarantine(Class::RecoveryLimit, why);
        }
        // What can't be reached can't be repaired or rebooted.
        let reachable = !class.is_connection() && class != Class::ConnectionLost;
        // Nor may anything start beside what may still run, or make a step run twice.
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
            let why = format!("{class} after everything that the job allows was tried");
            return Ruling::Quarantine(Class::RecoveryLimit, why);
        }
        Ruling::GiveUp(if self.considered {
            format!("the job allows nothing that is for {class}")
        } else {
            String::new()
        })
    }
}

/// Why nothing that could be done would change a failure of this class, or may be done about it.
fn hopeless(class: Class) -> Option<&'static str> {
    Some(match class {
        Class::HostKeyMismatch | Class::HostKeyUnknown => "a host key is for you to decide about",
        Class::AuthFailed => "credentials do not get better by trying, and accounts get locked",
        Class::BecomeFailed | Class::BecomeMissing => "rights do not get better by trying",
        Class::TemplateError => "the mistake is in the job, not on the host",
        Class::ResultUnknown => "whether the step ran is not known, and it may not run twice",
        Class::AsksAQuestion => "it asked a question, and would ask it again",
        Class::Internal => "the fault is ours, not the host's",
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
            "who allows nothing hears nothing"
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
