//! The network between controllers and machines: connections in memory, with a delay per message and every kind of
//! fault.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reveille_account::{Class, Phase};
use reveille_drill::memory::{Far, Input, Said};
use reveille_drill::{Call, ChannelIo, Host, Script as _, Supervisor};
use reveille_transport::memory::{Command, Connection, Network, Output, Sink, Wait};
use reveille_transport::{ConnectError, ExecError, Heard, Secret, Target};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use crate::life::{Crossing, Life};
use crate::plan::PASSWORD;
use crate::scenario::{Effect, What};
use crate::signal::Signal;
use crate::world::World;

/// Messages in transit on a channel.
const ON_THE_WAY: usize = 64;
/// How long a TCP connection attempt waits for an answer.
const NOBODY: Duration = Duration::from_secs(10);
/// How long a connection may stay without an answer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// The network as a controller sees it.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) life: Arc<Life>,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Line {
    life: Arc<Life>,
    world: Arc<World>,
    /// The host that the controller connects to.
    host: String,
    pub(crate) machine: Arc<Host>,
    latency: Duration,
    state: Signal<State>,
}

/// The controller's end of a connection.
#[derive(Debug)]
struct Wire(Arc<Line>);

/// The state of a connection.
#[derive(Debug, Clone, Default)]
struct State {
    /// Why the controller knows that it is gone.
    closed: Option<String>,
    /// Nothing gets through any more.
    severed: bool,
    /// Nothing gets through before this.
    stalled: Option<Instant>,
}

#[derive(Debug)]
struct Listener {
    line: Arc<Line>,
    messages: mpsc::Receiver<Heard>,
    /// A message that has arrived but was not returned: the waiter may be cancelled in between.
    arrived: Option<(Heard, Option<Crossing>)>,
    over: Option<Heard>,
}

#[derive(Debug)]
struct Speaker {
    line: Arc<Line>,
    /// `None` once the channel is closed.
    messages: Mutex<Option<mpsc::Sender<Input>>>,
}

// === impl Net ===

impl Network for Net {
    fn dial<'a>(&'a self, target: &'a Target) -> Wait<'a, Result<Arc<dyn Connection>, ConnectError>> {
        Box::pin(async move {
            let host = target.name.as_str();
            let life = &self.life;
            let crossing = life.cross(Effect::Dial, host).await;
            let world = &life.world;
            let n = u64::from(crossing.nth);
            let latency = world.delay(host, "latency", n, world.scenario.pacing.latency_ms);
            let latency = latency + Duration::from_millis(1);
            sleep(latency).await;
            let reached = match crossing.what {
                Some(what @ (What::Refused | What::Silence)) => Err(what),
                Some(What::Late(late)) => {
                    sleep(late.duration()).await;
                    world.reach(&target.address)
                }
                _ => world.reach(&target.address),
            };
            let machine = match reached {
                Ok(machine) => machine,
                Err(What::Refused) => {
                    return Err(ConnectError::told(
                        Phase::Tcp,
                        Class::ConnectRefused,
                        "connection refused",
                    ));
                }
                Err(_) => {
                    sleep(NOBODY).await;
                    return Err(ConnectError::told(
                        Phase::Tcp,
                        Class::ConnectTimeout,
                        "nobody answers",
                    ));
                }
            };
            life.crossed(&crossing).await;
            let connected = Arc::new(Line {
                life: Arc::clone(life),
                world: Arc::clone(world),
                host: host.to_owned(),
                machine,
                latency,
                state: Signal::default(),
            });
            world.hold(&connected);
            let connection: Arc<dyn Connection> = Arc::new(Wire(connected));
            Ok(connection)
        })
    }

    fn handshake<'a>(
        &'a self,
        target: &'a Target,
        connection: &'a Arc<dyn Connection>,
    ) -> Wait<'a, Result<(), ConnectError>> {
        Box::pin(async move {
            let host = target.name.as_str();
            let crossing = self.life.cross(Effect::Handshake, host).await;
            let world = &self.life.world;
            let n = u64::from(crossing.nth);
            sleep(world.delay(host, "handshake", n, 4 * world.scenario.pacing.latency_ms)).await;
            let failed =
                |class, message: &str| Err(ConnectError::told(Phase::Authentication, class, message));
            match crossing.what {
                Some(What::Silence) => {
                    sleep(KEEP_ALIVE).await;
                    return failed(Class::AuthStalled, "no answer to the login");
                }
                Some(What::Refused | What::BreakBefore | What::BreakAfter) => {
                    connection.cut();
                    return failed(Class::SshInitiatedFailed, "the host closed the connection");
                }
                _ => {}
            }
            if connection.is_closed() {
                return failed(Class::SshInitiatedFailed, &connection.why_closed());
            }
            let wants = world
                .scenario
                .hosts
                .iter()
                .any(|spec| spec.name == host && spec.password);
            let offered = target.authentication.password.as_ref();
            if wants && offered.is_none_or(|password| *password != Secret::new(PASSWORD)) {
                connection.cut();
                let mut error = ConnectError::told(
                    Phase::Authentication,
                    Class::AuthFailed,
                    "the password was refused",
                );
                error.password_refused = true;
                return Err(error);
            }
            self.life.crossed(&crossing).await;
            Ok(())
        })
    }
}

