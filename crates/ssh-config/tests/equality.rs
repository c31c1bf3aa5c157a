//! Compares `ssh_config` with the real `ssh -G` on configurations from a seeded generator, and tests it alone.
//!
//! `REVEILLE_SSH_CASES` sets how many configurations are compared, 350 by default, and `REVEILLE_SSH_FIRST` the seed of
//! the first one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use reveille_ssh_config::{Hop, IdentityAgent, Local, Query, Resolved, SshConfig, StrictHostKeyChecking};

/// How many configurations a usual run compares.
const CASES: u64 = 350;

/// A small random generator, so that a seed alone reproduces a case.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).expect("small")
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

const HOSTS: &[&str] = &[
    "web1",
    "web2",
    "db1.example.org",
    "WEB1",
    "10.0.0.1",
    "x",
    "db-2",
    "::1",
];
const PATTERNS: &[&str] = &[
    "web1",
    "web*",
    "web?",
    "*",
    "!web2",
    "db*.example.org",
    "!*.org",
    "*.example.org",
    "10.0.0.*",
    "x",
    "??",
    "WEB*",
    "w*1",
    "\"web1\"",
    "'db-2'",
    "::1",
    "real.example.org",
    "!real*",
];

/// A line with an option, in one of the ways to write it.
fn option(dice: &mut Dice, bad: bool) -> String {
    let keyword = dice.one(&[
        "HostName",
        "Port",
        "User",
        "IdentityFile",
        "IdentityFile",
        "IdentitiesOnly",
        "CertificateFile",
        "ProxyJump",
        "ProxyCommand",
        "UserKnownHostsFile",
        "StrictHostKeyChecking",
        "ConnectTimeout",
        "ServerAliveInterval",
        "ServerAliveCountMax",
        "HostKeyAlias",
        "Compression",
        "ForwardAgent",
        "AddressFamily",
        "BatchMode",
        "LocalForward",
        "Ciphers",
    ]);
    let values: &[&str] = match keyword {
        "HostName" => &[
            "%h.example.org",
            "real.example.org",
            "%h",
            "10.1.1.1",
            "UPPER.example",
            "a%%b",
            "\"q.example\"",
        ],
        "Port" => &["22", "2222", "065", "8022"],
        "User" => &["root", "deploy", "\"a b\"", "'x'", "me@corp", "a\\ b", "we\\\"b"],
        "IdentityFile" => &[
            "~/.ssh/a",
            "~/.ssh/%h_%r",
            "\"/k/with blank\"",
            "none",
            "id_b",
            "/k/${HOME}/x",
            "~/.ssh/a",
        ],
        "CertificateFile" => &["~/.ssh/a-cert.pub", "/c/%n", "/c/b"],
        "IdentitiesOnly" | "BatchMode" | "ForwardAgent" => &["yes", "no", "YES", "true", "False"],
        "ProxyJump" => &[
            "none",
            "b1",
            "u@b1:23",
            "b1,u@b2",
            "[::1]:24,b",
            "ssh://u@b3:2200",
            "b1 # note",
            "NONE",
            "a.b,c.d,e.f:1",
        ],
        "ProxyCommand" => &[
            "none",
            "nc %h %p",
            "ssh -W %h:%p \"b\"",
            "exec nc -x p %h %p # not a comment",
        ],
        "UserKnownHostsFile" => &[
            "/dev/null",
            "~/.ssh/k1 ~/.ssh/k2",
            "none",
            "\"/with blank/k\" /b",
            "%h.known",
            "/t/%h-%n-%p-%r-%u-%i-%L-%l-%k-%d-%%",
        ],
        "StrictHostKeyChecking" => &["yes", "no", "ask", "accept-new", "off", "True"],
        "ConnectTimeout" => &["5", "1m", "1m30s", "none", "2h"],
        "ServerAliveInterval" => &["0", "15", "1m", "none"],
        "ServerAliveCountMax" => &["0", "3", "10"],
        "HostKeyAlias" => &["alias", "%h", "Up.Per"],
        "AddressFamily" => &["inet", "inet6", "any", "INET"],
        "Compression" => &["yes", "no"],
        "LocalForward" => &["8080 localhost:80"],
        _ => &["aes256-ctr,aes128-ctr", "+aes256-cbc"],
    };
    let mut value = dice.one(values).to_owned();
    if keyword == "Ciphers" {
        value = String::from("aes256-ctr");
    }
    let mut keyword = match dice.below(4) {
        0 => keyword.to_lowercase(),
        1 => keyword.to_uppercase(),
        _ => keyword.to_owned(),
    };
    // Ignored options are not compared; `ssh -G` does not expand tokens in most paths; only our parser refuses a jump
    // host that looks like an option.
    let checked = ![
        "compression",
        "localforward",
        "ciphers",
        "proxyjump",
        "forwardagent",
    ]
    .iter()
    .any(|other| keyword.eq_ignore_ascii_case(other));
    if bad && checked && dice.chance(12) {
        match dice.below(6) {
            0 => keyword.push('x'),
            1 => value.clear(),
            2 => value = format!("{value} \"open"),
            3 if keyword.eq_ignore_ascii_case("hostname") => value = String::from("%z"),
            3 | 4 => value = String::from("a b c"),
            _ => value = String::from("-1"),
        }
    }
    let indent = dice.one(&["", "  ", "\t", "    "]);
    let between = dice.one(&[" ", "=", " = ", "  ", "\t", " =", "= "]);
    let end = dice.one(&["", "", "", " ", "\t", " # note"]);
    // A command takes the rest of the line, the note too. In OpenSSH 9.2 `ProxyJump none # note` is a host named none,
    // which later versions fixed; here it is no jump.
    let keeps_notes = keyword.eq_ignore_ascii_case("proxycommand")
        || (keyword.eq_ignore_ascii_case("proxyjump") && value.eq_ignore_ascii_case("none"));
    let end = if keeps_notes { "" } else { end };
    format!("{indent}{keyword}{between}{value}{end}")
}

