//! Measures reading 50,000 hosts and resolving them: `cargo run --release -p reveille-inventory --example time`.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use reveille_inventory::{Inventory, Source, no_runs};
use reveille_ssh_config::{Local, Query, SshConfig};

const HOSTS: usize = 50_000;
const RACKS: usize = 500;

/// Hosts with vars of their own, one on each line, in racks, roles and sites.
fn ini() -> String {
    let mut text = String::new();
    for rack in 0..RACKS {
        let _ = writeln!(text, "[rack{rack:03}]");
        for host in (rack..HOSTS).step_by(RACKS) {
            let _ = writeln!(
                text,
                "node{host:05}.example.org ansible_host=10.{}.{}.{} ansible_port=22 slot={host} role='role {}'",
                host >> 16,
                (host >> 8) & 255,
                host & 255,
                host % 7
            );
        }
    }
    for role in 0..5 {
        let _ = writeln!(
            text,
            "[role{role}]\nnode[{:05}:{:05}:5].example.org",
            role,
            HOSTS - 5 + role
        );
    }
    text.push_str("[site:children]\n");
    for rack in 0..RACKS {
        let _ = writeln!(text, "rack{rack:03}");
    }
    text.push_str("[site:vars]\nansible_user=deploy\nregion=eu\n[all:vars]\nntp=10.0.0.1\n");
    text
}

fn yaml() -> String {
    let mut text = String::from(
        "all:\n  vars: {ntp: 10.0.0.1}\n  children:\n    site:\n      vars: {ansible_user: deploy}\n      children:\n",
    );
    for rack in 0..RACKS {
        let _ = writeln!(text, "        rack{rack:03}:\n          hosts:");
        for host in (rack..HOSTS).step_by(RACKS) {
            let _ = writeln!(
                text,
                "            node{host:05}.example.org: {{ansible_host: 10.{}.{}.{}, ansible_port: 22, slot: {host}}}",
                host >> 16,
                (host >> 8) & 255,
                host & 255
            );
        }
    }
    text
}

fn config() -> String {
    let mut text = String::from("Host *.example.org\n  User deploy\n");
    for host in 0..5_000 {
        let _ = writeln!(
            text,
            "Host node{host:05}.example.org\n  Port 22\n  ProxyJump bastion{}",
            host % 10
        );
    }
    text.push_str("Match host \"10.*\"\n  IdentityFile ~/.ssh/%h\nHost *\n  ServerAliveInterval 15\n");
    text
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    let time = start.elapsed();
    println!("{what:<44} {:>8.1} ms", time.as_secs_f64() * 1e3);
    (result, time)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::temp_dir().join(format!("reveille-time-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    for (name, text) in [("hosts", ini()), ("hosts.yml", yaml())] {
        let path = directory.join(name);
        fs::write(&path, &text)?;
        println!("{name}: {} lines, {} KiB", text.lines().count(), text.len() >> 10);
        let (loaded, read) = timed("  read", || Inventory::load(&[Source::File(path)]));
        let inventory = loaded?.inventory;
        let (hosts, first) = timed("  match all:!rack007", || {
            inventory.select(&["all:!rack007"], &no_runs)
        });
        let hosts = hosts?;
        let patterns = [
            "rack0*:&site:!*00.example.org",
            "~node0[0-4].*",
            "node[00000:49999].example.org",
        ];
        let (found, second) = timed("  match three more", || {
            patterns
                .iter()
                .map(|pattern| inventory.select(&[pattern], &no_runs).map(|hosts| hosts.len()))
                .collect::<Result<Vec<_>, _>>()
        });
        println!("  matched: {} {:?}", hosts.len(), found?);
        let total = read + first + second;
        println!("  read and matched {:>34.1} ms", total.as_secs_f64() * 1e3);
        let (ports, _) = timed("  how all of them are reached", || {
            hosts
                .iter()
                .map(|host| {
                    inventory
                        .connection(host.as_str())
                        .map(|found| u64::from(found.port.map_or(22, |port| port.value)))
                })
                .sum::<Result<u64, _>>()
        });
        ports?;
        timed("  merged vars of all of them", || {
            hosts
                .iter()
                .map(|host| inventory.vars(host.as_str()).len())
                .sum::<usize>()
        });
    }
    let path = directory.join("config");
    fs::write(&path, config())?;
    let (config, _) = timed("ssh_config: read 5,000 blocks", || SshConfig::only(&path));
    let config = config?;
    let local = Local::current();
    let (resolved, _) = timed("  resolve 50,000 hosts", || {
        (0..HOSTS)
            .map(|host| {
                config
                    .resolve(&Query::new(&format!("node{host:05}.example.org"), &local))
                    .map(|_| 1)
            })
            .sum::<Result<usize, _>>()
    });
    resolved?;
    fs::remove_dir_all(&directory)?;
    Ok(())
}