// === impl Line ===

impl Line {
    /// Breaks the connection for both sides; messages in transit are lost.
    pub(crate) fn sever(&self, why: &str) {
        self.state.change(|state| {
            state.severed = true;
            state.closed.get_or_insert_with(|| why.to_owned());
        });
    }

    /// Stalls the connection. If that lasts too long, the controller gives it up.
    fn stall(self: &Arc<Self>, lasts: Duration) {
        let until = Instant::now() + lasts;
        self.state.change(|state| state.stalled = Some(until));
        let line = Arc::clone(self);
        tokio::spawn(async move {
            if lasts > KEEP_ALIVE {
                sleep(KEEP_ALIVE).await;
                line.state.change(|state| {
                    state
                        .closed
                        .get_or_insert_with(|| "no answer to keep-alives".to_owned());
                });
            }
            sleep_until(until).await;
            line.state
                .change(|state| state.stalled = state.stalled.filter(|stalled| *stalled > until));
        });
    }

    /// Returns when nothing gets through any more.
    async fn severed(&self) {
        self.state.wait_for(|state| state.severed).await;
    }

    /// Returns when the controller knows that the connection is gone.
    async fn closed(&self) {
        self.state.wait_for(|state| state.closed.is_some()).await;
    }

    /// Waits until a message may get through; false if it never will.
    async fn lets_through(&self) -> bool {
        sleep(self.latency).await;
        let state = self
            .state
            .wait_for(|state| state.severed || state.stalled.is_none());
        !state.await.severed
    }

    fn why(&self) -> Option<String> {
        self.state.get().closed.clone()
    }

    /// Passes a line to the machine's login shell; returns the machine's end of the channel.
    fn deliver(self: &Arc<Self>, line: Vec<u8>) -> Far {
        let cut = {
            let line = Arc::downgrade(self);
            move || {
                if let Some(line) = line.upgrade() {
                    line.sever("the host broke the connection");
                }
            }
        };
        let (io, far) = ChannelIo::in_memory(ON_THE_WAY, Arc::new(cut));
        let call = Call {
            host: Arc::clone(&self.machine),
            command: line,
            io,
        };
        tokio::spawn(async move { Supervisor.run(call).await });
        far
    }

    /// Carries messages both ways, while any may still arrive.
    fn carry(self: &Arc<Self>, far: Far) -> (mpsc::Sender<Input>, mpsc::Receiver<Heard>) {
        let (to_host, mut outgoing) = mpsc::channel(ON_THE_WAY);
        let (incoming, from_host) = mpsc::channel(ON_THE_WAY);
        let Far { input, mut output } = far;
        let line = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                let message = tokio::select! {
                    biased;
                    () = line.severed() => break,
                    message = outgoing.recv() => message,
                };
                let Some(message) = message else { break };
                if !line.lets_through().await || input.send(message).await.is_err() {
                    break;
                }
            }
        });
        let line = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                let said = tokio::select! {
                    biased;
                    () = line.severed() => break,
                    said = output.recv() => said,
                };
                let Some(said) = said else { break };
                if !line.lets_through().await {
                    break;
                }
                // Without a reader the message is dropped, as by a system that has closed the socket.
                let _ = incoming.send(heard(said)).await;
            }
        });
        (to_host, from_host)
    }
}

// === impl Wire ===

impl Connection for Wire {
    fn is_closed(&self) -> bool {
        self.0.why().is_some()
    }

    fn why_closed(&self) -> String {
        self.0
            .why()
            .unwrap_or_else(|| "the connection was lost".to_owned())
    }

    fn took_password(&self) -> bool {
        let hosts = &self.0.world.scenario.hosts;
        hosts.iter().any(|spec| spec.name == self.0.host && spec.password)
    }

