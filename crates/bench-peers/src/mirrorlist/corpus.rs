//! Random requests for comparisons.

use fastrand::Rng;
use reveille_mirrorlist::synthetic::{directory_name, repository};

/// A request to both servers.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) target: String,
    pub(super) headers: String,
}

const COUNTRIES: [&str; 14] = [
    "US", "DE", "de", "jp", "ZA", "KE", "NC", "EC", "TR", "ZZ", "global", "GLOBAL", "XX", "US",
];

const PROTOCOLS: [&str; 6] = ["https", "http", "rsync", "https,http", "http,rsync", "ftp"];

const INCOMPLETE: [&str; 5] = [
    "repo=repo-1",
    "path=nowhere/at/all",
    "arch=x86_64",
    "path=",
    "nothing",
];

// === impl Request ===

impl Request {
    /// A new request at each call; `directories` is the size of the data.
    pub(super) fn random(random: &mut Rng, directories: u32) -> Self {
        let mut words = vec![subject(random, directories)];
        let mut headers = String::new();
        let address = address(random);
        match random.u8(..10) {
            0..3 => words.push(format!("ip={address}")),
            3..9 => headers = format!("X-Forwarded-For: {address}\r\n"),
            _ => {}
        }
        if random.u8(..5) == 0 {
            let mut list: Vec<&str> = (0..random.usize(1..4)).map(|_| one(random, &COUNTRIES)).collect();
            list.dedup();
            words.push(format!("country={}", list.join(",")));
        }
        if random.u8(..5) == 0 {
            words.push(format!("protocol={}", one(random, &PROTOCOLS)));
        }
        if random.u8(..6) == 0 {
            words.push("time=1".to_owned());
        }
        if random.u8(..8) == 0 {
            words.push(one(random, &["netblock=0", "netblock=1", "netblock="]).to_owned());
        }
        if random.u8(..12) == 0 {
            words.push("redirect=1".to_owned());
        }
        if random.u8(..20) == 0 {
            words.push(one(random, &["cc=US", "version=9", "ip=nonsense", "unknown=1"]).to_owned());
        }
        random.shuffle(&mut words);
        let path = match random.u8(..6) {
            0..3 => "mirrorlist",
            3..5 => "metalink",
            _ => "mirrors",
        };
        Self {
            target: format!("/{path}?{}", words.join("&")),
            headers,
        }
    }

    pub(super) fn has(&self, word: &str) -> bool {
        self.target.contains(word)
    }
}

fn subject(random: &mut Rng, directories: u32) -> String {
    let directory = random.u32(..directories);
    let (repo, arch) = repository(directory);
    let name = directory_name(directory);
    match random.u8(..20) {
        0..10 => format!("repo={repo}&arch={arch}"),
        10..13 => format!("path={name}"),
        13..15 => format!("path=/{}/repomd.xml", name.replace('/', "//")),
        15 => format!("path={name}/no-such-file"),
        16 => {
            let repo = one(random, &["old", "oldest", "source-1", "lost"]);
            format!("repo=repo-{repo}&arch=x86_64")
        }
        17 => "repo=repo-disabled&arch=x86_64".to_owned(),
        18 => one(random, &INCOMPLETE).to_owned(),
        _ => format!("repo={repo}&arch=z80"),
    }
}

/// An address in a network of a mirror, or in a country with or without mirrors; of IPv4 or IPv6.
fn address(random: &mut Rng) -> String {
    let [second, third, last] = [(); 3].map(|()| random.u8(..));
    let [x, y] = [(); 2].map(|()| random.u16(..));
    match random.u8(..6) {
        0 => format!("20.{}.{third}.{last}", random.u8(..200)),
        1 => format!("20.{}.64.{last}", random.u8(..200)),
        2 => format!("2001:db8:{:x}::{x:x}", random.u8(1..)),
        3 => format!("203.0.113.{last}"),
        4 => format!("2a{:02x}:{x:x}:{y:x}::1", random.u8(..16)),
        _ => format!("{}.{second}.{third}.{last}", random.u8(1..224)),
    }
}

fn one<'a>(random: &mut Rng, of: &[&'a str]) -> &'a str {
    of[random.usize(..of.len())]
}
