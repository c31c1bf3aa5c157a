//! Kills the controller at random moments of a job that uses `once`, `serial`, `max_fail`, `run_on`, `on_failed`, a repair
//! and a second route. Then resumes the run from another directory, kills it again, or closes the first route.
//!
//! The checks compare two independent sources: the ledger, and files on the machines to which every command writes its
//! start and its end. `REVEILLE_KILLS` sets the number of moments, `REVEILLE_MOMENT` selects a single one.

mod chance;
mod check;
mod fields;
mod job;
mod life;
mod record;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use self::chance::Chance;
use self::check::Known;
use self::fields::{Field, Packages, Servers};
use self::job::Host;
use self::life::{Life, When};
use crate::proxy::Proxy;
use crate::support::Reveille;

/// Controllers that are killed in one round, after the first.
const MOST_KILLS: usize = 4;

#[test]
fn killed_at_random_moments_of_everything_at_once() {
    let servers = Servers::up();
    for number in numbers(4) {
        Moment::new(number, &servers).pass();
    }
}

#[test]
fn killed_at_random_moments_of_an_install() {
    let packages = Packages::up();
    for number in numbers(1) {
        Moment::new(number, &packages).pass();
    }
}

fn numbers(usual: u64) -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    match number("REVEILLE_MOMENT") {
        Some(only) => only..only + 1,
        None => 0..number("REVEILLE_KILLS").unwrap_or(usual),
    }
}

/// A run that is killed at moments that follow from a seed.
struct Moment<'a, F> {
    number: u64,
    chance: Chance,
    field: &'a F,
    reveille: Reveille,
    hosts: Vec<Host>,
    proxies: Vec<Proxy>,
    /// The proxies pass connections on.
    open: bool,
    fixed: bool,
    /// A description of what the test did.
    story: Vec<String>,
}

// === impl Moment ===

impl<'a, F: Field> Moment<'a, F> {
    fn new(number: u64, field: &'a F) -> Self {
        let mut chance = Chance::new(number);
        let mut hosts = field.hosts(&mut chance);
        let mut behind: Vec<usize> = (0..hosts.len()).collect();
        chance.shuffle(&mut behind);
        behind.truncate(hosts.len() / 3);
        let proxies: Vec<Proxy> = behind
            .into_iter()
            .map(|index| {
                let proxy = Proxy::apart(hosts[index].address);
                hosts[index].proxy = Some(proxy.address());
                proxy
            })
            .collect();
        Self {
            number,
            chance,
            field,
            reveille: Reveille::new(),
            hosts,
            proxies,
            open: true,
            fixed: false,
            story: Vec::new(),
        }
    }

    fn pass(mut self) {
        let place = self.field.begin(self.number, &self.hosts);
        self.reveille.file("payload", self.number.to_string());
        // All paths are relative, and later controllers often start in another directory.
        std::fs::copy(self.field.key(), self.reveille.path().join("key")).unwrap();
        let inventory = job::inventory(&self.hosts, self.field.aside(), "key");
        self.reveille.file("inventory", inventory);
        self.reveille.file("job.yaml", self.field.kind().job(&place));
        if self.chance.one_in(4) {
            self.close_proxies();
        }
        let first = ["run", "job.yaml", "-i", "inventory", "--reconnect-within", "1s"];
        self.round(&first, true);
        if self.account()["success"] != self.hosts.len() && self.chance.one_in(2) {
            self.fixed = self.chance.one_in(2);
            if self.fixed {
                self.field.fix(&place);
            }
            if self.chance.one_in(2) {
                self.open_proxies();
            }
            let killed = !self.chance.one_in(3);
            self.round(&["retry"], killed);
        }
        self.check(&place);
        self.field.end(&place);
        eprintln!("moment {}:\n  {}", self.number, self.story.join("\n  "));
    }

    /// Runs a controller, and resumes the run until a controller ends by itself.
    fn round(&mut self, first: &[&str], killed: bool) {
        let mut arguments = first.to_vec();
        let mut kills = usize::from(killed);
        kills += (0..MOST_KILLS)
            .take_while(|_| killed && self.chance.one_in(3))
            .count();
        loop {
            let when = if kills == 0 {
                When::Never
            } else if self.chance.one_in(2) {
                When::Events(1 + self.chance.below(self.field.events()))
            } else {
                When::After(self.field.span() * u32::try_from(self.chance.below(1_000)).unwrap() / 1_000)
            };
            kills = kills.saturating_sub(1);
            // The first route of some hosts is closed while the controller works.
            let cut = (self.open && self.chance.one_in(4)).then(|| self.chance.below(self.field.events()));
            let elsewhere = arguments[0] != "run" && self.chance.one_in(2);
            let life = self.live(&arguments, when, cut, elsewhere);
            self.tell(format!(
                "{} ({when:?}, elsewhere: {elsewhere}): {} events, exit {:?}",
                arguments.join(" "),
                life.events,
                life.code
            ));
            if let Some(code) = life.code {
                let said = &life.said;
                assert!([0, 3].contains(&code), "{}\n{said}", self.words());
                return;
            }
            if arguments[0] == "run" && self.reveille.run(&["audit"]).code == 2 {
                self.tell("it was killed before there was a run".to_owned());
                continue;
            }
            let audit = self.reveille.run(&["audit"]);
            assert_eq!(audit.code, 0, "{}\n{}", self.words(), audit.stdout);
            match self.chance.below(6) {
                0 => self.close_proxies(),
                1 => self.open_proxies(),
                _ => {}
            }
            arguments = vec!["resume"];
        }
    }

