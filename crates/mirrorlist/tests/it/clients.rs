//! Real clients: `apt-get` with its `mirror` method, and `dnf`, each with loopback mirrors. They try the best one
//! first.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use reveille_mirrorlist::Data;
use sha2::{Digest as _, Sha256};

use crate::net::{Client, options, serve};

/// A web server of files, which records its requests.
struct Mirror {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

// === impl Mirror ===

impl Mirror {
    fn of(files: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mirror = Self {
            address: listener.local_addr().unwrap(),
            asked: Arc::clone(&asked),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, files, asked) = (stream.unwrap(), files.clone(), Arc::clone(&asked));
                std::thread::spawn(move || answer(stream, &files, &asked));
            }
        });
        mirror
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(stream: TcpStream, files: &Path, asked: &Mutex<Vec<String>>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let path = head
            .split(' ')
            .nth(1)
            .unwrap_or("/")
            .trim_start_matches('/')
            .to_owned();
        let (status, body) = match fs::read(files.join(&path)) {
            Ok(body) => ("200 OK", body),
            Err(_) => ("404 Not Found", Vec::new()),
        };
        asked.lock().unwrap().push(format!("{status} {path}"));
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        let stream = stream.get_mut();
        if stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(&body))
            .is_err()
        {
            return;
        }
    }
}