fn condition(dice: &mut Dice, bad: bool) -> String {
    if dice.chance(65) {
        let count = 1 + dice.below(3);
        let patterns: Vec<&str> = (0..count).map(|_| dice.one(PATTERNS)).collect();
        return format!(
            "{} {}",
            dice.one(&["Host", "host", "HOST"]),
            patterns.join(dice.one(&[" ", "  ", "\t"]))
        );
    }
    let mut line = dice.one(&["Match", "match"]).to_owned();
    let last = dice.below(2);
    for number in 0..=last {
        let not = if dice.chance(25) { "!" } else { "" };
        let _ = match dice.below(10) {
            0 if line.len() == 5 => {
                return format!("{line} {}", dice.one(&["all", "ALL", "final all", "!all"]));
            }
            0 | 1 => write!(
                line,
                " {not}host {}",
                dice.one(&["web*", "*.example.org,!db*", "real.example.org", "WEB1", "x,web2"])
            ),
            2 => write!(
                line,
                " {not}originalhost {}",
                dice.one(&["web1", "WEB*", "!web2,web*"])
            ),
            3 => write!(
                line,
                " {not}user {}",
                dice.one(&["root", "deploy,me*", "!root,*"])
            ),
            4 => write!(line, " {not}localuser {}", dice.one(&["root", "nobody", "*"])),
            5 => write!(line, " {not}final"),
            6 => write!(line, " {not}canonical"),
            7 => write!(
                line,
                " {not}exec {}",
                dice.one(&[
                    "true",
                    "false",
                    "\"test %h = web1\"",
                    "\"test %p = 2222\"",
                    "\"test %n = x\"",
                    "\"test %r = deploy\""
                ])
            ),
            8 => write!(line, " {not}host={}", dice.one(&["web1", "\"web*\""])),
            _ if bad && dice.chance(30) => write!(
                line,
                " {}",
                dice.one(&["hots web1", "host", "user", "all host x"])
            ),
            _ => write!(line, " {not}host \"web*\""),
        };
        if number == last && (last == 0 || bad) && dice.chance(15) {
            line.push_str(" all");
        }
    }
    line
}