    fn live(&mut self, arguments: &[&str], when: When, cut: Option<usize>, elsewhere: bool) -> Life {
        let mut command = self.reveille.command(arguments);
        command.args(["--events", "-", "-q"]);
        if elsewhere {
            let state = self.reveille.state();
            command.env_remove("REVEILLE_STATE_DIR").current_dir("/");
            command.arg("--state-dir").arg(state);
        }
        let said = self.reveille.path().join("said");
        let mut was_cut = false;
        let life = Life::lead(command, &said, when, |events| {
            if cut == Some(events) {
                self.proxies.iter_mut().for_each(Proxy::cut);
                was_cut = true;
            }
        });
        if was_cut {
            self.open = false;
            self.tell(format!("the usual ways were closed after {cut:?} events"));
        }
        life
    }

    fn close_proxies(&mut self) {
        self.proxies.iter_mut().for_each(Proxy::cut);
        self.open = false;
        self.tell("the usual ways are closed".to_owned());
    }

    fn open_proxies(&mut self) {
        if !self.open {
            self.proxies.iter_mut().for_each(Proxy::restore);
            self.open = true;
            self.tell("the usual ways are open".to_owned());
        }
    }

    fn account(&self) -> serde_json::Value {
        let summary = self.reveille.run(&["show", "--format", "json"]).expect(0).json();
        assert_eq!(summary["account"]["balanced"], true, "{}", self.words());
        assert_eq!(summary["state"], "closed", "{}", self.words());
        summary["account"].clone()
    }

    /// Compares the ledger with the files of the machines.
    fn check(&mut self, place: &str) {
        self.account();
        let audit = self.reveille.run(&["audit"]);
        assert_eq!(audit.code, 0, "{}\n{}", self.words(), audit.stdout);
        let export = self.reveille.path().join("export");
        self.reveille
            .run(&["export", "last", "--to", export.to_str().unwrap()])
            .expect(0);
        let events = record::events(&export);
        let truth = self.field.truth(place);
        let starts: Vec<_> = truth.iter().map(|text| record::starts(text)).collect();
        let log = |host: &Host| {
            let raw = self
                .reveille
                .run(&["logs", "last", &host.name, "--raw"])
                .expect(0);
            (host.name.clone(), raw.stdout)
        };
        let logs: BTreeMap<String, String> = self.hosts.iter().map(log).collect();
        let known = Known {
            kind: self.field.kind(),
            hosts: &self.hosts,
            fixed: self.fixed,
            events: &events,
            starts: &starts,
            logs: &logs,
        };
        let mut wrong = known.check();
        let success = |host: &&Host| {
            let outcomes = events
                .iter()
                .filter(|event| event.host.as_ref() == Some(&host.name));
            let classes = outcomes.filter_map(|event| event.body["outcome"]["class"].as_str());
            classes.map(check::status).next_back() == Some("success")
        };
        let well: Vec<&Host> = self.hosts.iter().filter(success).collect();
        wrong.extend(self.field.look(&well));
        if !wrong.is_empty() {
            self.keep(&export, &truth);
            panic!("{}\n{}", wrong.join("\n"), self.words());
        }
    }

    /// Keeps the files that explain a failure, in the tests' temporary directory.
    fn keep(&mut self, export: &Path, truth: &[String]) {
        let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("moment-{}", self.number));
        std::fs::create_dir_all(&to).unwrap();
        std::fs::copy(export.join("events.ndjson"), to.join("events.ndjson")).unwrap();
        std::fs::write(to.join("truth"), truth.join("\n")).unwrap();
        self.tell(format!("more is in {}", to.display()));
    }

    fn tell(&mut self, words: String) {
        self.story.push(words);
    }

    /// Describes what the test did, for whoever analyses a failure.
    fn words(&self) -> String {
        let story = self.story.join("\n  ");
        format!(
            "moment {} of {}:\n  {story}\n{:#?}",
            self.number,
            F::NAME,
            self.hosts
        )
    }
}