fn succeeded(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// A list of mirrors with a repository, whose last words are each mirror's further keys.
fn list(directory: &Path, repository: &str, mirrors: &[(&str, SocketAddr, &str)]) -> PathBuf {
    let mut text = format!("version: 1\nrepositories:\n  - {repository}\nmirrors:\n");
    let name = repository
        .split("repo: ")
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap();
    for (mirror, address, place) in mirrors {
        let _ = writeln!(
            text,
            "  - {{name: {mirror}, urls: {{http: \"http://{address}/\"}}, {place}, content: {{{name}: /}}}}"
        );
    }
    let path = directory.join("mirrors.yaml");
    fs::write(&path, text).unwrap();
    path
}

fn apt_tree(root: &Path) {
    let packages =
        "Package: hello\nVersion: 1.0\nArchitecture: amd64\nMaintainer: Nobody <nobody@example.org>\n\
                    Description: nothing\nFilename: pool/hello.deb\nSize: 5\n"
            .to_owned()
            + &format!("SHA256: {}\n", sum(b"hello"));
    let binary = root.join("debian/dists/stable/main/binary-amd64");
    fs::create_dir_all(&binary).unwrap();
    fs::create_dir_all(root.join("debian/pool")).unwrap();
    fs::write(root.join("debian/pool/hello.deb"), "hello").unwrap();
    fs::write(binary.join("Packages"), &packages).unwrap();
    let release = format!(
        "Origin: test\nSuite: stable\nCodename: stable\nArchitectures: amd64\nComponents: main\n\
         Date: Sat, 21 Nov 2026 00:00:00 UTC\nSHA256:\n {} {} main/binary-amd64/Packages\n",
        sum(packages.as_bytes()),
        packages.len()
    );
    fs::write(root.join("debian/dists/stable/Release"), release).unwrap();
}

#[test]
fn apt_get_continues_with_the_next_mirror_if_the_first_lacks_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    apt_tree(&root.join("tree"));
    let (near, far) = (Mirror::of(root.join("tree")), Mirror::of(root.join("tree")));
    // The best mirror for this network has no files.
    let empty = Mirror::of(root.join("nothing"));
    let path = list(
        root,
        "{repo: debian, path: debian, type: apt}",
        &[
            ("far", far.address, "bandwidth: 10Gbit"),
            ("empty", empty.address, "netblocks: [127.0.0.1/32]"),
            ("near", near.address, "netblocks: [127.0.0.0/8]"),
        ],
    );
    let mut options = options(root);
    (options.sources.data, options.sources.netblocks) = (Data::Mirrors(path), None);
    (options.sources.countries, options.sources.geoip) = (None, None);
    serve(&options, |server| {
        let address = server.addresses()[0];
        let listed = Client::to(address)
            .get("/mirrorlist?path=debian&format=apt", "")
            .text();
        assert!(
            listed.contains(&format!("http://{}/debian/\tpriority:1\n", empty.address)),
            "{listed}"
        );
        assert!(
            listed.contains(&format!("http://{}/debian/\tpriority:2\n", near.address)),
            "{listed}"
        );
        for part in [
            "state/lists/partial",
            "cache/archives/partial",
            "etc/preferences.d",
            "log",
        ] {
            fs::create_dir_all(root.join("apt").join(part)).unwrap();
        }
        fs::write(root.join("apt/state/status"), "").unwrap();
        let source =
            format!("deb [trusted=yes] mirror+http://{address}/mirrorlist?path=debian stable main\n");
        fs::write(root.join("apt/etc/sources.list"), source).unwrap();
        let apt = |arguments: &[&str]| {
            let mut command = Command::new("apt-get");
            for (name, value) in [
                ("Dir::State", "state"),
                ("Dir::State::status", "state/status"),
                ("Dir::Cache", "cache"),
                ("Dir::Etc", "etc"),
                ("Dir::Etc::sourcelist", "etc/sources.list"),
                ("Dir::Etc::sourceparts", "none"),
                ("Dir::Log", "log"),
            ] {
                command
                    .arg("-o")
                    .arg(format!("{name}={}", root.join("apt").join(value).display()));
            }
            command.args(["-o", "APT::Architecture=amd64", "-o", "APT::Architectures=amd64"]);
            command.args(["-o", "APT::Sandbox::User=", "-o", "Acquire::http::Proxy=DIRECT"]);
            command.args(["-o", "Acquire::Retries=0", "-o", "Debug::NoLocking=1"]);
            command
                .env_remove("http_proxy")
                .env("LC_ALL", "C")
                .args(arguments);
            command.current_dir(root.join("apt/etc"));
            command
                .output()
                .expect("apt-get is installed; `cargo xtask test` names its package")
        };
        let updated = succeeded(&apt(&["update"]));
        let near = near.asked();
        let downloaded = apt(&["download", "hello"]);
        assert!(downloaded.status.success(), "{updated}\n{near:?}\n{downloaded:?}");
    });
    let asked = near.asked();
    assert!(
        asked.contains(&"200 OK debian/dists/stable/Release".to_owned()),
        "{asked:?}"
    );
    assert!(
        asked.contains(&"200 OK debian/pool/hello.deb".to_owned()),
        "{asked:?}"
    );
    assert!(
        empty
            .asked()
            .contains(&"404 Not Found debian/dists/stable/Release".to_owned()),
        "the best mirror was tried"
    );
    assert!(
        far.asked().iter().all(|asked| asked.starts_with("404")),
        "the far mirror got requests only for what no other mirror has: {:?}",
        far.asked()
    );
}

fn rpm_tree(root: &Path) -> String {
    let data = root.join("epel/9/repodata");
    fs::create_dir_all(&data).unwrap();
    let primary = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata xmlns=\"http://linux.duke.edu/metadata/common\" \
                   xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\" packages=\"1\"><package type=\"rpm\"><name>hello</name>\
                   <arch>noarch</arch><version epoch=\"0\" ver=\"1.0\" rel=\"1\"/><checksum type=\"sha256\" pkgid=\"YES\">\
                   0000000000000000000000000000000000000000000000000000000000000000</checksum><summary>nothing</summary>\
                   <description>nothing</description><packager/><url/><time file=\"1\" build=\"1\"/>\
                   <size package=\"1\" installed=\"1\" archive=\"1\"/><location href=\"hello.rpm\"/>\
                   <format><rpm:license>MIT</rpm:license></format></package></metadata>\n";
    fs::write(data.join("primary.xml"), primary).unwrap();
    let repomd = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<repomd xmlns=\"http://linux.duke.edu/metadata/repo\">\
         <revision>1</revision><data type=\"primary\"><checksum type=\"sha256\">{}</checksum>\
         <location href=\"repodata/primary.xml\"/><timestamp>1</timestamp><size>{}</size></data></repomd>\n",
        sum(primary.as_bytes()),
        primary.len()
    );
    fs::write(data.join("repomd.xml"), &repomd).unwrap();
    repomd
}