    fn exec(&self, command: Vec<u8>, _terminal: bool) -> Wait<'_, Result<Command, ExecError>> {
        Box::pin(async move {
            let line = &self.0;
            let crossing = line.life.cross(Effect::Exec, &line.host).await;
            if let Some(why) = line.why() {
                return Err(ExecError::NotSent(why));
            }
            match crossing.what {
                Some(What::Refused) => {
                    return Err(ExecError::Refused {
                        class: Class::ChannelRefused,
                        message: "the host refused to open a session".to_owned(),
                    });
                }
                Some(What::BreakBefore) => {
                    line.sever("the connection was reset");
                    return Err(ExecError::NotSent(self.why_closed()));
                }
                Some(What::Silence) => return std::future::pending().await,
                Some(What::Late(late)) => {
                    // The host may receive it after the controller has given up.
                    let line = Arc::clone(line);
                    let command = line.world.noted(command);
                    tokio::spawn(async move {
                        sleep(late.duration()).await;
                        if !line.state.get().severed {
                            drop(line.deliver(command));
                        }
                    });
                    return std::future::pending().await;
                }
                _ => {}
            }
            if !line.lets_through().await {
                return Err(ExecError::Unanswered(self.why_closed()));
            }
            // A controller that was replaced can still perform the one plain command that it had committed to.
            let command = if line.life.is_overtaken() {
                line.world.noted(command)
            } else {
                command
            };
            let far = line.deliver(command);
            if crossing.what == Some(What::BreakAfter) {
                drop(far);
                line.sever("the connection was reset");
                return Err(ExecError::Unanswered(self.why_closed()));
            }
            let (to_host, from_host) = line.carry(far);
            if !line.lets_through().await {
                return Err(ExecError::Unanswered(self.why_closed()));
            }
            line.life.crossed(&crossing).await;
            Ok(Command {
                output: Box::new(Listener {
                    line: Arc::clone(line),
                    messages: from_host,
                    arrived: None,
                    over: None,
                }),
                input: Box::new(Speaker {
                    line: Arc::clone(line),
                    messages: Mutex::new(Some(to_host)),
                }),
            })
        })
    }

    fn cut(&self) {
        // Messages in transit still arrive.
        self.0.state.change(|state| {
            state
                .closed
                .get_or_insert_with(|| "it was closed here".to_owned());
        });
    }
}

fn heard(said: Said) -> Heard {
    match said {
        Said::Stdout(bytes) => Heard::Stdout(bytes),
        Said::Stderr(bytes) => Heard::Stderr(bytes),
        Said::Eof => Heard::Eof,
        Said::ExitStatus(status) => Heard::ExitStatus(status),
        Said::ExitSignal(signal) => Heard::ExitSignal(signal),
        Said::Closed => Heard::Closed,
    }
}

// === impl Listener ===

impl Output for Listener {
    fn next(&mut self) -> Wait<'_, Heard> {
        Box::pin(async move {
            if let Some(over) = &self.over {
                return over.clone();
            }
            if self.arrived.is_none() {
                let message = tokio::select! {
                    biased;
                    () = self.line.closed() => None,
                    message = self.messages.recv() => message,
                };
                let message = match message {
                    Some(message) => message,
                    None if self.line.why().is_some() => Heard::Lost,
                    None => Heard::Closed,
                };
                self.arrived = Some((message, None));
            }
            // From here on, a cancelled waiter finds the message again.
            if let Some((message, crossing)) = &mut self.arrived
                && *message != Heard::Lost
            {
                if crossing.is_none() {
                    let crossed = self.line.life.cross(Effect::Heard, &self.line.host).await;
                    match crossed.what {
                        Some(What::BreakBefore) => {
                            self.line.sever("the connection was reset");
                            *message = Heard::Lost;
                        }
                        Some(What::BreakAfter) => self.line.sever("the connection was reset"),
                        Some(What::Stall(lasts)) => self.line.stall(lasts.duration()),
                        _ => {}
                    }
                    *crossing = Some(crossed);
                }
                if let Some(crossing) = crossing {
                    self.line.life.crossed(crossing).await;
                }
            }
            let message = self.arrived.take().map_or(Heard::Lost, |(message, _)| message);
            if matches!(message, Heard::Lost | Heard::Closed) {
                self.over = Some(message.clone());
            }
            message
        })
    }
}

// === impl Speaker ===

impl Speaker {
    fn messages(&self) -> Option<mpsc::Sender<Input>> {
        self.messages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn say(&self, mut message: Input) -> bool {
        let line = &self.line;
        let crossing = line.life.cross(Effect::Send, &line.host).await;
        if line.why().is_some() {
            return false;
        }
        match crossing.what {
            Some(What::BreakBefore) => {
                line.sever("the connection was reset");
                return false;
            }
            Some(What::Stall(lasts)) => line.stall(lasts.duration()),
            Some(What::BreakAt(bytes)) => {
                if let Input::Data(data) = &mut message {
                    data.truncate(bytes);
                }
            }
            _ => {}
        }
        let messages = self.messages();
        let Some(messages) = messages else { return false };
        let sent = tokio::select! {
            biased;
            () = line.closed() => false,
            sent = messages.send(message) => sent.is_ok(),
        };
        if matches!(crossing.what, Some(What::BreakAfter | What::BreakAt(_))) {
            // It arrives, and the answer is lost.
            let line = Arc::clone(line);
            tokio::spawn(async move {
                sleep(line.latency + Duration::from_millis(1)).await;
                line.sever("the connection was reset");
            });
        }
        line.life.crossed(&crossing).await;
        sent
    }
}

impl Sink for Speaker {
    fn send(&self, bytes: Bytes) -> Wait<'_, bool> {
        Box::pin(self.say(Input::Data(bytes)))
    }

    fn end(&self) -> Wait<'_, bool> {
        Box::pin(self.say(Input::Eof))
    }

    fn close(&self) {
        self.messages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}
