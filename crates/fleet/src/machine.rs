//! A machine that steps run on: how it is reached, the session to it, what it said of itself.

use std::sync::Arc;

use reveille_account::{HostName, MachineRef, RunId, Site};
use reveille_history::HostHistory;
use reveille_job::Facts;
use reveille_transport::supervisor::Hello;
use reveille_transport::{Become, Session, Target};
use reveille_way::{Destination, Detour};

/// A machine, as one host's task knows it.
pub(crate) struct Machine {
    pub(crate) who: MachineRef,
    pub(crate) target: Arc<Target>,
    /// Whom to become, if steps that do not say otherwise become somebody.
    pub(crate) escalate: Option<Become>,
    /// Whom to become for steps that ask for it.
    pub(crate) becomes: Become,
    /// What tells it from machines on which the same takes another time.
    pub(crate) label: Option<Arc<str>>,
    pub(crate) session: Option<Session>,
    /// What it said of itself on this session, and to whom: a user has a place of its own.
    hello: Option<(Option<String>, Hello)>,
    /// What it says of itself in full, once a template has asked for it.
    pub(crate) facts: Option<Facts>,
}

// === impl Machine ===

impl Machine {
    /// The host's own machine: the first, or the one that took its place, on the way that is left.
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

    /// Another host, which runs steps for this one.
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

    /// Whether a session stands.
    pub(crate) fn is_up(&self) -> bool {
        self.session.as_ref().is_some_and(|session| !session.is_closed())
    }

    /// The session is no use any more, nor is what was said on it.
    pub(crate) fn hang_up(&mut self) -> Option<Session> {
        self.hello = None;
        self.session.take()
    }

    /// It was booted again: what it said of itself was of the boot before.
    pub(crate) fn rebooted(&mut self) {
        self.facts = None;
        self.hello = None;
    }

    /// What it said of itself to this user.
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

    /// How to become the user that work was begun as.
    pub(crate) fn become_again(&self, user: Option<&str>) -> Option<Become> {
        user.map(|user| match &self.escalate {
            Some(usual) if usual.user == user => usual.clone(),
            _ => self.becomes.for_user(user),
        })
    }

    /// Of another host its name, as the beginning of a message.
    pub(crate) fn prefix(&self) -> String {
        match &self.who {
            MachineRef::Own(_) => String::new(),
            MachineRef::Delegate(name) => format!("on {name}: "),
        }
    }
}

/// The same host along another way. Its key is looked up by the name of the first.
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

/// The machine that took the place. Its key is its own: under the same address the old machine's would be asked for.
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

/// What an intent keeps of a hello.
pub(crate) fn site(hello: &Hello) -> Site {
    Site {
        boot: hello.boot.clone(),
        machine: hello.machine.clone(),
        node: hello.node.clone(),
        mark: hello.mark.clone(),
    }
}

/// The name of another host that a step runs on, if it is another one.
pub(crate) fn delegate_of(rendered: Option<&str>, host: &HostName) -> Option<HostName> {
    rendered.filter(|name| *name != host.as_str()).map(HostName::from)
}
