//! The job of a moment, which uses almost everything that a job can use, and the fates of its hosts.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::chance::Chance;

/// What happens to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing fails.
    Well,
    /// A step needs a second attempt.
    Nervous,
    /// A step fails until the host is repaired.
    Sick,
    /// A step fails, even after the repair.
    Hopeless,
    /// A step fails in a way that is not repaired.
    Failing,
}

/// A host of the job.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) fate: Fate,
    /// The address of its server.
    pub(crate) address: SocketAddr,
    /// The proxy of its first route, if that can be closed.
    pub(crate) proxy: Option<SocketAddr>,
    /// Shortest duration of each of its steps, in hundredths of a second.
    pub(crate) pause: u64,
}

/// The differences between kinds of machines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// Sizes of the batches.
    pub(crate) serial: &'static [usize],
    /// `max_fail` of the job.
    pub(crate) max_fail: usize,
    /// The lines of the step that installs. They succeed on hosts that are well or nervous.
    pub(crate) install: &'static str,
    /// The line that repairs a sick host.
    pub(crate) mend: &'static str,
}

/// Bytes that the step `work` prints after its word.
pub(crate) const PADDING: usize = 20_000;

/// The beginning of every command. It writes the start and the end of the command to a file of the machine, with a word
/// that is unique to the command. The word is also printed.
const BEGIN: &str = "\
word=$(cat /proc/sys/kernel/random/uuid)
echo \"begin $host $step $word\" >>PLACE/truth
trap 'echo \"end $host $step $word $?\" >>PLACE/truth' EXIT
echo \"word $word\"
sleep $pause
";

const STEPS: &str = "
vars:
  begin: host={{ inventory_hostname }} pause={{ pause }}; . PLACE/begin
steps:
  - name: migrate
    once: true
    register: it
    run: |
      step=migrate {{ begin }}
      echo 42
  - name: drain
    run_on: aside
    run: |
      step=drain {{ begin }}
  - name: refresh
    idempotent: true
    attempts: 2
    backoff: 100ms
    run: |
      step=refresh {{ begin }}
      test {{ fate }} != nervous || test -e PLACE/$host.tried || { touch PLACE/$host.tried; exit 3; }
  - name: work
    run: |
      step=work {{ begin }}
      test {{ it.stdout.split()[-1] }} = 42
      head -c PADDING /dev/zero | tr '\\0' x
      echo
  - name: send
    upload: {src: payload, dest: 'PLACE/{{ inventory_hostname }}.payload'}
  - name: install
    fatal: ['dpkg was interrupted']
    run: |
      step=install {{ begin }}
      test {{ fate }} != failing || test -e PLACE/fixed || exit 7
INSTALL
  - name: enable
    run_on: aside
    run: |
      step=enable {{ begin }}
on_failed:
  - name: note
    run_on: aside
    run: |
      step=note {{ begin }}
  - name: rescue
    run: |
      step=rescue {{ begin }}
heal:
  repair:
    - on: [fatal_pattern]
      name: mend
      run: |
        step=mend {{ begin }}
        test {{ fate }} = hopeless || MEND
";

/// The steps of a host that succeeds; `migrate` runs on one host only.
pub(crate) const MAIN: [&str; 7] = ["migrate", "drain", "refresh", "work", "send", "install", "enable"];

// === impl Fate ===

impl Fate {
    fn word(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Nervous => "nervous",
            Self::Sick => "sick",
            Self::Hopeless => "hopeless",
            Self::Failing => "failing",
        }
    }

    /// Whether a host with this fate succeeds.
    pub(crate) fn ends_well(self, fixed: bool) -> bool {
        fixed || matches!(self, Self::Well | Self::Nervous | Self::Sick)
    }

    /// Random fates: `sick` hosts are sick, at most two hopeless, at most three failing. Five hosts never fail alike,
    /// because that would pause dispatching.
    pub(crate) fn draw(chance: &mut Chance, hosts: usize, sick: usize) -> Vec<Self> {
        let mut fates = vec![Self::Sick; sick];
        fates.extend(vec![Self::Hopeless; chance.below(3)]);
        fates.extend(vec![Self::Failing; chance.below(4)]);
        fates.truncate(hosts);
        fates.push(Self::Nervous);
        fates.resize(hosts, Self::Well);
        chance.shuffle(&mut fates);
        fates
    }
}

// === impl Kind ===

impl Kind {
    /// The text of the job, which works in the directory `place` of the machines.
    pub(crate) fn job(&self, place: &str) -> String {
        let install: Vec<String> = self.install.lines().map(|line| format!("      {line}")).collect();
        let steps = STEPS
            .replace("INSTALL", &install.join("\n"))
            .replace("MEND", self.mend)
            .replace("PADDING", &PADDING.to_string())
            .replace("PLACE", place);
        format!(
            "name: moments\nhosts: web\nserial: {:?}\nmax_fail: {{total: {}}}\n{steps}",
            self.serial, self.max_fail
        )
    }

    /// The batch of a host, by its position on the roll.
    pub(crate) fn batch(&self, position: usize) -> usize {
        let mut first = 0;
        for batch in 0.. {
            first += self.serial[batch.min(self.serial.len() - 1)];
            if position < first {
                return batch;
            }
        }
        unreachable!("batches go on for ever")
    }
}

/// The shell code at the beginning of every command.
pub(crate) fn begin(place: &str) -> String {
    BEGIN.replace("PLACE", place)
}

/// The inventory: the hosts, and the machine for `run_on` steps.
pub(crate) fn inventory(hosts: &[Host], aside: SocketAddr, key: &str) -> String {
    let mut text = String::from("[web]\n");
    for host in hosts {
        let (address, port) = (host.address.ip(), host.address.port());
        let _ = write!(text, "{} fate={} ", host.name, host.fate.word());
        let _ = write!(text, "pause={}.{:02} ", host.pause / 100, host.pause % 100);
        let _ = match host.proxy {
            None => writeln!(text, "ansible_host={address} ansible_port={port}"),
            Some(proxy) => writeln!(
                text,
                "ansible_host={} ansible_port={} \
                 reveille_routes='[{{\"address\": \"{address}\", \"port\": {port}}}]'",
                proxy.ip(),
                proxy.port()
            ),
        };
    }
    let _ = write!(
        text,
        "[others]\naside ansible_host={} ansible_port={}\n[all:vars]\nansible_ssh_private_key_file={}\n",
        aside.ip(),
        aside.port(),
        key
    );
    text
}
