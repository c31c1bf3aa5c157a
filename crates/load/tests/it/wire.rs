//! HTTP/1.1 of various services, simulated lines, proxies, and addresses of names.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::bad_peers::{peer, question};
use crate::server::{Bench, Server, TURNS, assert_balanced, failures};

/// Answers each request by its path, on one connection after another.
fn speak(mut stream: TcpStream) {
    loop {
        let head = question(&mut stream);
        let path = head.split(' ').nth(1).unwrap_or_default();
        let answer: &[u8] = match path {
            "" => return,
            "/interim" => {
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
            }
            "/none" => b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n",
            "/unchanged" => b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
            "/old" => b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok",
            "/chunks" => {
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6;x=y\r\nhello \r\n5\r\nworld\r\n0\r\nsum: 1\r\n\r\n"
            }
            "/head" => b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n",
            "/surplus" => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n",
            "/end" => b"HTTP/1.1 200 OK\r\n\r\nall until the end",
            "/bare" => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\nhello\n0\n\n",
            "/lengths" => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!",
            _ => b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        };
        if stream.write_all(answer).is_err() || path == "/end" {
            return;
        }
    }
}

fn scenario(address: SocketAddr, http: &str, tasks: &str) -> Bench {
    Bench::new(&format!(
        "base_url: http://{address}\nhttp: {{timeout: 20s{http}}}\n{TURNS}\ntasks: [{tasks}]\nstages: [{{users: 1, for: 5m}}]\n"
    ))
    .turns(8)
}

#[test]
fn one_connection_serves_every_kind_of_answer() {
    let bench = scenario(
        peer(speak),
        "",
        "{sequence: [{get: /interim, expect: {contains: hi}}, {get: /none, expect: {status: 204}}, \
         {get: /unchanged, expect: {status: 304}}, {get: /old, expect: {contains: ok}}, \
         {get: /chunks, expect: {contains: hello world}}, {head: /head}]}",
    );
    let (status, summary) = bench.summary(&[]);
    assert_eq!(
        (status, &summary["requests"]["failed"]),
        (0, &0.into()),
        "{summary:#}"
    );
    assert_eq!(summary["requests"]["completed"], 8 * 6);
    assert_eq!(summary["connections"], 1);
}

