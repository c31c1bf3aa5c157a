//! Requests and their answers.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use reveille_mirrorlist::synthetic::{directory_name, repository};

use crate::net::{Client, Reply, data, options, serve};

fn with_server(ask: impl FnOnce(&mut Client) + Send) {
    let directory = data("example");
    serve(&options(directory.path()), |server| {
        ask(&mut Client::to(server.addresses()[0]));
    });
}

fn hosts(reply: &Reply) -> BTreeSet<String> {
    reply
        .urls()
        .iter()
        .filter_map(|url| Some(url.split("//").nth(1)?.split('/').next()?.to_owned()))
        .collect()
}

#[test]
fn repositories_and_paths_are_answered() {
    with_server(|client| {
        let (repo, arch) = repository(0);
        let list = client.get(
            &format!("/mirrorlist?repo={repo}&arch={arch}"),
            "X-Forwarded-For: 5.6.7.8\r\n",
        );
        let text = list.text();
        assert!(
            text.starts_with(&format!("# repo = {repo} arch = {arch} country = ")),
            "{text}"
        );
        assert!(
            list.urls()
                .iter()
                .all(|url| url.ends_with("/os/") && url.starts_with("http")),
            "{text}"
        );
        assert_eq!(list.header("content-type"), Some("text/plain"));
        let by_path = client.get(
            &format!("/mirrorlist?path=//{}//", directory_name(0)),
            "X-Forwarded-For: 5.6.7.8\r\n",
        );
        assert_eq!(hosts(&list), hosts(&by_path));
        let file = client.get(&format!("/mirrorlist?path={}/repomd.xml", directory_name(1)), "");
        assert!(
            file.urls()
                .iter()
                .all(|url| url.ends_with("/os/repodata/repomd.xml"))
        );
        let encoded = client.get(
            &format!("/mirrorlist?repo={}&arch={arch}", repo.replace('-', "%2D")),
            "",
        );
        assert_eq!(encoded.status, 200);
        let timed = client.get(&format!("/mirrorlist?repo={repo}&arch={arch}&time=1"), "");
        assert!(timed.text().contains("\n# database creation time: 1793491200\n"));
        let all = client.get(&format!("/mirrorlist?repo={repo}&arch={arch}&country=global"), "");
        assert!(hosts(&all).len() >= hosts(&list).len());
        let redirect = client.get(&format!("/mirrorlist?repo={repo}&arch={arch}&redirect=1"), "");
        assert_eq!((redirect.status, redirect.body.len()), (302, 0));
        assert!(redirect.header("location").unwrap().starts_with("http"));
        let source = client.get("/mirrorlist?repo=repo-source-1&arch=x86_64", "");
        assert!(source.text().starts_with("# repo = repo-source-1 arch = source "));
        let head = client.ask("HEAD", &format!("/mirrorlist?repo={repo}&arch={arch}"), b"");
        assert_eq!((head.status, head.body.len()), (200, 0));
    });
}