fn body(dice: &mut Dice, lines: usize, bad: bool, included: &[String]) -> String {
    let mut text = String::new();
    for _ in 0..lines {
        let line = match dice.below(20) {
            0..=6 => condition(dice, bad),
            7 => "# a comment".to_owned(),
            8 => String::new(),
            9 if !included.is_empty() => {
                let path = &included[dice.below(included.len())];
                let second = if dice.chance(20) { "/no/such/file*" } else { "" };
                format!("Include {path} {second}")
            }
            _ => option(dice, bad),
        };
        text.push_str(&line);
        text.push_str(dice.one(&["\n", "\n", "\n", "\n", "\r\n"]));
    }
    text
}

/// The output of `ssh -G` as pairs; none if it refuses.
fn theirs(config: &Path, host: &str) -> Option<BTreeMap<String, Vec<String>>> {
    let output = Command::new("ssh")
        .args(["-G", "-F"])
        .arg(config)
        .args(["--", host])
        .env("SHELL", "/bin/sh")
        .output()
        .unwrap_or_else(|error| {
            panic!("failed to run ssh: {error}; install the Debian package openssh-client")
        });
    if !output.status.success() {
        return None;
    }
    let mut said: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        said.entry(key.to_owned()).or_default().push(value.to_owned());
    }
    Some(said)
}

/// Our result in the words of `ssh -G`.
fn ours(resolved: &Resolved, local: &Local) -> BTreeMap<String, Vec<String>> {
    let mut said: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut say = |key: &str, values: Vec<String>| {
        if !values.is_empty() {
            said.insert(key.to_owned(), values);
        }
    };
    say("hostname", vec![resolved.host_name.clone()]);
    say("port", vec![resolved.port.unwrap_or(22).to_string()]);
    say(
        "user",
        vec![resolved.user.clone().unwrap_or_else(|| local.user.clone())],
    );
    say("identityfile", resolved.written.identity_files.clone());
    say("certificatefile", resolved.written.certificate_files.clone());
    let only = if resolved.identities_only == Some(true) {
        "yes"
    } else {
        "no"
    };
    say("identitiesonly", vec![only.to_owned()]);
    let jump = resolved.proxy_jump.as_deref().unwrap_or_default();
    if !jump.is_empty() {
        let text = resolved.written.proxy_jump.clone().unwrap_or_default();
        say("proxyjump", vec![text]);
    }
    say("proxycommand", resolved.proxy_command.iter().cloned().collect());
    if let Some(known) = &resolved.user_known_hosts_files {
        let known: Vec<String> = known.iter().map(|path| path.display().to_string()).collect();
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(" ")
        };
        say("userknownhostsfile", vec![known]);
    }
    let strict = match resolved.strict_host_key_checking {
        None | Some(StrictHostKeyChecking::Ask) => "ask",
        Some(StrictHostKeyChecking::Yes) => "true",
        Some(StrictHostKeyChecking::No) => "false",
        Some(StrictHostKeyChecking::AcceptNew) => "accept-new",
    };
    say("stricthostkeychecking", vec![strict.to_owned()]);
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs().to_string());
    say(
        "connecttimeout",
        vec![seconds(resolved.connect_timeout).unwrap_or_else(|| "none".into())],
    );
    say(
        "serveraliveinterval",
        vec![seconds(resolved.server_alive_interval).unwrap_or_else(|| "0".into())],
    );
    say(
        "serveralivecountmax",
        vec![resolved.server_alive_count_max.unwrap_or(3).to_string()],
    );
    say("hostkeyalias", resolved.host_key_alias.iter().cloned().collect());
    said
}

