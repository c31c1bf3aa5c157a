//! The program itself: files, exit statuses, signals.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use reveille_mirrorlist::synthetic;
use rustix::process::{Pid, Signal, kill_process};

use crate::net::{Client, PATIENCE, data};

fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reveille-mirrorlist"))
        .args(arguments)
        .output()
        .unwrap()
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_list_of_mirrors_is_built_checked_and_explained() {
    let directory = tempfile::tempdir().unwrap();
    let (list, snapshot) = (
        directory.path().join("mirrors.yaml"),
        directory.path().join("out.proto"),
    );
    fs::write(
        &list,
        "version: 1\n\
         repositories:\n  - {repo: epel-9, arch: x86_64, path: epel/9/Everything/x86_64, type: rpm}\n\
         mirrors:\n  - name: fra1\n    urls: {https: https://m.example/, rsync: rsync://m.example/}\n    country: de\n    \
         bandwidth: 10Gbit\n    asn: [64500]\n    netblocks: [10.0.0.0/8]\n    private: true\n    \
         content: {epel-9: epel/9/}\n  - name: fra2\n    urls: {http: http://n.example/}\n    country: DE\n    \
         content: {epel-9: pub/epel9}\n",
    )
    .unwrap();
    let (list, snapshot) = (list.to_str().unwrap(), snapshot.to_str().unwrap());
    let built = program(&["build", list, "-o", snapshot]);
    assert!(built.status.success(), "{}", text_of(&built.stderr));
    let checked = program(&["check", "--cache", snapshot]);
    assert!(
        text_of(&checked.stdout)
            .contains("2 directories, 1 repository, 2 mirrors, 3 URLs, 1 network of mirrors"),
        "{}",
        text_of(&checked.stdout)
    );
    let explain = |more: &[&str]| {
        let mut arguments = vec![
            "explain", "--cache", snapshot, "--repo", "epel-9", "--arch", "x86_64",
        ];
        arguments.extend(more);
        let output = program(&arguments);
        assert!(output.status.success(), "{}", text_of(&output.stderr));
        format!("$ explain {}\n{}\n", more.join(" "), text_of(&output.stdout))
    };
    let explained = [
        explain(&["--ip", "10.1.2.3"]),
        explain(&["--ip", "192.0.2.1"]),
        explain(&["--ip", "192.0.2.1", "--country", "DE"]),
        explain(&["--ip", "192.0.2.1", "--country", "NZ", "--minimum", "1"]),
        explain(&["--ip", "10.1.2.3", "--protocol", "rsync"]),
        explain(&["--ip", "10.1.2.3", "--minimum", "1"]),
    ];
    insta::assert_snapshot!(explained.concat());
    let refused = program(&[
        "explain",
        "--cache",
        snapshot,
        "--ip",
        "192.0.2.1",
        "--path",
        "nowhere",
    ]);
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(
        text_of(&refused.stderr),
        "error: the client gets no list: invalid path\n"
    );
}