#[test]
fn a_metalink_has_checksums_and_preferences() {
    with_server(|client| {
        let (repo, arch) = repository(0);
        let reply = client.get(
            &format!("/metalink?repo={repo}&arch={arch}"),
            "X-Forwarded-For: 5.6.7.8\r\n",
        );
        let text = reply.text();
        assert_eq!(reply.header("content-type"), Some("application/metalink+xml"));
        for part in [
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<metalink version=\"3.0\" xmlns=\"http://www.metalinker.org/\"",
            "<file name=\"repomd.xml\">\n   <mm0:timestamp>1793487600</mm0:timestamp>\n   <size>4000</size>\n   <verification>\n",
            "<hash type=\"sha512\">",
            "<resources maxconnections=\"1\">",
            "preference=\"100\"",
            "preference=\"99\"",
            "/os/repodata/repomd.xml</url>\n",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(
            text.contains("protocol=\"rsync\""),
            "metalinks have all protocols: {text}"
        );
        let none = client.get(&format!("/metalink?path={}/nothing", directory_name(0)), "");
        assert_eq!(none.status, 404);
        assert!(none.text().contains("not found or has not metalink\n-->"));
    });
}

#[test]
fn refusals_have_the_right_status_and_strictly_the_references() {
    let directory = data("example");
    let cases = [
        (
            "/mirrorlist",
            400,
            200,
            "# either path=, or repo= and arch= must be specified",
        ),
        (
            "/mirrorlist?repo=repo-disabled&arch=x86_64",
            404,
            200,
            "repo disabled",
        ),
        (
            "/mirrorlist?repo=none&arch=x86_64",
            404,
            404,
            "# following repositories are available:\n# repo=repo-0",
        ),
        ("/mirrorlist?path=no/where", 404, 404, "error: invalid path"),
        ("/mirrorlist?repo=repo-lost&arch=x86_64", 404, 500, "directory"),
        ("/mirrorlist?repo=repo-1&arch=x86_64&ip=nonsense", 400, 500, "ip="),
        ("/elsewhere", 404, 404, "/mirrorlist and /metalink"),
    ];
    let mut options = options(directory.path());
    for strict in [false, true] {
        options.rules.strict = strict;
        serve(&options, |server| {
            let mut client = Client::to(server.addresses()[0]);
            for (target, status, strictly, words) in cases {
                let reply = client.get(target, "");
                assert_eq!(reply.status, if strict { strictly } else { status }, "{target}");
                assert!(reply.text().contains(words), "{target}: {}", reply.text());
            }
            let posted = client.ask("POST", "/mirrorlist?path=x", b"Content-Length: 0\r\n");
            assert_eq!((posted.status, posted.header("allow")), (405, Some("GET, HEAD")));
        });
    }
}

#[test]
fn answers_have_the_requested_protocols_only() {
    let directory = data("example");
    let (repo, arch) = repository(0);
    let target = format!("/mirrorlist?repo={repo}&arch={arch}&country=global&protocol=");
    let mut options = options(directory.path());
    serve(&options, |server| {
        let mut client = Client::to(server.addresses()[0]);
        let sync = client.get(&format!("{target}rsync"), "");
        assert!(!sync.urls().is_empty() && sync.urls().iter().all(|url| url.starts_with("rsync:")));
        assert!(sync.text().lines().next().unwrap().ends_with("protocol = rsync"));
        let none = client.get(&format!("{target}gopher%0Ahttp://evil.example/"), "");
        assert_eq!((none.status, none.urls().len()), (404, 0), "{}", none.text());
    });
    options.rules.strict = true;
    serve(&options, |server| {
        let reply = Client::to(server.addresses()[0]).get(&format!("{target}gopher"), "");
        assert_eq!((reply.status, reply.urls().len()), (200, 0), "{}", reply.text());
    });
}

/// `ip=` shows the public mirrors of a network only.
#[test]
fn private_mirrors_are_for_their_network_only() {
    let directory = data("example");
    let all =
        |server: &reveille_mirrorlist::server::Running, network: u32, header: bool| -> BTreeSet<String> {
            let mut client = Client::to(server.addresses()[0]);
            let address = format!("20.{network}.64.9");
            let mut found = BTreeSet::new();
            for number in (0..40).step_by(2) {
                let (repo, arch) = repository(number);
                let target = format!("/mirrorlist?repo={repo}&arch={arch}");
                let reply = if header {
                    client.get(&target, &format!("X-Forwarded-For: {address}\r\n"))
                } else {
                    client.get(
                        &format!("{target}&ip={address}"),
                        "X-Forwarded-For: 198.51.100.7\r\n",
                    )
                };
                found.extend(hosts(&reply));
            }
            found
        };
    let mut options = options(directory.path());
    serve(&options, |server| {
        let hidden = (2..60)
            .step_by(2)
            .filter(|network| {
                let (stranger, inside) = (all(server, *network, false), all(server, *network, true));
                assert!(stranger.is_subset(&inside), "{network}");
                stranger != inside
            })
            .count();
        assert!(hidden > 0, "some network has a private mirror");
    });
    options.rules.strict = true;
    serve(&options, |server| {
        for network in (2..60).step_by(2) {
            assert_eq!(all(server, network, false), all(server, network, true));
        }
    });
}

#[test]
fn caches_and_compression() {
    with_server(|client| {
        let (repo, arch) = repository(0);
        let target = format!("/mirrorlist?repo={repo}&arch={arch}&country=global");
        let reply = client.get(&target, "");
        let tag = reply.header("etag").unwrap().to_owned();
        let again = client.get(&target, &format!("If-None-Match: {tag}\r\n"));
        assert_eq!((again.status, again.body.len()), (304, 0));
        let other = client.get(
            &target,
            &format!("If-None-Match: {tag}\r\nX-Forwarded-For: 5.6.7.8\r\n"),
        );
        assert_eq!(other.status, 200, "an answer is for one client");
        let small = client.get(&target, "Accept-Encoding: gzip\r\n");
        assert_eq!(small.header("content-encoding"), Some("gzip"));
        let mut text = String::new();
        std::io::Read::read_to_string(
            &mut flate2::read::GzDecoder::new(small.body.as_slice()),
            &mut text,
        )
        .unwrap();
        assert!(text.contains("country = global"));
    });
}

#[test]
fn the_administrator_sees_health_and_numbers() {
    let directory = data("example");
    let mut options = options(directory.path());
    options.max_stale = Some(std::time::Duration::from_secs(1));
    options.log = Some(directory.path().join("mirrorlist.log"));
    options.access_log = Some(directory.path().join("access.log"));
    serve(&options, |server| {
        let mut client = Client::to(server.addresses()[0]);
        client.get(
            "/mirrorlist?repo=repo-0&arch=x86_64&country=global",
            "X-Forwarded-For: 5.6.7.8\r\n",
        );
        client.get("/nothing", "User-Agent: \"x\"\r\n");
        let mut admin = Client::to(server.admin().unwrap());
        assert_eq!(admin.get("/readyz", "").status, 200);
        for (method, target, status) in [
            ("HEAD", "/readyz", 200),
            ("HEAD", "/healthz", 503),
            ("POST", "/metrics", 405),
            ("GET", "/-/reload", 405),
        ] {
            assert_eq!(admin.ask(method, target, b"").status, status, "{method} {target}");
        }
        let health = admin.get("/healthz", "");
        assert_eq!(health.status, 503);
        assert!(health.text().contains(" old, more than 1 s"), "{}", health.text());
        let metrics = admin.get("/metrics", "").text();
        for line in [
            "mirrorlist_requests_total{source=\"country\"} 1",
            "mirrorlist_requests_total{source=\"not_served\"} 1",
            "mirrorlist_request_seconds_count 2",
            "mirrorlist_snapshot_directories 40",
            "mirrorlist_snapshot_hosts 60",
        ] {
            assert!(metrics.contains(line), "{line} is not in {metrics}");
        }
        let described: Vec<&str> = metrics
            .lines()
            .filter(|line| line.starts_with("# HELP "))
            .collect();
        insta::assert_snapshot!(described.join("\n"));
        assert_eq!(
            admin.get("/mirrorlist", "").status,
            404,
            "lists are on the other address"
        );
    });
    let log = fs::read_to_string(directory.path().join("mirrorlist.log")).unwrap();
    assert!(
        log.starts_with("IP: 5.6.7.8; DATE: 20") && log.ends_with("; REPO: repo-0; ARCH: x86_64\n"),
        "{log}"
    );
    let access = fs::read_to_string(directory.path().join("access.log")).unwrap();
    assert!(
        access.lines().count() == 2 && access.contains("\"GET /nothing\" 404"),
        "{access}"
    );
}

#[test]
fn the_rate_limit_is_for_clients_and_not_for_proxies() {
    let directory = data("example");
    let mut options = options(directory.path());
    options.rate_limit = std::num::NonZeroUsize::new(3);
    serve(&options, |server| {
        let mut client = Client::to(server.addresses()[0]);
        let mut refused = |headers: &str| {
            (0..12)
                .filter(|_| client.get("/mirrorlist", headers).status == 429)
                .count()
        };
        assert!(refused("X-Forwarded-For: 198.51.100.1\r\n") > 0);
        assert_eq!(refused(""), 0, "this machine is trusted");
    });
}

#[test]
fn apt_gets_priorities_and_others_get_none() {
    with_server(|client| {
        let (repo, arch) = repository(0);
        let target = format!("/mirrorlist?repo={repo}&arch={arch}");
        for (target, headers) in [
            (target.clone(), "User-Agent: Debian APT-HTTP/1.3 (2.6.1)\r\n"),
            (format!("{target}&format=apt"), ""),
        ] {
            let reply = client.get(&target, headers);
            for (place, url) in reply.urls().iter().enumerate() {
                assert!(url.ends_with(&format!("\tpriority:{}", place + 1)), "{url}");
            }
        }
        assert!(
            !client
                .get(&target, "User-Agent: libdnf\r\n")
                .text()
                .contains('\t')
        );
    });
}

/// An answer has the name of a file for every mirror, so a client's text must not make it large.
#[test]
fn a_small_request_gets_no_large_answer() {
    with_server(|client| {
        let long = client.get(&format!("/mirrorlist?path={}", "x".repeat(5000)), "");
        assert_eq!(long.status, 414);
        assert!(long.text().contains("longer than 4096 bytes"), "{}", long.text());
        let under = |file: &str| format!("/mirrorlist?country=global&path={}/{file}", directory_name(0));
        assert_eq!(client.get(&under(&"x".repeat(3000)), "").status, 404);
        assert_eq!(client.get(&under(&"x".repeat(255)), "").status, 200);
        let (repo, arch) = repository(0);
        let target = format!("/mirrorlist?repo={repo}&arch={arch}");
        let most = client.get(&format!("{target}&country=global"), "").urls().len();
        // In all ways to write it.
        let countries: Vec<String> = (0..64)
            .map(|number| {
                let letters = "global".chars().enumerate();
                letters
                    .map(|(place, letter)| match number >> place & 1 {
                        0 => letter,
                        _ => letter.to_ascii_uppercase(),
                    })
                    .collect()
            })
            .collect();
        let reply = client.get(&format!("{target}&country={}", countries.join(",")), "");
        assert_eq!(reply.urls().len(), most);
        assert_eq!(reply.text().matches("country = global").count(), 1);
        let protocols: Vec<String> = (0..17).map(|number| format!("p{number}")).collect();
        let reply = client.get(&format!("{target}&protocol={}", protocols.join(",")), "");
        assert_eq!(reply.status, 400, "{}", reply.text());
        assert!(
            reply.text().contains("more than 16 protocols"),
            "{}",
            reply.text()
        );
        // The connection still works.
        assert_eq!(client.get(&target, "").status, 200);
        let head = |length: usize| format!("X-Long: {}\r\n", "x".repeat(length));
        assert_eq!(client.get(&target, &head(12_000)).status, 200);
        assert_eq!(client.get(&target, &head(20_000)).status, 431);
    });
}

/// Each request has one line in a log, whatever it contains.
#[test]
fn what_a_client_sends_ends_no_line_and_no_field_of_a_log() {
    let directory = data("example");
    let mut options = options(directory.path());
    options.log = Some(directory.path().join("mirrorlist.log"));
    options.access_log = Some(directory.path().join("access.log"));
    serve(&options, |server| {
        let mut client = Client::to(server.addresses()[0]);
        let asked = client.ask(
            "GET",
            &format!(
                "/\"b\"/mirrorlist?path={}&repo=a%0AIP:%20forged;%1b&arch=x",
                directory_name(0)
            ),
            b"User-Agent: one\" 200 \t\x80\r\n",
        );
        assert_eq!(asked.status, 200);
        assert_eq!(client.get(&format!("/{}", "x".repeat(6000)), "").status, 414);
    });
    let access = fs::read_to_string(directory.path().join("access.log")).unwrap();
    let lines: Vec<&str> = access.lines().collect();
    assert_eq!(lines.len(), 2, "{access}");
    assert!(
        lines.iter().all(|line| line.matches('"').count() == 4),
        "{access}"
    );
    assert!(
        lines[0].contains("GET /?b?/mirrorlist?path=")
            && lines[0].contains("&arch=x\" 200 ")
            && lines[0].ends_with("\"one? 200 ?\u{fffd}\""),
        "{access}"
    );
    let log = fs::read_to_string(directory.path().join("mirrorlist.log")).unwrap();
    assert!(
        log.ends_with("; REPO: a?IP: forged??; ARCH: x\n") && log.lines().count() == 1,
        "{log}"
    );
    assert!(lines[1].len() < 4300 && lines[1].contains("…\" 414 "), "{access}");
}

/// The name of a file comes from the client, and appears in a list only as a part of a URL.
#[test]
fn the_name_of_a_file_adds_nothing_to_a_list() {
    with_server(|client| {
        let under = |file: &str| format!("/mirrorlist?country=global&path={}/{file}", directory_name(0));
        let reply = client.get(&under("a%0D%0Ab%09priority:0%20%C3%A9%25%3F%23+~"), "");
        let text = reply.text();
        assert!(text.starts_with("# path = "), "{text}");
        assert!(
            reply.urls().len() + 1 == text.lines().count()
                && reply
                    .urls()
                    .iter()
                    .all(|url| url.ends_with("/os/a%0D%0Ab%09priority:0%20%C3%A9%25%3F%23+~")),
            "{text}"
        );
        let redirect = client.get(&format!("{}&redirect=1", under("a%0Ab")), "");
        assert!(redirect.header("location").unwrap().ends_with("/os/a%0Ab"));
        let none = client.get(
            &format!("/metalink?path={}/---%01%EF%BF%BF", directory_name(0)),
            "",
        );
        assert!(
            none.text()
                .ends_with("/- - - not found or has not metalink\n-->\n</metalink>\n"),
            "{}",
            none.text()
        );
    });
}

#[test]
fn a_unix_socket_answers_too() {
    use std::io::{Read as _, Write as _};
    let directory = data("example");
    let path = directory.path().join("socket");
    let mut options = options(directory.path());
    options.listen = vec![format!("unix:{}", path.display()).parse().unwrap()];
    let admin = directory.path().join("admin");
    options.admin = Some(format!("unix:{}", admin.display()).parse().unwrap());
    serve(&options, |server| {
        assert_eq!(server.paths(), std::slice::from_ref(&path));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&path), mode(&admin)), (0o666, 0o660));
        let mut stream = std::os::unix::net::UnixStream::connect(&admin).unwrap();
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.ends_with("ready\n"), "{text}");
        let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        stream
            .write_all(
                b"GET /mirrorlist?repo=repo-0&arch=x86_64&country=global HTTP/1.0\r\nX-Forwarded-For: 5.6.7.8\r\n\r\n",
            )
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(
            text.starts_with("HTTP/1.0 200 OK") && text.contains("country = global"),
            "{text}"
        );
    });
    assert!(!path.exists() && !admin.exists(), "no socket is left behind");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn every_request_is_answered(
        query in "[a-z=&%+,./0-9\\-]{0,60}",
        header in proptest::collection::vec(0x20_u8..=0x7e, 0..40),
    ) {
        use std::sync::OnceLock;
        static DATA: OnceLock<tempfile::TempDir> = OnceLock::new();
        let directory = DATA.get_or_init(|| data("example"));
        serve(&options(directory.path()), |server| {
            let mut client = Client::to(server.addresses()[0]);
            let headers = [b"X-Forwarded-For: ", header.as_slice(), b"\r\n"].concat();
            for target in [format!("/mirrorlist?{query}"), format!("/metalink?repo=repo-0&arch=x86_64&{query}")] {
                let reply = client.ask("GET", &target, &headers);
                assert!(reply.status < 500, "{} {}", reply.status, reply.text());
            }
        });
    }
}