/// The options to compare.
const COMPARED: &[&str] = &[
    "hostname",
    "port",
    "user",
    "identityfile",
    "certificatefile",
    "identitiesonly",
    "proxyjump",
    "proxycommand",
    "userknownhostsfile",
    "stricthostkeychecking",
    "connecttimeout",
    "serveraliveinterval",
    "serveralivecountmax",
    "hostkeyalias",
];

/// Whether this is ssh's default, which our callers fill in.
fn is_default(key: &str, values: &[String]) -> bool {
    match key {
        "identityfile" => values.first().is_some_and(|first| first == "~/.ssh/id_rsa"),
        "userknownhostsfile" => values.iter().any(|value| value.ends_with("known_hosts2")),
        _ => false,
    }
}

/// `ssh -G` rewrites jump hosts.
fn jump(text: &str) -> String {
    let plain = |hop: &str| {
        let hop = hop.trim();
        hop.strip_prefix("ssh://")
            .unwrap_or(hop)
            .trim_end_matches('/')
            .to_owned()
    };
    let hops: Vec<String> = text.split(',').map(plain).collect();
    hops.join(",")
}

fn compare(seed: u64, directory: &Path, local: &Local) -> (usize, Vec<String>) {
    let mut dice = Dice(seed);
    let bad = seed.is_multiple_of(5);
    let included: Vec<String> = (0..dice.below(3))
        .map(|index| directory.join(format!("inc{seed}-{index}")).display().to_string())
        .collect();
    for (index, path) in included.iter().enumerate() {
        let lines = dice.below(6);
        let text = body(&mut dice, lines, false, &included[..index]);
        fs::write(path, text).expect("writable");
    }
    let lines = 4 + dice.below(16);
    let mut names = included.clone();
    if !names.is_empty() {
        names.push(directory.join(format!("inc{seed}-*")).display().to_string());
    }
    let mut text = body(&mut dice, lines, bad, &names);
    if dice.chance(10) {
        text.insert_str(0, "IgnoreUnknown Frob*,portx\nFrobnicate 5\n");
    }
    let path = directory.join(format!("config{seed}"));
    fs::write(&path, &text).expect("writable");
    let config = SshConfig::only(&path);
    let mut found = Vec::new();
    let mut compared = 0;
    for _ in 0..2 {
        let host = dice.one(HOSTS);
        compared += 1;
        let resolved = config.as_ref().map_err(ToString::to_string).and_then(|config| {
            config
                .resolve(&Query::new(host, local))
                .map_err(|error| error.to_string())
        });
        match (resolved, theirs(&path, host)) {
            (Err(_), None) => {}
            (Err(error), Some(_)) => {
                found.push(format!("seed {seed}, {host}: ssh accepts, here: {error}\n{text}"));
            }
            (Ok(_), None) => {
                found.push(format!("seed {seed}, {host}: ssh refuses\n{text}"));
            }
            (Ok(resolved), Some(theirs)) => {
                let ours = ours(&resolved, local);
                for key in COMPARED {
                    let mut theirs = theirs.get(*key).cloned().unwrap_or_default();
                    if is_default(key, &theirs) {
                        theirs.clear();
                    }
                    let mut ours = ours.get(*key).cloned().unwrap_or_default();
                    if *key == "proxyjump" {
                        ours = ours.iter().map(|text| jump(text)).collect();
                        theirs = theirs.iter().map(|text| jump(text)).collect();
                    }
                    // Debian's ssh sends keep-alives in batch mode by default.
                    let by_debian = *key == "serveraliveinterval"
                        && resolved.server_alive_interval.is_none()
                        && resolved.batch_mode == Some(true)
                        && theirs == ["300"];
                    if by_debian {
                        theirs.clone_from(&ours);
                    }
                    if ours != theirs {
                        found.push(format!(
                            "seed {seed}, {host}: {key}: here {ours:?}, ssh {theirs:?}\n{text}"
                        ));
                    }
                }
            }
        }
    }
    (compared, found)
}

