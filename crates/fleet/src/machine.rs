//! A machine that steps run on: how to reach it, its session, and what it reported.

use std::sync::Arc;

use reveille_account::{HostName, MachineRef, RunId, Site};
use reveille_history::HostHistory;
use reveille_job::Facts;
use reveille_transport::supervisor::Hello;
use reveille_transport::{Become, Session, Target};
use reveille_way::{Destination, Detour};

/// A machine, as seen by one host's task.
pub(crate) struct Machine {
    pub(crate) who: MachineRef,
    pub(crate) target: Arc<Target>,
    /// The user to become by default, if any.
    pub(crate) escalate: Option<Become>,
    /// The user to become for steps with `become`.
    pub(crate) becomes: Become,
    /// The label of machines on which the same work takes the same time.
    pub(crate) label: Option<Arc<str>>,
    pub(crate) session: Option<Session>,
    /// What it reported on this session, and to which user: each user has a separate directory.
    hello: Option<(Option<String>, Hello)>,
    /// Its facts, once a template needs them.
    pub(crate) facts: Option<Facts>,
}

// === impl Machine ===

impl Machine {
    /// The host's own machine: the original or its replacement, by the current route.
    pub(crate) fn own(plan: &Destination, history: &HostHistory, run: RunId) -> Self {
        let mut target = Arc::clone(&plan.target);
        if let Some((address, port)) = history.address() {
            target = Arc::new(replacement(plan, &history.own(), address, port, run));
        } else if let Some(route) = history
            .route()
            .checked_sub(1)
            .and_then(|index| plan.routes.get(index as usize))
        {
            target = Arc::new(along(&plan.target, route));
        }
        Self::new(history.own(), plan, target)
    }

    /// A delegate.
    pub(crate) fn delegate(plan: &Destination) -> Self {
        Self::new(
            MachineRef::Delegate(plan.name.clone()),
            plan,
            Arc::clone(&plan.target),
        )
    }

    fn new(who: MachineRef, plan: &Destination, target: Arc<Target>) -> Self {
        Self {
            who,
            target,
            escalate: plan.escalate.clone(),
            becomes: plan.becomes.clone(),
            label: plan.label.clone(),
            session: None,
            hello: None,
            facts: None,
        }
    }

    /// Whether it has a session.
    pub(crate) fn is_up(&self) -> bool {
        self.session.as_ref().is_some_and(|session| !session.is_closed())
    }

    /// Drops the session and what was reported on it.
    pub(crate) fn hang_up(&mut self) -> Option<Session> {
        self.hello = None;
        self.session.take()
    }

    /// Drops what it reported before it rebooted.
    pub(crate) fn rebooted(&mut self) {
        self.facts = None;
        self.hello = None;
    }

    /// What it reported to this user.
    pub(crate) fn hello(&self, user: Option<&Become>) -> Option<&Hello> {
        let user = user.map(|user| user.user.as_str());
        self.hello
            .as_ref()
            .filter(|(known, _)| known.as_deref() == user)
            .map(|(_, hello)| hello)
    }

    pub(crate) fn said_hello(&mut self, user: Option<&Become>, hello: Hello) {
        self.hello = Some((user.map(|user| user.user.clone()), hello));
    }

    /// How to become the user who started the work.
    pub(crate) fn become_again(&self, user: Option<&str>) -> Option<Become> {
        user.map(|user| match &self.escalate {
            Some(usual) if usual.user == user => usual.clone(),
            _ => self.becomes.for_user(user),
        })
    }

    /// The message prefix for a delegate; empty for the host's own machine.
    pub(crate) fn prefix(&self) -> String {
        match &self.who {
            MachineRef::Own(_) => String::new(),
            MachineRef::Delegate(name) => format!("on {name}: "),
        }
    }
}

/// The same host by another route. Its key is looked up under the original name.
fn along(first: &Target, route: &Detour) -> Target {
    let Detour { address, port, jump } = route.clone();
    let mut target = first.clone();
    let alias = match target.port {
        22 => target.address.clone(),
        port => format!("[{}]:{port}", target.address),
    };
    target.host_key_alias.get_or_insert(alias);
    target.address = address;
    target.port = port;
    target.jump = jump.unwrap_or(target.jump);
    target
}

/// The replacement. It has a key of its own: its address may be the old machine's, whose key must not be expected.
fn replacement(plan: &Destination, who: &MachineRef, address: &str, port: u16, run: RunId) -> Target {
    let mut target = (*plan.target).clone();
    let same = (target.address.as_str(), target.port) == (address, port);
    match who {
        MachineRef::Own(number) if *number > 1 => {
            target.host_key_alias = Some(format!("{}.{run}.{number}", plan.name));
        }
        _ if same => target.host_key_alias = Some(format!("{}.{run}", plan.name)),
        _ => {}
    }
    address.clone_into(&mut target.address);
    target.port = port;
    target
}

/// The part of a hello that an intent records.
pub(crate) fn site(hello: &Hello) -> Site {
    Site {
        boot: hello.boot.clone(),
        machine: hello.machine.clone(),
        node: hello.node.clone(),
        mark: hello.mark.clone(),
    }
}

/// The name of the delegate, if the step runs on another host.
pub(crate) fn delegate_of(rendered: Option<&str>, host: &HostName) -> Option<HostName> {
    rendered.filter(|name| *name != host.as_str()).map(HostName::from)
}