#[test]
fn dnf_reads_mirrorlists_and_metalinks() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    rpm_tree(&root.join("tree"));
    let (near, origin) = (Mirror::of(root.join("tree")), Mirror::of(root.join("tree")));
    let repository = format!(
        "{{repo: epel-9, arch: noarch, path: epel/9, origin: \"http://{}/epel/9\", type: rpm}}",
        origin.address
    );
    let path = list(root, &repository, &[("near", near.address, "country: DE")]);
    // The metalink's checksums come from the origin.
    let checked = Command::new(env!("CARGO_BIN_EXE_reveille-mirrorlist"))
        .args(["check", "--mirrors"])
        .arg(&path)
        .output()
        .unwrap();
    succeeded(&checked);
    let mut options = options(root);
    (options.sources.data, options.sources.netblocks) = (Data::Mirrors(path), None);
    (options.sources.countries, options.sources.geoip) = (None, None);
    serve(&options, |server| {
        let address = server.addresses()[0];
        for kind in ["mirrorlist", "metalink"] {
            let before = near.asked().len();
            let place = root.join(kind);
            for part in ["repos", "log", "root"] {
                fs::create_dir_all(place.join(part)).unwrap();
            }
            let repo = format!(
                "[epel-9]\nname=epel-9\n{kind}=http://{address}/{kind}?repo=epel-9&arch=noarch\nenabled=1\ngpgcheck=0\n"
            );
            fs::write(place.join("repos/epel.repo"), repo).unwrap();
            fs::write(place.join("dnf.conf"), "[main]\nplugins=0\n").unwrap();
            let output = Command::new("dnf")
                .arg("--config")
                .arg(place.join("dnf.conf"))
                .arg(format!("--setopt=reposdir={}", place.join("repos").display()))
                .arg(format!("--setopt=cachedir={}", place.join("cache").display()))
                .arg(format!("--setopt=logdir={}", place.join("log").display()))
                .arg(format!("--setopt=persistdir={}", place.join("state").display()))
                .arg(format!("--installroot={}", place.join("root").display()))
                .args(["--releasever=9", "--noplugins", "-q", "repoquery", "hello"])
                .env_remove("http_proxy")
                .env("LC_ALL", "C.UTF-8")
                .output()
                .expect("dnf is installed; `cargo xtask test` names its package");
            let text = succeeded(&output);
            assert!(text.contains("hello-0:1.0-1.noarch"), "{text}");
            let asked = near.asked()[before..].to_vec();
            assert!(
                asked.contains(&"200 OK epel/9/repodata/primary.xml".to_owned()),
                "{asked:?}"
            );
        }
        let metalink = Client::to(address)
            .get("/metalink?repo=epel-9&arch=noarch", "")
            .text();
        assert!(
            metalink.contains(&sum(rpm_tree(&root.join("again")).as_bytes())),
            "{metalink}"
        );
    });
}