#[test]
fn it_resolves_as_ssh_does() {
    let cases: u64 = std::env::var("REVEILLE_SSH_CASES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(CASES);
    let first: u64 = std::env::var("REVEILLE_SSH_FIRST")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let local = Local::current();
    let threads = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    let found: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let (directory, local) = (directory.path(), &local);
                scope.spawn(move || {
                    let seeds = (first..first + cases).filter(|seed| seed % threads == worker);
                    seeds
                        .flat_map(|seed| compare(seed, directory, local).1)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("no panic"))
            .collect()
    });
    let shown: Vec<&str> = found.iter().take(3).map(String::as_str).collect();
    assert!(
        found.is_empty(),
        "{} differences in {cases} cases:\n{}",
        found.len(),
        shown.join("\n\n")
    );
}

fn resolve(text: &str, host: &str) -> Result<Resolved, String> {
    let config = SshConfig::parse(text, "config").map_err(|error| error.to_string())?;
    let local = Local {
        user: "me".into(),
        home: "/home/me".into(),
        uid: 1000,
        host_name: "here.example.org".into(),
    };
    config
        .resolve(&Query::new(host, &local))
        .map_err(|error| error.to_string())
}

#[test]
fn tokens_are_put_in() {
    let text = "Host a\n  HostName %h.example.org\n  User u\n  Port 24\n  HostKeyAlias k\n  ProxyJump x,j\n  IdentityFile \
                ~/.ssh/%h-%n-%p-%r-%u-%i-%l-%L-%k-%j-%%\n  IdentityFile %d/id\n  CertificateFile ${HOME}/c\n  \
                IdentityAgent ~/agent\n  UserKnownHostsFile none\n";
    let resolved = resolve(text, "a").expect("good");
    let home = std::env::var("HOME").expect("a home");
    assert_eq!(
        resolved.identity_files,
        [
            Path::new("/home/me/.ssh/a.example.org-a-24-u-me-1000-here.example.org-here-k-j-%"),
            Path::new("/home/me/id"),
        ]
    );
    assert_eq!(resolved.certificate_files, [Path::new(&home).join("c")]);
    assert_eq!(
        resolved.identity_agent,
        Some(IdentityAgent::Socket("/home/me/agent".into()))
    );
    assert_eq!(resolved.user_known_hosts_files, Some(Vec::new()));
    let jumps = "Host a\n  HostName %h.example.org\n  User u\n  ProxyJump %r@gate-%h:24,%%\n";
    let jumps = resolve(jumps, "a").expect("good").proxy_jump.expect("jumps");
    let text = |hop: &Hop| (hop.user.clone(), hop.address.clone());
    assert_eq!(
        text(&jumps[0]),
        (Some("u".to_owned()), "gate-a.example.org".to_owned())
    );
    assert_eq!(text(&jumps[1]), (None, "%".to_owned()));
    let unknown = resolve("Host a\n  ProxyJump gate-%z\n", "a").expect_err("no token");
    assert!(
        unknown.contains("`%z`") && unknown.contains("config:2"),
        "{unknown}"
    );
    assert_eq!(resolved.proxy_jump.map(|hops| hops.len()), Some(2));
    assert_eq!(
        resolve("IdentityAgent none", "a").expect("good").identity_agent,
        Some(IdentityAgent::None)
    );
}

#[test]
fn commands_run_only_when_allowed() {
    let local = Local::current();
    let config = SshConfig::parse("Match exec true\n  User yes\n", "config").expect("good");
    let mut query = Query::new("a", &local);
    assert_eq!(config.resolve(&query).expect("good").user.as_deref(), Some("yes"));
    query.run_exec = false;
    let resolved = config.resolve(&query).expect("good");
    assert_eq!((resolved.user, resolved.warnings.len()), (None, 1));
}