#[test]
fn a_url_in_a_query_is_part_of_a_path() {
    let address = peer(|mut stream| {
        loop {
            let head = question(&mut stream);
            let answer: &[u8] = match head.split(' ').nth(1).unwrap_or_default() {
                "" => return,
                "/go?to=http://elsewhere.invalid/x" => {
                    b"HTTP/1.1 302 Found\r\nlocation: /end?from=http://elsewhere.invalid/x\r\ncontent-length: 0\r\n\r\n"
                }
                "/end?from=http://elsewhere.invalid/x" => b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone",
                _ => b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            };
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    });
    let tasks = "{get: '/go?to=http://{{ where }}/x', expect: {contains: done}}";
    let (status, summary) = scenario(address, "", tasks).summary(&["-e", "where=elsewhere.invalid"]);
    assert_eq!(
        (status, &summary["requests"]["failed"]),
        (0, &0.into()),
        "{summary:#}"
    );
}

#[test]
fn a_connection_is_not_used_after_an_answer_that_ends_it() {
    for path in ["/surplus", "/end"] {
        let bench = scenario(peer(speak), "", &format!("{{get: {path}}}"));
        let (status, summary) = bench.summary(&[]);
        assert_eq!(
            (status, &summary["requests"]["failed"]),
            (0, &0.into()),
            "{summary:#}"
        );
        assert_eq!(summary["connections"], summary["requests"]["started"]);
    }
}

#[test]
fn ambiguous_answers_are_failures() {
    for path in ["/bare", "/lengths"] {
        let bench = scenario(peer(speak), "", &format!("{{get: {path}}}"));
        let (status, summary) = bench.summary(&[]);
        assert_eq!(status, 3, "{summary:#}");
        assert!(failures(&summary, "protocol") > 0, "{summary:#}");
    }
}

#[test]
fn an_answer_before_the_end_of_a_long_request_counts() {
    let address = peer(|mut stream| {
        question(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n");
        // The peer reads nothing until the client has left.
        let _ = stream.shutdown(Shutdown::Write);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let bench = scenario(address, "", "{post: /, file: long, expect: {status: 413}}");
    std::fs::write(bench.path("long"), vec![b'x'; 32 << 20]).expect("written");
    let (status, summary) = bench.summary(&[]);
    assert_eq!(
        (status, &summary["requests"]["failed"]),
        (0, &0.into()),
        "{summary:#}"
    );
    assert_balanced(&summary);
}

#[test]
fn a_request_on_a_closed_kept_connection_is_sent_again() {
    let address = peer(|mut stream| {
        question(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    let bench = scenario(address, "", "{get: /}");
    let (status, summary) = bench.summary(&[]);
    assert_eq!(
        (status, &summary["requests"]["failed"]),
        (0, &0.into()),
        "{summary:#}"
    );
    assert_eq!(summary["requests"]["completed"], 8);
}

#[test]
fn every_phase_has_a_time() {
    let silent = peer(|mut stream| {
        question(&mut stream);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let (_, summary) = scenario(silent, ", first_byte_timeout: 50ms", "{get: /}").summary(&[]);
    assert!(failures(&summary, "timeout") > 0, "{summary:#}");
    let half = peer(|mut stream| {
        question(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf");
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let (_, summary) = scenario(half, ", body_timeout: 50ms", "{get: /}").summary(&[]);
    assert!(failures(&summary, "body_timeout") > 0, "{summary:#}");
}

#[test]
fn a_simulated_line_delays_requests_and_answers() {
    let address = peer(|mut stream| {
        loop {
            if question(&mut stream).is_empty() {
                return;
            }
            let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 20000\r\n\r\n".to_vec();
            answer.resize(answer.len() + 20_000, b'x');
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    });
    let slow = ", network: {latency: 50ms, bandwidth: 200KB/s}";
    let (status, summary) = scenario(address, slow, "{get: /}").summary(&[]);
    assert_eq!(
        (status, &summary["requests"]["failed"]),
        (0, &0.into()),
        "{summary:#}"
    );
    let phase = |name: &str| summary["phases"][name]["p50"].as_f64().expect(name);
    // The times have no upper limits, because a busy machine takes longer.
    assert!(phase("connect") >= 50.0, "{summary:#}");
    assert!(phase("first_byte") >= 50.0, "{summary:#}");
    assert!(phase("body") >= 99.0, "{summary:#}");
}

#[test]
fn a_proxy_gets_whole_urls() {
    let proxy = peer(|mut stream| {
        loop {
            let head = question(&mut stream);
            let Some(line) = head.lines().next() else { return };
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{line}", line.len());
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    let bench = Bench::new(&format!(
        "base_url: http://shop.invalid\nhttp: {{proxy: 'http://{proxy}'}}\n\
         tasks: [{{get: /x?y, expect: {{contains: GET http://shop.invalid/x?y HTTP/1.1}}}}]\nstages: [{{users: 1, for: 200ms}}]\n"
    ));
    let (status, summary) = bench.summary(&[]);
    assert_eq!(
        (status, &summary["requests"]["failed"]),
        (0, &0.into()),
        "{summary:#}"
    );
}

/// Connects a client with the host that it names.
fn tunnel(mut stream: TcpStream) {
    let head = question(&mut stream);
    let to = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let Ok(mut service) = TcpStream::connect(to) else {
        let _ = stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n");
        return;
    };
    let _ = stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
    let (mut back, mut forth) = (
        service.try_clone().expect("a handle"),
        stream.try_clone().expect("a handle"),
    );
    let backward = std::thread::spawn(move || {
        let _ = std::io::copy(&mut back, &mut forth);
        let _ = forth.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut stream, &mut service);
    let _ = service.shutdown(Shutdown::Write);
    let _ = backward.join();
}

#[test]
fn tls_goes_through_a_proxy_in_a_tunnel() {
    let bench = Bench::new("");
    let server = crate::tls::tls_server(&bench);
    let proxy = peer(tunnel);
    let scenario = |port: u16| {
        format!(
            "base_url: https://localhost:{port}\nhttp: {{proxy: 'http://{proxy}', ca: ca.pem}}\nwait: 10ms\n\
             tasks: [{{get: /version, expect: {{contains: HTTP/2.0}}}}]\nstages: [{{users: 2, for: 200ms}}]\n"
        )
    };
    std::fs::write(bench.path("load.yaml"), scenario(server.address.port())).expect("written");
    let (status, summary) = bench.summary(&[]);
    assert_eq!(
        (status, &summary["requests"]["failed"]),
        (0, &0.into()),
        "{summary:#}"
    );
    // Nothing listens on port 1, which the proxy reports.
    std::fs::write(bench.path("load.yaml"), scenario(1)).expect("written");
    let (status, summary) = bench.summary(&[]);
    assert_eq!(status, 3);
    assert!(failures(&summary, "unreachable") > 0, "{summary:#}");
}

#[test]
fn resolve_overrides_the_address_of_a_name() {
    let server = Server::start();
    let port = server.address.port();
    let bench = Bench::new(&format!(
        "base_url: http://shop.invalid:{port}\nwait: 20ms\ntasks: [{{get: /}}]\nstages: [{{users: 1, for: 100ms}}]\n"
    ));
    let resolve = format!("shop.invalid:{port}:127.0.0.1");
    let (status, _) = bench.summary(&["--resolve", &resolve]);
    assert_eq!(status, 0);
    let output = bench.run(&["--resolve", "shop.invalid:127.0.0.1"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("HOST:PORT:ADDRESS"), "{said}");
}

/// A terminal: our end, and the end for a program.
fn terminal() -> (std::fs::File, std::fs::File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("unlocked");
    let size = rustix::termios::Winsize {
        ws_row: 24,
        ws_col: 50,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&ours, size).expect("a size");
    let name = ptsname(&ours, Vec::new()).expect("a name");
    let name = name.to_str().expect("text");
    let theirs = std::fs::File::options().read(true).write(true).open(name);
    (ours.into(), theirs.expect("opened"))
}

#[test]
fn a_key_resets_the_numbers_and_ctrl_c_ends_the_test() {
    let server = Server::start();
    let bench = Bench::new(&format!(
        "base_url: {}\nwait: 20ms\ntasks: [{{get: /}}]\nstages: [{{users: 2, for: 5m}}]\n",
        server.url()
    ));
    let (mut ours, theirs) = terminal();
    // `setsid` starts a session with this terminal, and with the program as its foreground job.
    let mut child = std::process::Command::new("setsid")
        .args([
            "--ctty",
            "--wait",
            env!("CARGO_BIN_EXE_reveille-load"),
            "load.yaml",
        ])
        .args(["--threads", "1", "--format", "json"])
        .current_dir(bench.directory.path())
        .stdin(theirs.try_clone().expect("a handle"))
        .stderr(theirs)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("started");
    let (mut seen, mut piece) = (String::new(), [0; 4096]);
    for (sign, key) in [
        ("press r to reset the numbers", b"r"),
        ("the numbers were reset", b"?"),
        (" offered/s", b"\x03"),
    ] {
        while !seen.contains(sign) {
            let count = ours.read(&mut piece).expect("the program lives");
            seen.push_str(&String::from_utf8_lossy(&piece[..count]));
        }
        ours.write_all(key).expect("typed");
    }
    // A line that the terminal wraps would not be replaced as a whole.
    for line in seen.lines().filter(|line| line.contains(" offered/s")) {
        let drawn = line.rsplit('\x1b').next().unwrap_or_default();
        assert!(drawn.trim_end().len() < 50, "{drawn:?}");
    }
    // The terminal is read on, so that the program never waits for it.
    let reader = std::thread::spawn(move || while ours.read(&mut piece).is_ok_and(|count| count > 0) {});
    let mut summary = String::new();
    let mut out = child.stdout.take().expect("piped");
    out.read_to_string(&mut summary).expect("text");
    assert_eq!(child.wait().expect("ended").code(), Some(5));
    reader.join().expect("no panic");
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
    assert_eq!(
        (&summary["resets"], &summary["ended"]),
        (&1.into(), &"interrupted".into())
    );
}

#[test]
fn users_of_a_test_shorter_than_a_sample_are_counted() {
    let server = Server::start();
    let bench = Bench::new(&format!(
        "base_url: {}\nwait: 20ms\ntasks: [{{get: /}}]\nstages: [{{users: 7, for: 100ms}}]\n",
        server.url()
    ));
    let (_, summary) = bench.summary(&[]);
    assert_eq!(summary["peak_users"], 7);
}
