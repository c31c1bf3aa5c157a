//! Requests that are made up for comparisons.

use fastrand::Rng;
use reveille_mirrorlist::synthetic::repository;

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

// === impl Request ===

impl Request {
    /// Another one each time; `directories` is the size of the data.
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
        let path = one(
            random,
            &[
                "mirrorlist",
                "mirrorlist",
                "mirrorlist",
                "metalink",
                "metalink",
                "mirrors",
            ],
        );
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
        16 => one(
            random,
            &[
                "repo=repo-old&arch=x86_64",
                "repo=repo-oldest&arch=x86_64",
                "repo=repo-source-1&arch=x86_64",
                "repo=repo-lost&arch=x86_64",
            ],
        )
        .to_owned(),
        17 => "repo=repo-disabled&arch=x86_64".to_owned(),
        18 => one(
            random,
            &[
                "repo=repo-1",
                "path=nowhere/at/all",
                "arch=x86_64",
                "path=",
                "nothing",
            ],
        )
        .to_owned(),
        _ => format!("repo={repo}&arch=z80"),
    }
}

/// Networks of mirrors, countries with and without mirrors, both versions.
fn address(random: &mut Rng) -> String {
    match random.u8(..6) {
        0 => format!("20.{}.{}.{}", random.u8(..200), random.u8(..), random.u8(..)),
        1 => format!("20.{}.64.{}", random.u8(..200), random.u8(..)),
        2 => format!("2001:db8:{:x}::{:x}", random.u8(1..), random.u16(..)),
        3 => format!("203.0.113.{}", random.u8(..)),
        4 => format!(
            "2a{:02x}:{:x}:{:x}::1",
            random.u8(..16),
            random.u16(..),
            random.u16(..)
        ),
        _ => format!(
            "{}.{}.{}.{}",
            random.u8(1..224),
            random.u8(..),
            random.u8(..),
            random.u8(..)
        ),
    }
}

fn directory_name(directory: u32) -> String {
    const CATEGORIES: [&str; 4] = ["linux", "epel", "archive", "centos-stream"];
    let base = directory / 2;
    let (_, arch) = repository(directory);
    let repodata = if directory % 2 == 1 { "/repodata" } else { "" };
    format!(
        "pub/{}/releases/{}/Everything-{base}/{arch}/os{repodata}",
        CATEGORIES[base as usize % 4],
        base % 50
    )
}

fn one<'a>(random: &mut Rng, of: &[&'a str]) -> &'a str {
    of[random.usize(..of.len())]
}