/// Each mistake in a list is reported with its place.
#[test]
fn mistakes_are_reported_with_their_places() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("mirrors.yaml");
    let empty = "version: 1\nrepositories: []\nmirrors: []\n";
    let mirror = |words: &str| format!("version: 1\nrepositories: []\nmirrors:\n  - {{name: a, {words}}}\n");
    let repositories = |rows: &str| format!("version: 1\nrepositories:\n{rows}mirrors: []\n");
    let epel = "  - {repo: epel, arch: x86_64, path: epel, type: rpm}\n";
    let mut text = String::new();
    for yaml in [
        "version: 2\nrepositories: []\nmirrors: []\n".to_owned(),
        "version: 1\nrepositories: [\n".to_owned(),
        format!("{empty}mirors: []\n"),
        mirror("urls: {http: http://a/}"),
        mirror("urls: {http: http://a/}, content: {epel: x}"),
        mirror("urls: {http: http://a/}, content: {}, netblocks: [ten]"),
        mirror("urls: {}, content: {}, bandwidth: fast"),
        mirror("urls: {}, content: {}"),
        mirror("urls: {http: https://a/}, content: {}"),
        mirror("urls: {http: http://a/}, country: Germany, content: {}"),
        mirror("urls: {http: http://a/}, private: true, content: {}"),
        repositories("  - {repo: a, path: /, type: apt}\n"),
        repositories("  - {repo: a, path: a, type: deb}\n"),
        repositories("  - {repo: a, path: a, origin: rsync://a/, type: apt}\n"),
        repositories(&format!("{epel}{epel}")),
        format!("{empty}freshness: {{max_lag: soon}}\n"),
        format!("{empty}freshness:\n  every: 0s\n"),
        format!("{empty}freshness: {{on_unreachable: drop_after_0}}\n"),
        format!("{empty}freshness: {{if_all_stale: never}}\n"),
    ] {
        fs::write(&list, &yaml).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_reveille-mirrorlist"))
            .current_dir(&directory)
            .args(["check", "--offline", "--mirrors", "mirrors.yaml"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{yaml}");
        text += &format!("{yaml}{}\n", text_of(&output.stderr));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn bad_input_is_exit_2() {
    // An endless file is not read forever.
    let endless = program(&["check", "--offline", "--mirrors", "/dev/zero"]);
    assert_eq!(endless.status.code(), Some(2));
    assert!(text_of(&endless.stderr).contains("/dev/zero: longer than 16 MiB"));
    for arguments in [&["serve"][..], &["serve", "--cache", "/no/such/file"]] {
        assert_eq!(program(arguments).status.code(), Some(2));
    }
}

/// Every command has a page with all sections.
#[test]
fn man_pages_are_complete() {
    let directory = tempfile::tempdir().unwrap();
    let written = program(&["man", "--to", directory.path().to_str().unwrap()]);
    assert!(written.status.success(), "{}", text_of(&written.stderr));
    for command in ["", "-serve", "-build", "-check", "-explain", "-man"] {
        let page = directory.path().join(format!("reveille-mirrorlist{command}.1"));
        let page = fs::read_to_string(page).unwrap();
        for section in [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "EXAMPLES",
            "FILES",
            "ENVIRONMENT",
            "\"EXIT STATUS\"",
            "\"SEE ALSO\"",
        ] {
            assert!(
                page.contains(&format!("\n.SH {section}\n")),
                "{command}: {section}"
            );
        }
    }
    let page = fs::read_to_string(directory.path().join("reveille-mirrorlist-check.1")).unwrap();
    insta::assert_snapshot!(page.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

/// Two architectures in one directory have the mirrors of both.
#[test]
fn architectures_may_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("mirrors.yaml");
    let text = "version: 1\nrepositories:\n  - {repo: debian, arch: amd64, path: debian, type: apt}\n  \
                - {repo: debian, arch: arm64, path: debian, type: apt}\n  - {repo: ports, arch: arm64, path: debian, type: apt}\n\
                mirrors:\n  - {name: a, urls: {http: http://a.example/}, content: {debian: debian}}\n  \
                - {name: b, urls: {http: http://b.example/}, content: {ports: debian}}\n";
    fs::write(&list, text).unwrap();
    let list = list.to_str().unwrap();
    let checked = program(&["check", "--offline", "--mirrors", list]);
    assert!(
        text_of(&checked.stdout).starts_with("1 directory, 3 repositories, 2 mirrors, 2 URLs"),
        "{}",
        text_of(&checked.stdout)
    );
    let explained = program(&[
        "explain",
        "--mirrors",
        list,
        "--ip",
        "192.0.2.1",
        "--repo",
        "debian",
        "--arch",
        "arm64",
    ]);
    let explained = text_of(&explained.stdout);
    assert!(
        explained.contains("http://a.example/debian/") && explained.contains("http://b.example/debian/"),
        "{explained}"
    );
}

/// A timer repeats the check, whatever the result, until a signal stops it.
#[test]
fn a_timer_repeats_the_check_until_it_is_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("mirrors.yaml");
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let text = format!(
        "version: 1\nrepositories:\n  - {{repo: debian, path: debian, origin: \"http://{gone}/\", type: apt}}\nmirrors:\n  \
         - {{name: a, urls: {{http: \"http://{gone}/\"}}, content: {{debian: debian}}}}\nfreshness: {{every: 1s}}\n"
    );
    fs::write(&list, text).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_reveille-mirrorlist"))
        .args(["check", "--timer", "--mirrors"])
        .arg(&list)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let child = Ended(child);
    let rounds = lines
        .by_ref()
        .map(Result::unwrap)
        .filter(|line| line.starts_with("1 directory"))
        .take(2);
    assert_eq!(rounds.count(), 2);
    child.signal(Signal::TERM);
    assert!(child.status().success());
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server, and returns the lines that it prints to standard error.
fn serving(command: &mut Command) -> (Ended, impl Iterator<Item = String> + use<>) {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    (Ended(child), lines.map(Result::unwrap))
}

// === impl Ended ===

impl Ended {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Waits for its exit status; the program must end without another signal.
    fn status(self) -> ExitStatus {
        let pid = Pid::from_child(&self.0);
        let (done, ended) = mpsc::channel();
        let waiting = thread::spawn(move || {
            let mut this = self;
            let status = this.0.wait().unwrap();
            // The receiver is gone after a timeout.
            let _ = done.send(status);
        });
        let status = ended.recv_timeout(PATIENCE);
        if status.is_err() {
            // Otherwise the thread would not end.
            kill_process(pid, Signal::KILL).unwrap();
        }
        waiting.join().unwrap();
        status.expect("it ends")
    }
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// The program ends during its start, even if a file can't be opened or read to its end.
#[test]
fn it_ends_during_its_start() {
    let data = data("example");
    let cache = data.path().join(synthetic::CACHE);
    let whole = fs::read(&cache).unwrap();
    fs::remove_file(&cache).unwrap();
    pipe(&cache);
    let serve = |more: &[&str]| {
        let child = Command::new(env!("CARGO_BIN_EXE_reveille-mirrorlist"))
            .args(["serve", "--listen", "127.0.0.1:0", "--cache"])
            .arg(&cache)
            .args(more)
            .spawn()
            .unwrap();
        Ended(child)
    };
    let child = serve(&[]);
    // Returns when the program has opened the pipe and waits for data.
    let mut held = fs::OpenOptions::new().write(true).open(&cache).unwrap();
    held.write_all(&whole[..100]).unwrap();
    child.signal(Signal::TERM);
    assert!(child.status().success());
    // Closing the pipe discards the unread data.
    drop(held);
    // A log that is a pipe without a reader.
    let log = data.path().join("log");
    pipe(&log);
    let child = serve(&["--log", log.to_str().unwrap()]);
    let mut held = fs::OpenOptions::new().write(true).open(&cache).unwrap();
    held.write_all(&whole).unwrap();
    drop(held);
    child.signal(Signal::INT);
    assert!(child.status().success());
}

/// The program ends, even if a client does not read its answer or nobody reads from a log that is a pipe.
#[test]
fn it_ends_beside_a_client_and_a_log_that_do_not() {
    let data = data("example");
    let (cache, access) = (data.path().join(synthetic::CACHE), data.path().join("access"));
    let socket = data.path().join("socket");
    pipe(&access);
    let _unread = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&access)
        .unwrap();
    let (child, mut lines) = serving(
        Command::new(env!("CARGO_BIN_EXE_reveille-mirrorlist"))
            .args(["serve", "--watch", "0", "--listen", "127.0.0.1:0", "--listen"])
            .arg(format!("unix:{}", socket.display()))
            .arg("--cache")
            .arg(&cache)
            .arg("--access-log")
            .arg(&access),
    );
    let mut address = None;
    for line in lines.by_ref() {
        match line.strip_prefix("listening on ") {
            Some(place) if place.starts_with("unix:") => break,
            Some(place) => address = place.parse().ok(),
            None => {}
        }
    }
    let mut client = Client::to(address.expect("it listens on TCP"));
    let agent = format!("User-Agent: {}\r\n", "x".repeat(1000));
    // More bytes than the pipe holds.
    for _ in 0..500 {
        assert_eq!(client.get("/nothing", &agent).status, 404);
    }
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let request =
        "GET /mirrorlist?repo=repo-0&arch=x86_64&country=global HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let requests = request.repeat(1000);
    let began = Instant::now();
    // Until the server reads no more requests, because nobody reads its answers.
    while stream.write(requests.as_bytes()).is_ok() {
        assert!(began.elapsed() < PATIENCE, "it reads requests forever");
    }
    child.signal(Signal::TERM);
    assert!(child.status().success());
}

/// The soft limit is raised to the hard one. If that is not enough, a warning says so, and clients wait for a place.
#[test]
fn there_are_as_many_connections_as_open_files_allow() {
    let data = data("example");
    let serve = |limits: &str| {
        let script = format!(
            "{limits} && exec \"$0\" serve --workers 1 --watch 0 --listen 127.0.0.1:0 --cache \"$1\""
        );
        let program = env!("CARGO_BIN_EXE_reveille-mirrorlist");
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &script, program])
            .arg(data.path().join(synthetic::CACHE));
        serving(&mut shell)
    };
    let (none, mut lines) = serve("ulimit -n 100");
    let error = lines.find(|line| line.starts_with("error: "));
    assert_eq!(none.status().code(), Some(2));
    assert!(
        error
            .unwrap()
            .contains("the limit of 100 open files leaves none for clients")
    );
    let (some, lines) = serve("ulimit -Sn 60 && ulimit -Hn 200");
    let mut messages = Vec::new();
    let mut address = None;
    for line in lines {
        address = line
            .strip_prefix("listening on ")
            .and_then(|text| text.parse().ok());
        messages.push(line);
        if address.is_some() {
            break;
        }
    }
    let messages = messages.join("\n");
    assert!(
        messages.contains("the limit of 200 open files allows 100 connections at once, not 16384"),
        "{messages}"
    );
    // As many connections as the limit allows, which are more than the soft limit was.
    let mut clients: Vec<Client> = (0..100).map(|_| Client::to(address.unwrap())).collect();
    for client in &mut clients {
        assert_eq!(client.get("/nothing", "").status, 404);
    }
    // A further connection waits until another one is closed.
    let mut waiting = Client::to(address.unwrap());
    drop(clients.pop());
    assert_eq!(waiting.get("/nothing", "").status, 404);
    some.signal(Signal::TERM);
    assert!(some.status().success());
}

/// The program ends during a reload, even if a file can't be read to its end.
#[test]
fn it_ends_during_a_reload() {
    let data = data("example");
    let cache = data.path().join(synthetic::CACHE);
    for watch in ["0", "1s"] {
        let (child, mut lines) = serving(
            Command::new(env!("CARGO_BIN_EXE_reveille-mirrorlist"))
                .args(["serve", "--listen", "127.0.0.1:0", "--watch", watch, "--cache"])
                .arg(&cache),
        );
        assert!(lines.any(|line| line.starts_with("listening on ")));
        let whole = fs::read(&cache).unwrap();
        fs::remove_file(&cache).unwrap();
        pipe(&cache);
        child.signal(Signal::HUP);
        let mut held = fs::OpenOptions::new().write(true).open(&cache).unwrap();
        held.write_all(&whole[..100]).unwrap();
        child.signal(Signal::TERM);
        assert!(child.status().success());
        drop(held);
        fs::remove_file(&cache).unwrap();
        fs::write(&cache, whole).unwrap();
    }
}

#[test]
fn signals_reload_and_end_it() {
    let (one, two) = (data("one.example"), data("two.example"));
    let cache = one.path().join(synthetic::CACHE);
    let (child, mut lines) = serving(
        Command::new(env!("CARGO_BIN_EXE_reveille-mirrorlist"))
            .args(["serve", "--listen", "127.0.0.1:0", "--watch", "0", "--cache"])
            .arg(&cache),
    );
    let mut line_with = |words: &str| -> String {
        lines
            .by_ref()
            .find(|line| line.contains(words))
            .unwrap_or_else(|| panic!("no message with {words}"))
    };
    let address = line_with("listening on ")
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let mut client = Client::to(address);
    let (repo, arch) = synthetic::repository(0);
    let target = format!("/mirrorlist?repo={repo}&arch={arch}&country=global");
    assert!(client.get(&target, "").text().contains("one.example"));
    fs::copy(two.path().join(synthetic::CACHE), &cache).unwrap();
    child.signal(Signal::HUP);
    line_with("reloaded in ");
    assert!(client.get(&target, "").text().contains("two.example"));
    fs::write(&cache, "damage").unwrap();
    child.signal(Signal::HUP);
    line_with("not reloaded, the old data stay in use");
    assert!(client.get(&target, "").text().contains("two.example"));
    child.signal(Signal::TERM);
    assert!(child.status().success());
}