/// A mirror that lacks its origin's version is left out, and the origin replaces the last mirror.
#[test]
fn stale_mirrors_are_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    rpm_tree(&root.join("tree"));
    let origin = Mirror::of(root.join("tree"));
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let repository = format!(
        "{{repo: epel-9, arch: noarch, path: epel/9, origin: \"http://{}/epel/9\", type: rpm}}",
        origin.address
    );
    let path = list(root, &repository, &[("gone", gone, "country: DE")]);
    let program = || Command::new(env!("CARGO_BIN_EXE_reveille-mirrorlist"));
    for round in 1..=3 {
        let checked = program()
            .args(["check", "--mirrors"])
            .arg(&path)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert_eq!(checked.status.code(), Some(3), "{text}");
        assert!(
            text.contains(&format!(
                "mirror gone: epel/9: failed {round} time{} in a row",
                if round == 1 { "" } else { "s" }
            )),
            "{text}"
        );
    }
    let explained = program()
        .args(["explain", "--mirrors"])
        .arg(&path)
        .args(["--ip", "192.0.2.1", "--repo", "epel-9", "--arch", "noarch"])
        .output()
        .unwrap();
    let text = succeeded(&explained);
    assert!(
        text.contains(&format!("http://{}/epel/9/", origin.address)),
        "{text}"
    );
    let (listed, left_out) = text
        .split_once("\n1 mirror left out by the last check:\n")
        .unwrap();
    assert!(!listed.contains(&gone.to_string()), "{text}");
    assert!(
        left_out.starts_with("     gone: failed 3 times in a row: http://"),
        "{text}"
    );
}

/// A server that redirects all requests to another one.
fn redirecting(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).unwrap_or(0) > 0 {}
            let path = head.split(' ').nth(1).unwrap_or("/");
            let answer =
                format!("HTTP/1.1 301 Moved\r\nLocation: http://{to}{path}\r\nContent-Length: 0\r\n\r\n");
            // The client may have closed the connection.
            let _ = stream.get_mut().write_all(answer.as_bytes());
        }
    });
    address
}

/// Mirrors may redirect. While the origin can't be reached, its mirrors are not judged.
#[test]
fn mirrors_may_redirect_and_an_origin_may_be_unreachable() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    rpm_tree(&root.join("tree"));
    let origin = Mirror::of(root.join("tree"));
    let mirror = redirecting(origin.address);
    let check = |origin: SocketAddr| {
        let repository = format!(
            "{{repo: epel-9, arch: noarch, path: epel/9, origin: \"http://{origin}/epel/9\", type: rpm}}"
        );
        let path = list(root, &repository, &[("moved", mirror, "country: DE")]);
        let output = Command::new(env!("CARGO_BIN_EXE_reveille-mirrorlist"))
            .args(["check", "--mirrors"])
            .arg(&path)
            .output()
            .unwrap();
        let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (code, text) = check(origin.address);
    assert_eq!(code, Some(0), "{text}");
    // The mirror has a newer version, and the origin can't be reached.
    fs::write(root.join("tree/epel/9/repodata/repomd.xml"), "new").unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, text) = check(gone);
    assert_eq!(code, Some(3), "{text}");
    assert!(
        text.contains("origin of epel/9: http://") && !text.contains("moved: "),
        "{text}"
    );
}

/// A slow origin does not delay the others: this server answers only after it has two requests.
#[test]
fn origins_are_read_at_the_same_time() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let both: Vec<TcpStream> = (0..2).map(|_| listener.accept().unwrap().0).collect();
        for stream in both {
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).unwrap_or(0) > 0 {}
            // The client may have closed the connection.
            let _ = stream
                .get_mut()
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew");
        }
    });
    let list = directory.path().join("mirrors.yaml");
    let repository = |name: &str| {
        format!("  - {{repo: {name}, path: {name}, origin: \"http://{origin}/{name}/\", type: apt}}\n")
    };
    let text = format!(
        "version: 1\nrepositories:\n{}{}mirrors: []\n",
        repository("debian"),
        repository("ubuntu")
    );
    fs::write(&list, text).unwrap();
    let checked = Command::new(env!("CARGO_BIN_EXE_reveille-mirrorlist"))
        .args(["check", "--mirrors"])
        .arg(&list)
        .output()
        .unwrap();
    succeeded(&checked);
}