#[test]
fn a_command_is_run_once() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let count = directory.path().join("count");
    let text = format!("Match exec \"echo x >> {}\"\n  User yes\n", count.display());
    let config = SshConfig::parse(&text, "config").expect("good");
    let local = Local::current();
    for host in ["a", "b", "c"] {
        assert_eq!(
            config
                .resolve(&Query::new(host, &local))
                .expect("good")
                .user
                .as_deref(),
            Some("yes")
        );
    }
    assert_eq!(fs::read_to_string(count).expect("written"), "x\n");
}

#[test]
fn files_that_others_write_to_are_refused() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("config");
    fs::write(&path, "User x\n").expect("writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("changeable");
    let none = Path::new("/no/such/file");
    let error = SshConfig::load(Some(&path), Some(none))
        .expect_err("not ours alone")
        .to_string();
    assert!(error.contains("others can write to it"), "{error}");
    assert!(
        SshConfig::load(Some(none), Some(none))
            .expect("nothing")
            .is_empty()
    );
    let circle = directory.path().join("circle");
    fs::write(&circle, format!("Include {}\n", circle.display())).expect("writable");
    let error = SshConfig::only(&circle).expect_err("a circle").to_string();
    assert!(
        error.contains("files include each other more than 16 deep"),
        "{error}"
    );
}

#[test]
fn the_user_s_file_wins_over_the_system_s() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (user, system) = (directory.path().join("user"), directory.path().join("system"));
    fs::write(&user, "Host a\n  User mine\n  IdentityFile /k/mine\n").expect("writable");
    fs::write(&system, "User theirs\nPort 24\nIdentityFile /k/theirs\n").expect("writable");
    let config = SshConfig::load(Some(&user), Some(&system)).expect("good");
    let local = Local::current();
    let resolved = config.resolve(&Query::new("a", &local)).expect("good");
    assert_eq!(
        (resolved.user.as_deref(), resolved.port),
        (Some("mine"), Some(24))
    );
    assert_eq!(
        resolved.identity_files,
        [Path::new("/k/mine"), Path::new("/k/theirs")]
    );
    let mut query = Query::new("b", &local);
    (query.user, query.port) = (Some("given"), Some(25));
    let resolved = config.resolve(&query).expect("good");
    assert_eq!(
        (resolved.user.as_deref(), resolved.port),
        (Some("given"), Some(25))
    );
}

#[test]
fn mistakes_are_placed() {
    let shown: Vec<String> = [
        "Host a\n  Prot 22\n  Port x\n",
        "Host a\n  Frobnicate yes\n",
        "User a b\n",
        "User \"a\n",
        "Port\n",
        "Match hots a\n",
        "Match all host a\n",
        "Match host\n",
        "ConnectTimeout 5x\n",
        "StrictHostKeyChecking maybe\n",
        "ProxyJump a:b\n",
        "UserKnownHostsFile none /x\n",
        "HostName %z\n",
        "IdentityFile ${REVEILLE_NO_SUCH_VARIABLE}/x\n",
        "IdentityFile ~nobody-here/x\n",
        "Include ~nobody-here/x\n",
    ]
    .iter()
    .map(|text| resolve(text, "a").expect_err(text))
    .collect();
    insta::assert_snapshot!(shown.join("\n\n"));
}

#[test]
fn what_has_no_effect_is_warned_about() {
    let config = SshConfig::parse(
        "CanonicalizeHostname yes\nMatch localnetwork 10.0.0.0/8\n  User x\nMatch !localnetwork 10.0.0.0/8\n  User y\n",
        "config",
    )
    .expect("good");
    assert_eq!(config.warnings().len(), 3);
    let local = Local::current();
    assert_eq!(config.resolve(&Query::new("a", &local)).expect("good").user, None);
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in r#"(Host|Match|Include|HostName|ProxyJump|IdentityFile|UserKnownHostsFile|ConnectTimeout|exec|host|final|all|[ =\t"'\\#%!*?@:,\[\]~$\{\}-]|a|22|none|é|\n){0,40}"#) {
        // Generated commands are not run.
        if text.contains("exec") {
            let _ = SshConfig::parse(&text, "config");
        } else {
            let _ = resolve(&text, "a");
        }
    }
}
